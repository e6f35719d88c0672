"""Events of the embedded store as its webhook sends them, and their proof. Pure.

The format and the signature are those of :mod:`blobkit_local.changes`.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from blobkit.errors import InvalidArgument, MalformedEvent, UntrustedEvent
from blobkit.events.auth import Proof, Request
from blobkit.events.controls import RecordError
from blobkit.events.dialect import Document, Item
from blobkit.events.fields import mapping, name, number, text, time
from blobkit.events.model import BlobEvent, Deletion, Details, EventKind, OrderToken
from blobkit.redaction import Secret
from blobkit_local.changes import SIGNATURE_HEADER, verify_signature

__all__ = ["LocalDialect", "WebhookVerifier", "dialect"]

_TYPE: Final = "blobkit.object."
_KINDS: Final = {"created": EventKind.CREATED, "deleted": EventKind.DELETED, "expired": EventKind.EXPIRED}
_PROVIDERS: Final = ("local", "memory")
_DELETIONS: Final[Mapping[str, Deletion]] = {"permanent": "permanent", "marker": "marker", "version": "version"}


class LocalDialect:
    """CloudEvents of an embedded store."""

    name: str = "local"

    def parse(self, document: Document) -> Sequence[Item] | None:
        """See :class:`blobkit.events.dialect.Dialect`."""
        native = document.head.get("type", "")
        if document.shape != "cloudevent" or not native.startswith(_TYPE):
            return None
        raw: dict[str, object] = {**document.head, "data": document.body}
        data = mapping(document.body)
        try:
            provider = name(data.get("provider"), "provider")
            if provider not in _PROVIDERS:
                raise MalformedEvent("the provider is not an embedded one")
            bucket, key = name(data.get("bucket"), "bucket"), name(data.get("key"), "key")
        except MalformedEvent as error:
            return [RecordError(error.message, raw=raw, transport=document.transport, provider="local")]
        kind = _KINDS.get(native.removeprefix(_TYPE), EventKind.OTHER)
        return [BlobEvent.lazily(kind, provider, bucket, key, native, raw, _details, document.transport)]


dialect: Final = LocalDialect()


def _details(event: BlobEvent) -> Details:
    data = mapping(event.raw.get("data"))
    sums = mapping(data.get("checksums"))
    sequence = text(data.get("sequence"))
    deletion = text(data.get("deletion"))
    return Details(
        version=text(data.get("version")),
        etag=text(data.get("etag")),
        size=number(data.get("size")),
        checksums=tuple(sorted((name, value) for name, value in sums.items() if isinstance(value, str))),
        content_type=text(data.get("content_type")),
        time=time(event.raw.get("time")),
        deletion=None if deletion is None else _DELETIONS.get(deletion, "unknown"),
        # The shape is the one that BlobEvent.make gives to the events told in the process.
        order=None if sequence is None else OrderToken(f"{event.provider}-{len(sequence)}", sequence),
        event_id=text(event.raw.get("id")),
    )


class WebhookVerifier:
    """Verifies the ``Blobkit-Signature`` of an embedded store's webhook: HMAC-SHA256 over the time of sending and the body.

    Args:
        keys: What stands as ``webhook_secret``: several, so that one can be replaced.
        now: Seconds since the epoch.

    Raises:
        InvalidArgument: No key, or an empty one.
    """

    def __init__(self, *keys: bytes | str | Secret, now: Callable[[], float] = clock.time) -> None:
        plain = (item.reveal() if isinstance(item, Secret) else item for item in keys)
        self._keys = tuple(item.encode("utf-8") if isinstance(item, str) else item for item in plain)
        if not self._keys or not all(self._keys):
            raise InvalidArgument("a webhook's key must not be empty")
        self._now = now

    def authenticate(self, request: Request) -> Proof:
        """See :class:`blobkit.events.auth.Authenticator`.

        Raises:
            UntrustedEvent: No signature, one of another key, or an old one.
        """
        header = request.headers.get(SIGNATURE_HEADER.lower())
        if not header:
            raise UntrustedEvent("the delivery is not signed", code="missing")
        now, good = int(self._now()), False
        for key in self._keys:
            good |= verify_signature(key, request.body, header, now)
        if not good:
            raise UntrustedEvent("the signature is wrong, or too old")
        return Proof("secret", SIGNATURE_HEADER)
