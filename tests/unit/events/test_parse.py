"""Deliveries become events: shells, keys, kinds, controls, faults of single records, bounds."""

from __future__ import annotations

import base64
import json
import os
import string
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import blobkit
from blobkit import events
from blobkit.errors import MalformedEvent
from blobkit.events import EventKind, bundled
from blobkit.events.shells import MAX_DEPTH

from . import samples

EXAMPLES = int(os.environ.get("BLOBKIT_FUZZ", "100"))
SAMPLES = Path(os.environ.get("BLOBKIT_EVENT_SAMPLES", "event-samples"))
AWKWARD = "a+b %20#?\\é 🎈/%2F.txt"


def one(body: object, headers: dict[str, str] | None = None) -> blobkit.BlobEvent:
    """The only event of a delivery that holds nothing else."""
    parsed = blobkit.parse_events(body, headers)
    assert (parsed.controls, parsed.errors, parsed.foreign) == ((), (), ())
    (event,) = parsed
    return event


@pytest.mark.parametrize("way", sorted(samples.deliveries("x")))
def test_a_key_comes_back_whole_from_every_providers_encoding(way: str) -> None:
    event = one(samples.deliveries(AWKWARD)[way])
    assert (event.key, event.bucket, event.kind) == (AWKWARD, "media", EventKind.CREATED)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_key_comes_back_from_every_providers_encoding(key: str) -> None:
    for way, body in samples.deliveries(key).items():
        assert one(json.dumps(body) if not isinstance(body, bytes) else body).key == key, way


def test_a_native_record_is_read_whole() -> None:
    event = one(samples.s3(samples.s3_record("red+flower%2B.jpg", versionId="v1")))
    assert (event.provider, event.family, event.key) == ("aws", "s3", "red flower+.jpg")
    assert (event.size, event.etag, event.version) == (7, "abc", "v1")
    assert event.time == datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


@pytest.mark.parametrize("wire", ["100%", "%zz", "a%2", "%FF"])
def test_a_key_that_is_not_form_urlencoded_is_a_fault_of_its_record(wire: str) -> None:
    parsed = blobkit.parse_events(samples.s3(samples.s3_record(wire), samples.s3_record("good")))
    assert [event.key for event in parsed] == ["good"]
    assert len(parsed.errors) == 1


@pytest.mark.parametrize("bad", [None, 7, {}, {"s3": {}}, {"s3": {"bucket": {"name": "b"}, "object": {"key": ""}}}])
def test_one_bad_record_does_not_lose_the_good_ones(bad: object) -> None:
    parsed = blobkit.parse_events({"Records": [samples.s3_record("one"), bad, samples.s3_record("two")]})
    assert [event.key for event in parsed] == ["one", "two"]
    assert [error.raw for error in parsed.errors] == [bad]


def test_one_bad_message_does_not_lose_the_batch() -> None:
    parsed = blobkit.parse_events(samples.sqs_lambda("{broken", samples.s3()))
    assert len(parsed) == len(parsed.errors) == 1
    assert parsed.errors[0].transport is not None
    assert parsed.errors[0].transport.message_id == "m0"
    assert parsed[0].transport is not None
    assert (parsed[0].transport.message_id, parsed[0].transport.attempt) == ("m1", 2)


def test_the_shells_are_told_from_outside_in() -> None:
    event = one(samples.sqs_lambda(samples.sns(samples.s3())))
    assert event.transport is not None
    assert event.transport.shells == ("sqs", "sns")
    found = event.transport.find("sqs")
    assert found is not None
    assert found.message_id == "m0"


def nested(depth: int) -> dict[str, object]:
    """A record in so many SNS shells."""
    body: dict[str, object] = samples.s3()
    for _ in range(depth):
        body = samples.sns(body)
    return body


def test_four_shells_are_opened_and_a_fifth_is_not() -> None:
    assert len(blobkit.parse_events(nested(MAX_DEPTH))) == 1
    deeper = blobkit.parse_events(nested(MAX_DEPTH + 1))
    assert (len(deeper), len(deeper.errors)) == (0, 1)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", "NaN", b"[" * 100_000])
def test_a_body_that_is_no_json_raises_malformed_event(body: bytes | str) -> None:
    with pytest.raises(MalformedEvent):
        blobkit.parse_events(body)


def test_a_body_above_the_bound_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(MalformedEvent, match="longer"):
        events.parse_events(b" " * 101, max_bytes=100)
    inner = events.parse_events(samples.sns("[" + " " * 2000 + "]"), max_bytes=1000)
    assert len(inner.errors) == 1


@pytest.mark.parametrize(
    ("native", "kind", "deletion"),
    [
        ("ObjectCreated:Copy", EventKind.CREATED, None),
        ("ObjectRemoved:Delete", EventKind.DELETED, "permanent"),
        ("ObjectRemoved:DeleteMarkerCreated", EventKind.DELETED, "marker"),
        ("LifecycleExpiration:Delete", EventKind.EXPIRED, "permanent"),
        ("ObjectRestore:Completed", EventKind.RESTORED, None),
        ("ObjectTagging:Put", EventKind.METADATA_CHANGED, None),
        ("LifecycleTransition", EventKind.TIER_CHANGED, None),
        ("ObjectCreated:PutTagging", EventKind.METADATA_CHANGED, None),
        ("Something:New", EventKind.OTHER, None),
    ],
)
def test_native_types_have_their_kind(native: str, kind: EventKind, deletion: str | None) -> None:
    event = one(samples.s3(samples.s3_record("k", native=native)))
    assert (event.kind, event.deletion, event.native_type) == (kind, deletion, native)


def test_a_deletion_that_names_a_version_took_only_that() -> None:
    assert one(samples.s3(samples.s3_record("k", native="ObjectRemoved:Delete", versionId="v"))).deletion == "version"


def test_the_deletion_half_of_an_overwrite_is_superseded() -> None:
    event = one(samples.pubsub_push(samples.gcs_attributes(native="OBJECT_DELETE", overwrittenByGeneration="9")))
    assert (event.kind, event.superseded_by) == (EventKind.SUPERSEDED, "9")


def test_an_empty_data_lake_file_is_an_upload_that_started() -> None:
    assert one(samples.eventgrid(api="CreateFile")).kind is EventKind.UPLOAD_STARTED
    assert one(samples.eventgrid(api="FlushWithClose")).kind is EventKind.CREATED


def test_attributes_and_payload_that_name_different_objects_are_a_fault() -> None:
    parsed = blobkit.parse_events(
        samples.pubsub_push(
            samples.gcs_attributes("a", payloadFormat="JSON_API_V1"), {"bucket": "media", "name": "other"}
        )
    )
    assert (len(parsed), len(parsed.errors)) == (0, 1)


def test_an_unwrapped_push_is_read_from_its_headers() -> None:
    headers = samples.gcs_attributes("k")
    event = one(b"", {"X-Goog-Pubsub-Message-Id": "1", **headers})
    assert (event.key, event.provider) == ("k", "gcs")


def test_a_binary_cloudevent_is_read_from_its_headers() -> None:
    body = json.dumps({"bucket": "media", "name": "k", "generation": "1"}).encode()
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-type": "google.cloud.storage.object.v1.finalized",
        "ce-source": "//storage.googleapis.com/projects/_/buckets/media",
        "ce-subject": "objects/k",
        "content-type": "application/json",
    }
    event = one(body, headers)
    assert (event.key, event.version, event.kind) == ("k", "1", EventKind.CREATED)


