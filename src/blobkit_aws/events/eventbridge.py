"""S3 events as EventBridge delivers them: kebab-case, keys as they are.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html. An input transformer can change anything; what it
leaves of an event may then not be recognised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from blobkit.errors import MalformedEvent
from blobkit.events.controls import NotAnEvent, RecordError
from blobkit.events.dialect import Document, Item
from blobkit.events.fields import mapping, name, number, text, time, unquoted
from blobkit.events.model import BlobEvent, Deletion, Details, EventKind
from blobkit_aws.events.kinds import EVENTBRIDGE, NATIVE_OF
from blobkit_aws.events.sequencer import token

__all__ = ["parse"]

_ORDERED: Final = frozenset({EventKind.CREATED, EventKind.DELETED, EventKind.EXPIRED})


def parse(document: Document, body: Mapping[str, object]) -> Sequence[Item] | None:
    """One event; None when it is not EventBridge's."""
    native = body.get("detail-type")
    if native is None or not isinstance(body.get("detail"), dict):
        return None
    if body.get("source") != "aws.s3":
        return [NotAnEvent("an EventBridge event of another service", body, document.transport)]
    detail = mapping(body["detail"])
    if not isinstance(detail.get("object"), dict):
        return [
            NotAnEvent("an EventBridge event without an object", body, document.transport)
        ]  # API calls by CloudTrail
    try:
        native = name(native, "detail-type")
        bucket = name(mapping(detail.get("bucket")).get("name"), "bucket")
        key = name(mapping(detail["object"]).get("key"), "key")
    except MalformedEvent as error:
        return [RecordError(error.message, raw=body, transport=document.transport, provider="s3")]
    kind = EVENTBRIDGE.get(native, EventKind.OTHER)
    if kind is EventKind.DELETED and detail.get("reason") == "Lifecycle Expiration":
        kind = EventKind.EXPIRED
    return [BlobEvent.lazily(kind, "aws", bucket, key, native, body, _details, document.transport)]


def _details(event: BlobEvent) -> Details:
    body, kind = event.raw, event.kind
    detail = mapping(body.get("detail"))
    item = mapping(detail.get("object"))
    version, sequencer = text(item.get("version-id")), text(item.get("sequencer"))
    reason, deletion_type = text(detail.get("reason")), text(detail.get("deletion-type"))
    order = token("aws", sequencer) if kind in _ORDERED else None
    ident, occurred = text(body.get("id")), text(body.get("time"))
    native = NATIVE_OF.get((event.native_type, reason or "", deletion_type or ""), event.native_type)
    mark = (
        (order.value if order else sequencer) if sequencer and kind in _ORDERED else ident or f"{sequencer} {occurred}"
    )
    tiers = kind is EventKind.TIER_CHANGED
    return Details(
        operation=reason,
        version=version,
        etag=unquoted(item.get("etag")),
        size=number(item.get("size")),
        time=time(occurred),
        deletion=_deletion(deletion_type, version) if kind in (EventKind.DELETED, EventKind.EXPIRED) else None,
        tier=text(detail.get("destination-storage-class")) or text(detail.get("destination-access-tier")),
        previous_tier=text(detail.get("source-storage-class")) if tiers else None,
        expires_at=time(detail.get("restore-expiry-time")),
        order=order,
        event_id=ident,
        change=f"{native}\n{mark}",
    )


def _deletion(deletion_type: str | None, version: str | None) -> Deletion:
    if deletion_type == "Delete Marker Created":
        return "marker"
    if deletion_type == "Permanently Deleted":
        return "permanent" if version is None else "version"
    return "unknown"
