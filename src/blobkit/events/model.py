"""The neutral event: :class:`BlobEvent`, which every provider's notifications become.

An event is a hint: it may come twice, late, out of order or never. Read the object before you believe it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal, Self

from blobkit.errors import MalformedEvent

__all__ = ["BlobEvent", "Deletion", "EventKind"]

Deletion = Literal["permanent", "marker", "version", "archived", "unknown"]
"""What a deletion took: the object for good, only its visibility (a delete marker), an old version, its live version."""


class EventKind(StrEnum):
    """What happened to an object.

    ``EXPIRED`` is a deletion by a rule. ``SUPERSEDED``: an older version stopped being current because of an overwrite.
    ``UPLOAD_STARTED``: an empty placeholder exists, its bytes do not. ``OTHER``: a known envelope with a type that is not
    modelled; never an error.
    """

    CREATED = "created"
    DELETED = "deleted"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    RESTORED = "restored"
    RESTORE_STARTED = "restore_started"
    RESTORE_EXPIRED = "restore_expired"
    METADATA_CHANGED = "metadata_changed"
    TIER_CHANGED = "tier_changed"
    RENAMED = "renamed"
    PREFIX_RENAMED = "prefix_renamed"
    PREFIX_DELETED = "prefix_deleted"
    UPLOAD_STARTED = "upload_started"
    OTHER = "other"


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobEvent:
    """One change of one object, as its provider told it.

    Attributes:
        kind: What happened.
        provider: Whose event it is (``local``, ``memory``, ``s3``, ``gcs``, ``azure`` …).
        bucket: Bucket, container or store.
        key: The full key, decoded.
        native_type: The provider's own name of the event.
        time: When it happened, aware UTC; None when it was not said.
        size: Bytes; None when it was not said.
        etag: Without quotes; None when it was not said.
        version: Version id or generation; None where there are none.
        content_type: None when it was not said.
        checksums: Base64 by algorithm.
        deletion: What a deletion took; None for other kinds.
        order: A token that orders events of one key of one provider; None when there is no order.
        event_id: The provider's id of the event; None when it has none.
    """

    kind: EventKind
    provider: str
    bucket: str
    key: str
    native_type: str
    time: datetime | None = None
    size: int | None = None
    etag: str | None = None
    version: str | None = None
    content_type: str | None = None
    checksums: Mapping[str, str] = field(default_factory=_nothing, hash=False)
    deletion: Deletion | None = None
    order: str | None = None
    event_id: str | None = None

    @classmethod
    def make(
        cls,
        *,
        kind: EventKind,
        provider: str,
        bucket: str,
        key: str,
        native_type: str,
        time: datetime | None = None,
        size: int | None = None,
        etag: str | None = None,
        version: str | None = None,
        content_type: str | None = None,
        checksums: Mapping[str, str] | None = None,
        deletion: Deletion | None = None,
        order: str | None = None,
        event_id: str | None = None,
    ) -> Self:
        """An event from its parts."""
        return cls(
            kind=kind,
            provider=provider,
            bucket=bucket,
            key=key,
            native_type=native_type,
            time=time,
            size=size,
            etag=etag,
            version=version,
            content_type=content_type,
            checksums=MappingProxyType(dict(checksums or {})),
            deletion=deletion,
            order=order,
            event_id=event_id,
        )

    def __reduce__(self) -> tuple[object, tuple[dict[str, object]]]:
        return BlobEvent.from_dict, (self.to_dict(),)

    @property
    def dedupe_key(self) -> str:
        """The same for every delivery of the same change: remember it to handle each once. 32 hexadecimal digits."""
        told = self.order or self.event_id or (self.time.isoformat() if self.time else "")
        parts = (self.provider, self.bucket, self.key, self.version or "", self.native_type, told)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def to_dict(self) -> dict[str, object]:
        """As JSON values, without what is not known. :meth:`from_dict` is its inverse."""
        out: dict[str, object] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None or value == {}:
                continue
            if isinstance(value, datetime):
                value = value.isoformat()
            out[item.name] = dict(value) if isinstance(value, Mapping) else value
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From what :meth:`to_dict` gave. Raises MalformedEvent."""
        try:
            known = {item.name: data[item.name] for item in fields(cls) if item.name in data}
            known["kind"] = EventKind(known["kind"])
            if "time" in known:
                known["time"] = datetime.fromisoformat(known["time"])
            return cls.make(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedEvent("not an event") from error
