"""Cloudflare R2 event notifications: no order, keys as they are.

Source: https://developers.cloudflare.com/r2/buckets/event-notifications.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from blobkit.errors import MalformedEvent
from blobkit.events.controls import RecordError
from blobkit.events.dialect import Document, Item
from blobkit.events.fields import mapping, name, number, text, time, unquoted
from blobkit.events.model import BlobEvent, Details, EventKind
from blobkit_aws.events.kinds import DELETIONS, R2

__all__ = ["parse"]


def parse(document: Document, body: Mapping[str, object]) -> Sequence[Item] | None:
    """One event; None when it is not R2's."""
    if "action" not in body or not isinstance(body.get("object"), dict) or not isinstance(body.get("bucket"), str):
        return None
    try:
        action = name(body["action"], "action")
        bucket = name(body["bucket"], "bucket")
        key = name(mapping(body["object"]).get("key"), "key")
    except MalformedEvent as error:
        return [RecordError(error.message, raw=body, transport=document.transport, provider="s3")]
    kind = R2.get(action, EventKind.OTHER)
    return [BlobEvent.lazily(kind, "r2", bucket, key, action, body, _details, document.transport)]


def _details(event: BlobEvent) -> Details:
    item = mapping(event.raw.get("object"))
    occurred = text(event.raw.get("eventTime"))
    return Details(
        operation=event.native_type,
        etag=unquoted(item.get("eTag")),
        size=number(item.get("size")),
        time=time(occurred),
        deletion=DELETIONS.get(event.native_type),
        change=f"{event.native_type}\n{occurred or item.get('eTag')}",
    )