CONTROLS: list[tuple[object, dict[str, str] | None, type]] = [
    ({"Event": "s3:TestEvent", "Bucket": "b", "Time": "2026-01-01T00:00:00Z"}, None, events.TestEvent),
    (
        {
            **samples.sns("hello"),
            "Type": "SubscriptionConfirmation",
            "Token": "t",
            "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/",
        },
        None,
        events.SubscriptionConfirmation,
    ),
    ([samples.validation()], {"aeg-event-type": "SubscriptionValidation"}, events.EventGridValidation),
    (b"", {"WebHook-Request-Origin": "eventgrid.azure.net"}, events.WebhookOptions),
]


@pytest.mark.parametrize(("body", "headers", "kind"), CONTROLS)
def test_a_control_is_no_event(body: object, headers: dict[str, str] | None, kind: type) -> None:
    parsed = blobkit.parse_events(body, headers)
    assert not parsed
    assert [type(control) for control in parsed.controls] == [kind]


def test_a_test_event_in_a_queue_is_a_control_with_its_message() -> None:
    parsed = blobkit.parse_events(samples.sqs_lambda({"Event": "s3:TestEvent", "Bucket": "b"}))
    (control,) = parsed.controls
    assert isinstance(control, events.TestEvent)
    assert control.transport is not None
    assert control.transport.message_id == "m0"


def test_a_confirmations_token_does_not_print() -> None:
    (control,) = blobkit.parse_events(CONTROLS[1][0]).controls
    assert "https" not in repr(control)


def test_foreign_messages_are_told_apart_from_faults() -> None:
    parsed = blobkit.parse_events(samples.sns("backup finished"))
    assert (len(parsed), len(parsed.errors), len(parsed.foreign)) == (0, 0, 1)


def test_the_same_change_has_one_dedupe_key_by_whatever_way_it_came() -> None:
    direct, queued = one(samples.s3()), one(samples.sqs_lambda(samples.sns(samples.s3())))
    assert direct.dedupe_key == queued.dedupe_key
    assert direct == queued
    later = one(samples.s3(samples.s3_record(sequencer="0055AED6DCD90281E6")))
    assert later.dedupe_key != direct.dedupe_key
    assert one(samples.s3(samples.s3_record("a b"))).dedupe_key == one(samples.eventbridge("a b")).dedupe_key


def test_the_dialects_equal_the_entry_points() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["blobkit.dialects"] == bundled.DIALECTS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(string.printable, max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def mutated(draw: Callable[[Any], Any]) -> object:
    """A delivery in which one value, anywhere, is another."""
    way = draw(st.sampled_from(sorted(samples.deliveries("k"))))
    body: Any = samples.deliveries("k")[way]
    body = json.loads(json.dumps(body if not isinstance(body, bytes) else json.loads(base64.b64decode(body))))
    at = body
    while True:
        names = list(at) if isinstance(at, dict) else list(range(len(at)))
        name = draw(st.sampled_from(names))
        inner = at[name]
        if isinstance(inner, dict | list) and inner and draw(st.booleans()):
            at = inner
            continue
        at[name] = draw(JSON)
        return body


@given(mutated())
@settings(max_examples=EXAMPLES * 3, deadline=None)
def test_no_mutated_delivery_raises_anything_but_the_typed_error(body: object) -> None:
    try:
        parsed = blobkit.parse_events(json.dumps(body).encode())
    except MalformedEvent:
        return
    for event in parsed:
        assert isinstance(event.dedupe_key, str)
        event.to_dict()


@given(st.binary(max_size=200) | JSON.map(json.dumps))
@settings(max_examples=EXAMPLES, deadline=None)
def test_noise_raises_nothing_but_the_typed_error(body: bytes | str) -> None:
    try:
        parsed = blobkit.parse_events(body)
    except MalformedEvent:
        return
    assert list(parsed) == []
