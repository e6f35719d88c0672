"""Cloud Storage events: Pub/Sub notifications, Eventarc CloudEvents, and the legacy form of background functions.

Sources: https://cloud.google.com/storage/docs/pubsub-notifications, https://cloud.google.com/eventarc/docs/cloudevents-storage,
https://cloud.google.com/storage/docs/json_api/v1/objects#resource. Keys are never encoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from blobkit.errors import MalformedEvent
from blobkit.events.controls import NotAnEvent, RecordError
from blobkit.events.dialect import Document, Item
from blobkit.events.fields import mapping, name, number, text, time, unquoted
from blobkit.events.jsontext import loads
from blobkit.events.model import BlobEvent, Deletion, Details, EventKind, OrderToken

__all__ = ["GcsDialect", "dialect"]

_NATIVE: Final = {
    "OBJECT_FINALIZE": EventKind.CREATED,
    "OBJECT_METADATA_UPDATE": EventKind.METADATA_CHANGED,
    "OBJECT_DELETE": EventKind.DELETED,
    "OBJECT_ARCHIVE": EventKind.DELETED,
}
_EVENTARC: Final = {
    "google.cloud.storage.object.v1.finalized": "OBJECT_FINALIZE",
    "google.cloud.storage.object.v1.metadataUpdated": "OBJECT_METADATA_UPDATE",
    "google.cloud.storage.object.v1.deleted": "OBJECT_DELETE",
    "google.cloud.storage.object.v1.archived": "OBJECT_ARCHIVE",
}
_LEGACY: Final = {
    "google.storage.object.finalize": "OBJECT_FINALIZE",
    "google.storage.object.metadataUpdate": "OBJECT_METADATA_UPDATE",
    "google.storage.object.delete": "OBJECT_DELETE",
    "google.storage.object.archive": "OBJECT_ARCHIVE",
}
_OBJECT_CHANGE: Final = "providers/cloud.storage/eventTypes/object.change"


class GcsDialect:
    """Cloud Storage notifications."""

    name: str = "gcs"

    def parse(self, document: Document) -> Sequence[Item] | None:
        """See :class:`blobkit.events.dialect.Dialect`."""
        try:
            if document.shape == "pubsub":
                return _notification(document)
            if document.shape == "cloudevent":
                return _cloudevent(document)
            return _legacy(document)
        except MalformedEvent as error:
            raw = {"head": dict(document.head), "body": document.body}
            return [RecordError(error.message, raw=raw, transport=document.transport, provider="gcs", hint=error.hint)]


dialect: Final = GcsDialect()


def _notification(document: Document) -> Sequence[Item] | None:
    """A Pub/Sub notification: attributes always, the object's resource when the payload format is JSON_API_V1."""
    head = document.head
    if "bucketId" not in head or "objectId" not in head:
        return None
    payload: Mapping[str, object] = {}
    if document.body and head.get("payloadFormat") != "NONE":
        value = loads(document.body) if isinstance(document.body, bytes) else document.body
        if not isinstance(value, dict):
            raise MalformedEvent("the payload is not an object's resource")
        payload = value
    native = name(head.get("eventType"), "eventType")
    bucket, key = name(head["bucketId"], "bucketId"), name(head["objectId"], "objectId")
    _same("bucket", bucket, payload.get("bucket"))
    _same("name", key, payload.get("name"))
    _same("generation", head.get("objectGeneration"), payload.get("generation"))
    raw: dict[str, object] = {"attributes": dict(head), "payload": payload}
    return [_event(native, bucket, key, raw, document)]


def _cloudevent(document: Document) -> Sequence[Item] | None:
    """An Eventarc event. It has no ``overwrittenByGeneration``: the deletion half of an overwrite looks like a deletion."""
    kind = document.head.get("type", "")
    if not kind.startswith("google.cloud.storage."):
        return [NotAnEvent("an audit-log event", document.body, document.transport)] if "audit" in kind else None
    payload = document.body
    if not isinstance(payload, dict):
        raise MalformedEvent("the data are not an object's resource")
    bucket, key = name(payload.get("bucket"), "bucket"), name(payload.get("name"), "name")
    _same("bucket", bucket, document.head.get("bucket"))
    subject = document.head.get("subject", "")
    # Senders differ in how far they encode the subject: only its decoded form can be compared.
    if subject.startswith("objects/") and unquote(subject[len("objects/") :]) != unquote(key):
        raise MalformedEvent("subject and payload name different objects")
    raw: dict[str, object] = {"attributes": dict(document.head), "payload": payload}
    return [_event(kind, bucket, key, raw, document)]


