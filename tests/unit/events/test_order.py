"""Two events of one key are ordered by the provider's own rule, or not at all."""

from __future__ import annotations

import pytest

from blobkit import BlobEvent
from blobkit.events import Order, compare

from . import samples
from .test_parse import one


def aws(sequencer: str, native: str = "ObjectCreated:Put", *, key: str = "k", source: str = "aws:s3") -> BlobEvent:
    """An S3 event with that sequencer."""
    return one(samples.s3(samples.s3_record(key, native=native, source=source, sequencer=sequencer)))


def gcs(generation: str, native: str = "OBJECT_FINALIZE", **more: str) -> BlobEvent:
    """A Cloud Storage event of that generation."""
    return one(samples.pubsub_push(samples.gcs_attributes("k", native, objectGeneration=generation, **more)))


FIRST = aws("0055AED6DCD90281E5")
CASES = [
    ("later", FIRST, aws("0055AED6DCD90281E6"), Order.BEFORE),
    ("16 and 18 digits", FIRST, aws("55AED6DCD90281E6"), Order.BEFORE),
    ("deleted after", FIRST, aws("0055AED6DCD90281FF", "ObjectRemoved:Delete"), Order.BEFORE),
    ("tags", FIRST, aws("0055AED6DCD90281FF", "ObjectTagging:Put"), Order.UNKNOWN),
    ("another key", FIRST, aws("0055AED6DCD90281FF", key="other"), Order.UNKNOWN),
    ("no sequencer", FIRST, aws("zz"), Order.UNKNOWN),
    ("itself", FIRST, aws("0055AED6DCD90281E5"), Order.SAME),
    # 2019 and 2020 in Ceph's little-endian words: as text the later one would be smaller
    ("ceph", aws("FFE6D75D00000000", source="ceph:s3"), aws("00E6D75E00000000", source="ceph:s3"), Order.BEFORE),
    ("gcs unlinked", gcs("1"), gcs("2"), Order.UNKNOWN),
    ("gcs linked", gcs("1"), gcs("2", overwroteGeneration="1"), Order.BEFORE),
    ("gcs one generation", gcs("1"), gcs("1", "OBJECT_DELETE"), Order.BEFORE),
    (
        "azure",
        one(samples.eventgrid("k", sequencer="0" * 31 + "1")),
        one({**samples.eventgrid("k", sequencer="0" * 31 + "2"), "id": "eg-2"}),
        Order.BEFORE,
    ),
    (
        "azure, two lengths",
        one(samples.eventgrid("k", sequencer="0" * 31 + "1")),
        one({**samples.eventgrid("k", sequencer="0" * 47 + "2"), "id": "eg-2"}),
        Order.UNKNOWN,
    ),
]
_TURNED = {Order.BEFORE: Order.AFTER, Order.AFTER: Order.BEFORE}


@pytest.mark.parametrize(("a", "b", "order"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_two_events_compare_by_their_providers_rule_from_both_sides(a: BlobEvent, b: BlobEvent, order: Order) -> None:
    assert compare(a, b) is order
    assert compare(b, a) is _TURNED.get(order, order)
