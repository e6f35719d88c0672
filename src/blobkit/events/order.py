"""How two events of one key are ordered: :func:`compare`. No clock decides; what is not certain is UNKNOWN.

UNKNOWN is not an error: read the object. The rules, from the providers' pages on event ordering:

* Only events of the same provider, account, bucket and key compare, and only those that make or unmake the object
  (created, deleted, expired, superseded, upload started); tags, tiers and replication carry no order, or another's.
* S3 family: the sequencer, right-padded, as text
  (https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html). A lifecycle expiry may
  carry the midnight of its rule, so it can look older than it is. MinIO's is a modification time: a put and a delete that
  are close together may come out inverted, so only events of one kind compare.
* GCS: by definition within one generation (finalize, metadata updates by metageneration, archive, delete), and along the
  links ``overwroteGeneration`` and ``overwrittenByGeneration``. Generations are documented as unique, not as growing.
* Azure: "standard string comparison" of the sequencer
  (https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage), within one length.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from blobkit.events.model import BlobEvent, EventKind

__all__ = ["Order", "compare"]


class Order(StrEnum):
    """How the first event stands to the second."""

    BEFORE = "before"
    AFTER = "after"
    SAME = "same"
    UNKNOWN = "unknown"


_ORDERED: Final = frozenset(
    {EventKind.CREATED, EventKind.DELETED, EventKind.EXPIRED, EventKind.SUPERSEDED, EventKind.UPLOAD_STARTED}
)


def compare(a: BlobEvent, b: BlobEvent) -> Order:
    """Whether ``a`` happened BEFORE or AFTER ``b``, is the SAME change, or UNKNOWN (then read the object)."""
    if (a.provider, a.bucket, a.key) != (b.provider, b.bucket, b.key):
        return Order.UNKNOWN
    if a.account is not None and b.account is not None and a.account != b.account:
        return Order.UNKNOWN
    if a.version == b.version and a.change == b.change:
        return Order.SAME if _told(a) else Order.UNKNOWN
    if a.provider == "gcs":
        return _compare_generations(a, b)
    if a.kind not in _ORDERED or b.kind not in _ORDERED:
        return Order.UNKNOWN
    if a.order is None or b.order is None or a.order.shape != b.order.shape or a.order.value == b.order.value:
        return Order.UNKNOWN  # equal tokens of two different changes say nothing
    if a.provider == "minio" and a.kind is not b.kind:
        return Order.UNKNOWN
    earlier = a if a.order.value < b.order.value else b
    if earlier.kind is EventKind.EXPIRED and a.family == "s3":
        return Order.UNKNOWN  # the midnight of its rule: looking older does not make it stale
    return Order.BEFORE if earlier is a else Order.AFTER


def _told(event: BlobEvent) -> bool:
    """Whether it says anything that tells it from another change of the same kind."""
    return any(value is not None for value in (event.version, event.order, event.time, event.event_id))


def _compare_generations(a: BlobEvent, b: BlobEvent) -> Order:
    if a.version is None or b.version is None:
        return Order.UNKNOWN
    if a.version != b.version:
        if b.version == a.superseded_by or (b.kind is EventKind.CREATED and b.previous == a.version):
            return Order.BEFORE
        if a.version == b.superseded_by or (a.kind is EventKind.CREATED and a.previous == b.version):
            return Order.AFTER
        return Order.UNKNOWN
    first, second = _stage(a), _stage(b)
    if first is None or second is None:
        return Order.UNKNOWN
    if first != second:
        return Order.BEFORE if first < second else Order.AFTER
    if first != _CHANGED or a.order is None or b.order is None or a.order.shape != b.order.shape:
        return Order.UNKNOWN
    if a.order.value == b.order.value:
        return Order.UNKNOWN
    return Order.BEFORE if a.order.value < b.order.value else Order.AFTER


_FINALIZED, _CHANGED, _ARCHIVED, _GONE = range(4)  # the life of one generation


def _stage(event: BlobEvent) -> int | None:
    if event.kind is EventKind.CREATED:
        return _FINALIZED
    if event.kind in (EventKind.METADATA_CHANGED, EventKind.TIER_CHANGED):
        return _CHANGED
    if event.kind in (EventKind.DELETED, EventKind.EXPIRED, EventKind.SUPERSEDED):
        return _ARCHIVED if event.deletion == "archived" else _GONE
    return None