def _legacy(document: Document) -> Sequence[Item] | None:
    """What first-generation functions were given: ``{"context": {…}, "data": {…}}``, or the context's fields beside data."""
    body = mapping(document.body)
    payload = mapping(body.get("data"))
    context = mapping(body.get("context")) or body
    kind = context.get("eventType")
    if not isinstance(kind, str) or not (kind in _LEGACY or kind == _OBJECT_CHANGE):
        if body.get("kind") == "storage#object" and "bucket" in body:
            raise MalformedEvent(
                "an object's resource without its event",
                hint="an unwrapped push subscription needs write_metadata, or the type of event is lost",
            )
        return None
    bucket, key = name(payload.get("bucket"), "bucket"), name(payload.get("name"), "name")
    attributes = {"id": context.get("eventId"), "time": context.get("timestamp")}
    raw: dict[str, object] = {"attributes": attributes, "payload": payload}
    return [_event(kind, bucket, key, raw, document)]


def _same(what: str, attribute: object, payload: object) -> None:
    """Attributes and payload describe one object, or somebody changed one of them."""
    if attribute is not None and payload is not None and str(attribute) != str(payload):
        raise MalformedEvent(f"attributes and payload name a different {what}")


def _event(native: str, bucket: str, key: str, raw: dict[str, object], document: Document) -> BlobEvent:
    notification = _notification_type(native, mapping(raw["payload"]))
    kind = _NATIVE.get(notification, EventKind.OTHER)
    if kind is EventKind.DELETED and mapping(raw["attributes"]).get("overwrittenByGeneration"):
        kind = EventKind.SUPERSEDED
    if kind is EventKind.METADATA_CHANGED and _class_changed(mapping(raw["payload"])):
        kind = EventKind.TIER_CHANGED
    return BlobEvent.lazily(kind, "gcs", bucket, key, native, raw, _details, document.transport)


def _notification_type(native: str, payload: Mapping[str, object]) -> str:
    """The type in Pub/Sub's words, whatever the shape: the same change has one dedupe key."""
    if native == _OBJECT_CHANGE:
        if payload.get("resourceState") == "not_exists":
            return "OBJECT_DELETE"
        return "OBJECT_FINALIZE" if number(payload.get("metageneration")) == 1 else "OBJECT_METADATA_UPDATE"
    return _EVENTARC.get(native) or _LEGACY.get(native) or native


def _class_changed(payload: Mapping[str, object]) -> bool:
    """Whether this very update changed the storage class."""
    changed = payload.get("timeStorageClassUpdated")
    return changed is not None and changed == payload.get("updated") and changed != payload.get("timeCreated")


def _details(event: BlobEvent) -> Details:
    head, payload = mapping(event.raw.get("attributes")), mapping(event.raw.get("payload"))
    notification = _notification_type(event.native_type, payload)
    generation = _digits(head.get("objectGeneration")) or _digits(payload.get("generation"))
    metageneration = _digits(payload.get("metageneration"))
    occurred = text(head.get("eventTime")) or text(head.get("time"))
    mark = ""
    if generation is None or notification not in ("OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_ARCHIVE"):
        mark = metageneration or occurred or ""  # a generation is finalized, archived and deleted once, updated often
    return Details(
        operation=notification if notification != event.native_type else None,
        version=generation,
        etag=unquoted(payload.get("etag")),
        size=number(payload.get("size")),
        checksums=tuple(
            (algorithm, value)
            for algorithm, value in (("crc32c", text(payload.get("crc32c"))), ("md5", text(payload.get("md5Hash"))))
            if value is not None
        ),
        content_type=text(payload.get("contentType")),
        time=time(occurred),
        deletion=_deletion(event, notification, payload),
        superseded_by=_digits(head.get("overwrittenByGeneration")),
        previous=_digits(head.get("overwroteGeneration")),
        tier=text(payload.get("storageClass")),
        order=_order(generation, metageneration),
        event_id=text(head.get("id")),
        change=f"{notification}\n{mark}",
    )


def _deletion(event: BlobEvent, notification: str, payload: Mapping[str, object]) -> Deletion | None:
    if event.kind not in (EventKind.DELETED, EventKind.SUPERSEDED):
        return None
    if notification == "OBJECT_ARCHIVE":
        return "archived"
    if not payload or notification != event.native_type:
        return "unknown"  # only notifications say that a deletion is half of an overwrite
    # What is deleted after it was archived carries the time of that; what was live does not.
    return "version" if "timeDeleted" in payload else "permanent"


def _order(generation: str | None, metageneration: str | None) -> OrderToken | None:
    if generation is None:
        return None
    if metageneration is None:
        return OrderToken("gcs", generation.zfill(20))
    return OrderToken("gcs-meta", f"{generation.zfill(20)}.{metageneration.zfill(12)}")


def _digits(value: object) -> str | None:
    """A 64-bit number, which is a text in the JSON API and a number in some examples."""
    found = number(value)
    return None if found is None else str(found)
