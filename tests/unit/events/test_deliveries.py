"""Deliveries become events: whatever provider, however wrapped."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobkit.errors import BlobkitError, MalformedEvent
from blobkit.events.controls import EventGridValidation, SubscriptionConfirmation, TestEvent
from blobkit.events.model import BlobEvent, EventKind
from blobkit.events.order import Order, compare
from blobkit.events.parse import ParsedEvents, parse_events

keys = st.text(st.characters(codec="utf-8", categories=("L", "M", "N", "P", "S", "Zs")), min_size=1, max_size=40)


def s3(
    key: str = "a+b.txt", name: str = "ObjectCreated:Put", sequencer: str = "0055AED6DCD90281E5", **more: Any
) -> dict[str, Any]:
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-west-1",
        "eventTime": "2026-01-02T03:04:05.678Z",
        "eventName": name,
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": "media", "arn": "arn:aws:s3:::media"},
            "object": {"key": key, "size": 7, "eTag": "abc", "versionId": "v1", "sequencer": sequencer, **more},
        },
    }
    return {"Records": [record]}


def gcs(key: str = "k", event: str = "OBJECT_FINALIZE", generation: int = 5, **attributes: str) -> dict[str, Any]:
    payload = {"name": key, "bucket": "media", "generation": str(generation), "size": "7", "contentType": "text/plain"}
    return {
        "message": {
            "attributes": {
                "eventType": event,
                "payloadFormat": "JSON_API_V1",
                "bucketId": "media",
                "objectId": key,
                "objectGeneration": str(generation),
                "eventTime": "2026-01-02T03:04:05.678Z",
                "notificationConfig": "projects/_/buckets/media/notificationConfigs/1",
                **attributes,
            },
            "data": base64.b64encode(json.dumps(payload).encode()).decode(),
            "messageId": "1",
        },
        "subscription": "projects/p/subscriptions/s",
    }


def azure(key: str = "k", kind: str = "Microsoft.Storage.BlobCreated") -> dict[str, Any]:
    return {
        "topic": "/subscriptions/x/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acct",
        "subject": f"/blobServices/default/containers/media/blobs/{key}",
        "eventType": kind,
        "id": "e1",
        "data": {
            "api": "PutBlob",
            "eTag": "0x8D4BCC2E4835CD0",
            "contentType": "text/plain",
            "contentLength": 7,
            "blobType": "BlockBlob",
            "url": f"https://acct.blob.core.windows.net/media/{quote(key, safe='/')}",
            "sequencer": "00000000000004420000000000028963",
        },
        "dataVersion": "",
        "metadataVersion": "1",
        "eventTime": "2026-01-02T03:04:05.678Z",
    }


def one(parsed: ParsedEvents) -> BlobEvent:
    assert len(parsed) == 1, parsed
    return parsed[0]


# --- the shells around a record of S3 ---


def sns(message: str) -> dict[str, Any]:
    return {
        "Type": "Notification",
        "MessageId": "n1",
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:t",
        "Message": message,
    }


def sqs(body: str) -> dict[str, Any]:
    return {"messageId": "m1", "receiptHandle": "r", "body": body, "attributes": {}, "eventSource": "aws:sqs"}


SHELLS: dict[str, Callable[[dict[str, Any]], object]] = {
    "bare": lambda record: record,
    "bytes": lambda record: json.dumps(record).encode(),
    "text": json.dumps,
    "boto3's reply": lambda record: {
        "Messages": [{"MessageId": "m1", "ReceiptHandle": "r", "Body": json.dumps(record)}]
    },
    "Lambda of SQS": lambda record: {"Records": [sqs(json.dumps(record))]},
    "SNS": lambda record: sns(json.dumps(record)),
    "SNS in SQS": lambda record: {"Records": [sqs(json.dumps(sns(json.dumps(record))))]},
    "Lambda of SNS": lambda record: {"Records": [{"EventSource": "aws:sns", "Sns": sns(json.dumps(record))}]},
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_record_is_the_same_in_every_shell(shell: str) -> None:
    plain = one(parse_events(s3()))
    event = one(parse_events(SHELLS[shell](s3())))
    assert event == plain
    assert (event.kind, event.bucket, event.key, event.size, event.version) == (
        EventKind.CREATED,
        "media",
        "a b.txt",
        7,
        "v1",
    )
    assert event.dedupe_key == plain.dedupe_key


def test_shells_are_opened_only_so_deep() -> None:
    body: Any = s3()
    for _ in range(8):
        body = sns(json.dumps(body))
    assert not parse_events(body)


def test_one_bad_record_does_not_lose_the_good_ones() -> None:
    body = {"Records": [*s3("a")["Records"], {"eventSource": "aws:s3", "s3": {}}, *s3("b")["Records"]]}
    parsed = parse_events(body)
    assert [event.key for event in parsed] == ["a", "b"]
    assert len(parsed.errors) == 1


def test_what_is_no_event_stands_beside() -> None:
    assert isinstance(
        parse_events({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "media"}).controls[0], TestEvent
    )
    asked = {
        **sns("x"),
        "Type": "SubscriptionConfirmation",
        "Token": "t0ken",
        "SubscribeURL": "https://evil.test/?Token=t0ken",
    }
    control = parse_events(asked).controls[0]
    assert isinstance(control, SubscriptionConfirmation)
    assert "t0ken" not in repr(control)
    handshake = {
        "id": "1",
        "topic": "/subscriptions/x",
        "subject": "",
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "data": {"validationCode": "c0de", "validationUrl": "https://x.test/"},
        "eventTime": "2026-01-01T00:00:00Z",
        "metadataVersion": "1",
        "dataVersion": "2",
    }
    assert isinstance(parse_events([handshake]).controls[0], EventGridValidation)
    assert parse_events({"hello": "world"}).foreign


@pytest.mark.parametrize("body", [b"\xff", b"{", "[" * 5000, b"NaN", 3.5, None, object()])
def test_a_body_that_cannot_be_read_gives_no_events(body: object) -> None:
    try:
        parsed = parse_events(body)
    except MalformedEvent:
        return
    assert not parsed
    assert parsed.foreign
    assert not isinstance(body, bytes | str)  # what is JSON but no event stands beside; what is no JSON was refused


def test_a_body_that_is_too_large_is_refused() -> None:
    with pytest.raises(MalformedEvent):
        parse_events(b" " * 1000 + b"{}", max_bytes=100)


# --- keys, each decoded once by its provider's own rule ---


@given(keys)
def test_an_s3_key_comes_back(key: str) -> None:
    assert one(parse_events(s3(quote_plus(key)))).key == key


@given(keys)
def test_a_gcs_key_comes_back(key: str) -> None:
    assert one(parse_events(gcs(key))).key == key


@given(
    keys.filter(
        lambda key: "\\" not in key and not key.endswith((".", "/")) and "//" not in key and not key.startswith("/")
    )
)
def test_an_azure_key_comes_back(key: str) -> None:
    assert one(parse_events([azure(key)])).key == key


# --- order ---


def test_s3_events_of_a_key_are_ordered_by_their_sequencer() -> None:
    first = one(parse_events(s3(sequencer="0055AED6DCD90281E5")))
    later = one(parse_events(s3(sequencer="0055AED6DCD90281E6", name="ObjectRemoved:Delete")))
    assert compare(first, later) is Order.BEFORE
    assert compare(later, first) is Order.AFTER
    assert compare(first, one(parse_events(s3(sequencer="0055AED6DCD90281E5")))) is Order.SAME
    assert compare(first, one(parse_events(s3("other")))) is Order.UNKNOWN


def test_gcs_events_are_ordered_within_a_generation_and_along_its_links() -> None:
    made = one(parse_events(gcs(generation=5)))
    gone = one(parse_events(gcs(event="OBJECT_DELETE", generation=5, overwrittenByGeneration="9")))
    new = one(parse_events(gcs(generation=9, overwroteGeneration="5")))
    assert compare(made, gone) is Order.BEFORE
    assert compare(gone, new) is Order.BEFORE
    assert compare(made, new) is Order.BEFORE
    assert compare(made, one(parse_events(gcs(generation=7)))) is Order.UNKNOWN


def test_events_survive_json() -> None:
    for body in (s3(), gcs(), [azure()]):
        event = one(parse_events(body))
        assert BlobEvent.from_dict(json.loads(json.dumps(event.to_dict()))) == event


# --- anything at all ---

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(["s3", "gcs", "azure", "sns", "sqs"]), st.data())
def test_no_delivery_raises_anything_but_the_typed_errors(kind: str, data: st.DataObject) -> None:
    body: Any = {
        "s3": s3(),
        "gcs": gcs(),
        "azure": [azure()],
        "sns": sns(json.dumps(s3())),
        "sqs": {"Records": [sqs("{}")]},
    }[kind]
    body = json.loads(json.dumps(body))
    for _ in range(data.draw(st.integers(1, 4))):
        at: Any = body
        while True:
            steps = list(at) if isinstance(at, dict) else list(range(len(at))) if isinstance(at, list) else []
            if not steps:
                break
            step = data.draw(st.sampled_from(steps))
            if data.draw(st.booleans()) or not isinstance(at[step], dict | list):
                at[step] = data.draw(json_values)
                break
            at = at[step]
    try:
        for event in parse_events(json.dumps(body)):
            assert event.details is event.details
            assert event.dedupe_key
    except BlobkitError:
        pass
