"""Blob Storage events: Event Grid's own schema and CloudEvents 1.0.

Source: https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage. No version, no metadata, no checksum is ever
sent, and there are no events for metadata, tags or appended blocks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from blobkit.errors import MalformedEvent
from blobkit.events.controls import AccountSummary, EventGridValidation, NotAnEvent, RecordError, SubscriptionDeleted
from blobkit.events.dialect import Document, Item
from blobkit.events.fields import mapping, name, number, text, time, unquoted
from blobkit.events.model import BlobEvent, Details, EventKind, OrderToken
from blobkit.redaction import Secret

__all__ = ["AzureDialect", "dialect"]

_SUBJECT: Final = re.compile(r"/?blobServices/default/containers/([^/]+)/blobs/(.+)\Z", re.DOTALL)
_ACCOUNT: Final = re.compile(r"/providers/Microsoft\.Storage/storageAccounts/([^/]+)", re.IGNORECASE)
_HEX: Final = re.compile(r"[0-9a-f]+\Z")
_COMMITTED: Final = frozenset({"PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "SftpCommit"})
_PLACEHOLDERS: Final = frozenset({"CreateFile", "SftpCreate"})
_KINDS: Final = {
    "Microsoft.Storage.BlobDeleted": EventKind.DELETED,
    "Microsoft.Storage.BlobRenamed": EventKind.RENAMED,
    "Microsoft.Storage.DirectoryRenamed": EventKind.PREFIX_RENAMED,
    "Microsoft.Storage.DirectoryDeleted": EventKind.PREFIX_DELETED,
    "Microsoft.Storage.AsyncOperationInitiated": EventKind.RESTORE_STARTED,
}


class AzureDialect:
    """Blob Storage events by Event Grid."""

    name: str = "azure"

    def parse(self, document: Document) -> Sequence[Item] | None:
        """See :class:`blobkit.events.dialect.Dialect`."""
        body = document.body
        if document.shape == "cloudevent":
            native, source, raw = document.head.get("type"), document.head.get("source"), dict(document.head)
            raw_event: dict[str, object] = {**raw, "data": body}
        elif document.shape == "json" and isinstance(body, dict):
            native, source, raw_event = body.get("eventType"), text(body.get("topic")), body
            if "subject" not in body:
                return None
        else:
            return None
        if not isinstance(native, str):
            return None
        if native.startswith("Microsoft.EventGrid."):
            return [_control(native, source, raw_event, document)]
        if not native.startswith("Microsoft.Storage."):
            if document.shape == "json" and "data" in raw_event and "id" in raw_event:
                return [NotAnEvent("an Event Grid event of another service", raw_event, document.transport)]
            return None
        try:
            return [_event(native, source, raw_event, document)]
        except MalformedEvent as error:
            return [RecordError(error.message, raw=raw_event, transport=document.transport, provider="azure")]


dialect: Final = AzureDialect()


def _control(native: str, source: str | None, raw: Mapping[str, object], document: Document) -> Item:
    data = mapping(raw.get("data"))
    if native == "Microsoft.EventGrid.SubscriptionValidationEvent":
        code, url = text(data.get("validationCode")), text(data.get("validationUrl"))
        if code is None:
            return RecordError("a validation without a code", raw=raw, transport=document.transport, provider="azure")
        return EventGridValidation(code, Secret(url) if url else None, source, document.transport)
    if native == "Microsoft.EventGrid.SubscriptionDeletedEvent":
        return SubscriptionDeleted(source, document.transport)
    return NotAnEvent("an event of Event Grid itself", raw, document.transport)


def _event(native: str, source: str | None, raw: dict[str, object], document: Document) -> Item:
    subject = raw.get("subject")
    found = _SUBJECT.match(subject) if isinstance(subject, str) else None
    if found is None:
        if native.startswith("Microsoft.Storage.Blob") and "Inventory" not in native:
            raise MalformedEvent("the subject names no blob")
        when = time(raw.get("eventTime") or raw.get("time"))
        return AccountSummary("azure", native, account_of(source), when, raw, document.transport)
    container, key = name(found[1], "container"), name(found[2], "blob name")
    kind = _KINDS.get(native)
    data = mapping(raw.get("data"))
    if kind is None:
        kind = _kind(native, data)
    return BlobEvent.lazily(kind, "azure", container, key, native, raw, _details, document.transport)


def _kind(native: str, data: Mapping[str, object]) -> EventKind:
    api = text(data.get("api"))
    if native == "Microsoft.Storage.BlobCreated":
        if api in _COMMITTED:
            return EventKind.CREATED
        if api in _PLACEHOLDERS:
            return EventKind.UPLOAD_STARTED
    if native == "Microsoft.Storage.BlobTierChanged":
        return EventKind.RESTORED if data.get("previousTier") == "Archive" else EventKind.TIER_CHANGED
    return EventKind.OTHER


def source_of(raw: Mapping[str, object]) -> str:
    """The resource that an event is of: ``topic`` in Event Grid's schema, ``source`` in CloudEvents. May be empty."""
    source = raw.get("topic") if "eventType" in raw else raw.get("source")
    return source.rstrip("/") if isinstance(source, str) else ""


def account_of(source: str | None) -> str | None:
    """The storage account in a resource id (``topic`` or ``source``), lower-case as account names are."""
    found = _ACCOUNT.search(source) if source else None
    return found[1].lower() if found else None


def _details(event: BlobEvent) -> Details:
    raw = event.raw
    data = mapping(raw.get("data"))
    ident = text(raw.get("id"))
    sequencer = text(data.get("sequencer"))
    occurred = text(raw.get("eventTime")) or text(raw.get("time"))
    account = account_of(source_of(raw))
    previous = None
    if event.kind in (EventKind.RENAMED, EventKind.PREFIX_RENAMED):
        previous = _key_of_url(data.get("sourceUrl"), event.bucket)
    return Details(
        operation=text(data.get("api")),
        etag=unquoted(data.get("eTag")),
        size=number(data.get("contentLength")),
        content_type=text(data.get("contentType")),
        time=time(occurred),
        deletion="unknown" if event.kind is EventKind.DELETED else None,  # soft delete and versions do not show
        previous=previous,
        tier=text(data.get("accessTier")),
        previous_tier=text(data.get("previousTier")),
        order=_order(sequencer),
        event_id=ident,
        account=account,
        alternate_key=_alternate(event.key, event.bucket, data),
        change=ident if ident is not None else f"{event.native_type}\n{sequencer or occurred}",
    )


def _order(sequencer: str | None) -> OrderToken | None:
    if sequencer is None:
        return None
    digits = sequencer.casefold()
    if len(digits) not in (32, 48) or not _HEX.match(digits):
        return None
    return OrderToken(f"azure-{len(digits)}", digits)


def _alternate(key: str, container: str, data: Mapping[str, object]) -> str | None:
    """The name in ``data.url``, when the subject's was damaged (a replacement character where an emoji stood)."""
    if "\ufffd" not in key:
        return None
    other = _key_of_url(data.get("url"), container)
    return other if other != key else None


def _key_of_url(url: object, container: str) -> str | None:
    """The name after the container; escapes in these URLs are not reliable ("#" is not escaped), so it is a guess."""
    if not isinstance(url, str):
        return None
    _, _, path = url.partition("://")
    _, _, path = path.partition("/")
    first, slash, rest = path.partition("/")
    if not slash or not rest or unquote(first) != container:
        return None
    try:
        key = unquote(rest, errors="strict")
    except UnicodeDecodeError:
        return rest
    return key if "\ufffd" not in key else rest
