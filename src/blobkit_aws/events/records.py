"""Native S3 records, version 2.x, of AWS, MinIO, Ceph and others; the s3:TestEvent.

The record's version is not checked: its major is 2 for ever, and unknown fields are ignored, as the documentation asks
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final
from urllib.parse import unquote_plus

from blobkit.errors import MalformedEvent
from blobkit.events.controls import RecordError, TestEvent
from blobkit.events.dialect import Document, Item
from blobkit.events.fields import mapping, name, number, text, time, unquoted
from blobkit.events.model import BlobEvent, Details, EventKind, TransportInfo
from blobkit_aws.events.kinds import DELETIONS, NATIVE, OPERATIONS, native_kind
from blobkit_aws.events.sequencer import token

__all__ = ["decode_key", "parse", "test_event"]

_PROVIDERS: Final = {"aws:s3": "aws", "minio:s3": "minio", "ceph:s3": "ceph"}
_RAW: Final = frozenset({"ceph"})  # rgw_pubsub.cc writes keys as they are
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ORDERED: Final = frozenset({EventKind.CREATED, EventKind.DELETED, EventKind.EXPIRED})


def parse(document: Document, body: Mapping[str, object]) -> Sequence[Item] | None:
    """The events of ``{"Records": […]}``, of MinIO's access format, or of one bare record; None when it is neither."""
    records = body.get("Records")
    if not isinstance(records, list):
        if "Event" in body and "EventTime" in body:
            records = body["Event"]
        elif "s3" in body and "eventName" in body:
            records = [body]
        if not isinstance(records, list):
            return None
    elif not (records and isinstance(records[0], dict) and "s3" in records[0]):
        return None
    raw_keys, transport = document.raw_keys, document.transport
    out: list[Item] = []
    for record in records:
        try:
            out.append(_record(record, raw_keys, transport))
        except MalformedEvent as error:
            out.append(RecordError(error.message, raw=record, transport=document.transport, provider="s3"))
    return out


def test_event(document: Document, body: Mapping[str, object]) -> Sequence[Item] | None:
    """``s3:TestEvent``, which has no ``Records``."""
    if body.get("Event") != "s3:TestEvent":
        return None
    return [TestEvent(text(body.get("Bucket")), time(body.get("Time")), document.transport)]


def decode_key(wire: str) -> str:
    """The key of a form-urlencoded value, decoded once.

    Raises:
        MalformedEvent: It was not encoded that way.
    """
    if "%" not in wire:
        return wire.replace("+", " ")
    if _BAD_ESCAPE.search(wire):
        raise MalformedEvent("the key is not form-urlencoded")
    try:
        return unquote_plus(wire, errors="strict")
    except UnicodeDecodeError as error:
        raise MalformedEvent("the key is not UTF-8") from error


def _record(record: object, raw_keys: Collection[str], transport: TransportInfo | None) -> BlobEvent:
    """This runs for every record of every queue, so what is nearly always true is asked first, and in place."""
    try:
        s3 = record["s3"]  # type: ignore[index]  # a TypeError is a malformed record like any other
        bucket, key, native = s3["bucket"]["name"], s3["object"]["key"], record["eventName"]  # type: ignore[index]
    except (KeyError, TypeError) as error:
        raise MalformedEvent("not an S3 record: it lacks s3, its bucket, its key or eventName") from error
    assert isinstance(record, dict)
    if not (type(bucket) is type(key) is type(native) is str and bucket.isascii() and key.isascii()) or not (
        bucket and key and native.isascii() and native
    ):
        bucket, key, native = name(bucket, "bucket"), name(key, "key"), name(native, "eventName")
    source = record.get("eventSource")
    provider = "aws" if source == "aws:s3" else _PROVIDERS.get(source, "s3") if isinstance(source, str) else "s3"
    if ("+" in key or "%" in key) and provider not in _RAW and provider not in raw_keys:
        key = decode_key(key)
        if not key.isascii():
            name(key, "key")
    kind = NATIVE.get(native)
    if kind is None:
        native = native.removeprefix("s3:")
        kind = NATIVE.get(native) or native_kind(native)
    if kind is EventKind.DELETED and provider == "minio" and _by_rule(record):
        kind = EventKind.EXPIRED
    return BlobEvent.lazily(kind, provider, bucket, key, native, record, _details, transport)


def _by_rule(record: Mapping[str, object]) -> bool:
    agent = mapping(record.get("source")).get("userAgent")
    return isinstance(agent, str) and "[ILM-Expiry]" in agent


def _details(event: BlobEvent) -> Details:
    record, kind = event.raw, event.kind
    item = mapping(mapping(record.get("s3")).get("object"))
    version = text(item.get("versionId"))
    if version == "null" and event.provider != "aws":
        version = None  # MinIO writes it for buckets without versions
    deletion = DELETIONS.get(event.native_type) if kind in (EventKind.DELETED, EventKind.EXPIRED) else None
    if deletion == "permanent" and version is not None and not event.native_type.endswith("DeleteAllVersions"):
        deletion = "version"
    sequencer = text(item.get("sequencer"))
    order = token(event.provider, sequencer) if kind in _ORDERED else None
    occurred = text(record.get("eventTime"))
    transition = mapping(mapping(record.get("lifecycleEventData")).get("transitionEventData"))
    tiering = mapping(record.get("intelligentTieringEventData"))
    restored = mapping(mapping(record.get("glacierEventData")).get("restoreEventData"))
    # Beside created and deleted, the sequencer may be that of the object's own PUT: only the time tells two such changes apart.
    mark = (order.value if order else sequencer) if sequencer and kind in _ORDERED else f"{sequencer} {occurred}"
    if sequencer is None and occurred is None:  # a trimmed record: what is left of it has to do
        mark = f"{item.get('eTag')} {item.get('size')}"
    return Details(
        operation=OPERATIONS.get(event.native_type),
        version=version,
        etag=unquoted(item.get("eTag")),
        size=number(item.get("size")),
        content_type=text(item.get("contentType")),
        time=time(occurred),
        deletion=deletion,
        tier=text(transition.get("destinationStorageClass")) or text(tiering.get("destinationAccessTier")),
        expires_at=time(restored.get("lifecycleRestorationExpiryTime")),
        order=order,
        event_id=text(record.get("eventId")),
        change=f"{event.native_type}\n{mark}",
    )
