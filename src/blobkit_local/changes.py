"""A change of a local store, and how it is told: as a BlobEvent in this process, as a signed CloudEvent over HTTP."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from blobkit.blobs import BlobInfo

if TYPE_CHECKING:
    from blobkit.events.model import BlobEvent

__all__ = ["SIGNATURE_HEADER", "Change", "signature", "to_cloudevent", "to_event", "verify_signature"]

SIGNATURE_HEADER: Final = "Blobkit-Signature"


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to an object.

    Attributes:
        kind: ``created``; ``deleted`` by a call; ``expired`` by a rule.
        provider: ``local`` or ``memory``.
        bucket: The store's name.
        info: The object as it is, or as it was.
        time: When, aware UTC.
        sequence: Grows with every change of the store: the order of events.
        event_id: Unique.
        deletion: ``permanent`` (it is gone), ``marker`` (hidden, its versions stay), ``version`` (an old version is gone).
    """

    kind: Literal["created", "deleted", "expired"]
    provider: str
    bucket: str
    info: BlobInfo
    time: datetime
    sequence: int
    event_id: str
    deletion: Literal["permanent", "marker", "version"] | None = None


def to_event(change: Change) -> BlobEvent:
    """As the event that every provider's notifications become."""
    from blobkit.events.model import BlobEvent, EventKind  # lazily: a store without listeners needs no event

    info = change.info
    return BlobEvent.make(
        kind=EventKind[change.kind.upper()],
        provider=change.provider,
        bucket=change.bucket,
        key=info.key,
        native_type=f"blobkit.object.{change.kind}",
        time=change.time,
        size=info.size,
        etag=info.etag or None,
        version=info.version,
        content_type=info.content_type,
        checksums={name: value.base64 for name, value in info.checksums.items()},
        deletion=change.deletion,
        order=f"{change.sequence:016x}",
        event_id=change.event_id,
    )


def to_cloudevent(change: Change) -> bytes:
    """As a CloudEvents 1.0 document in JSON (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md)."""
    info = change.info
    data: dict[str, object] = {
        "provider": change.provider,
        "bucket": change.bucket,
        "key": info.key,
        "size": info.size,
        "etag": info.etag,
        "version": info.version,
        "content_type": info.content_type,
        "checksums": {name: value.base64 for name, value in info.checksums.items()},
        "deletion": change.deletion,
        "sequence": f"{change.sequence:016x}",
    }
    document = {
        "specversion": "1.0",
        "id": change.event_id,
        "source": f"urn:blobkit:{change.provider}",
        "type": f"blobkit.object.{change.kind}",
        "subject": info.key,
        "time": change.time.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {name: value for name, value in data.items() if value is not None},
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def signature(key: bytes, body: bytes, now: int) -> str:
    """The value of the ``Blobkit-Signature`` header: the time of sending, and HMAC-SHA256 over ``"<time>." + body``."""
    mac = hmac.new(key, b"%d." % now + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={mac}"


def verify_signature(
    key: bytes, body: bytes, header: str, now: int, *, tolerance: timedelta = timedelta(minutes=5)
) -> bool:
    """Whether a webhook's body is ours, unchanged, and sent not longer ago than ``tolerance``. Constant-time."""
    sent = header.partition(",")[0].removeprefix("t=")
    if not sent.isascii() or not sent.isdigit() or len(sent) > 15:
        return False
    if abs(now - int(sent)) > tolerance.total_seconds():
        return False
    return hmac.compare_digest(signature(key, body, int(sent)).encode(), header.encode("utf-8", "replace"))
