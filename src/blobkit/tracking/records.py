"""What the records say: :class:`Upload` and :class:`Notification`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from blobkit.blobs import BlobInfo, Checksum, Pin
from blobkit.spec import UploadSpec
from blobkit.tracking.schema import uploads
from blobkit.tracking.states import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Row

__all__ = ["Notification", "Served", "Upload", "identity", "same_content", "to_upload"]


@dataclass(frozen=True, slots=True)
class Served:
    """Where an available upload is read from, and the version that readers are given.

    Attributes:
        store: The store's name.
        key: Relative to the store's prefix.
        pin: Exactly this content.
    """

    store: str
    key: str
    pin: Pin


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload as it was recorded at one moment. The fields are the columns of ``blobkit_uploads``.

    Attributes:
        id: UUID version 7; it says nothing of the key.
        owner, filename: As they were given. A filename is a hint for people, never a path.
        store, key: Where the client uploads to; the key is relative to the store's prefix.
        upload_id: Of a chunked session: what the object carries in its metadata.
        session: Of a chunked session that is not over: its sealed token.
        declared_size, declared_type, declared_checksum: What the client said; the checksum as ``sha256:hex``.
        most_size: The greatest size that it may have; None when it has no bound.
        spec: All that was asked of the object, as JSON (:attr:`asked`).
        checks: Whether it has to pass checks before it is available.
        size, content_type, checksum, version, etag: What the store said when the object was bound; None before that.
        order_token: The order of the event that led to it, where one did.
        served_store, served_key, served_version, served_etag: Where it is served from, when it was promoted.
        state: See :mod:`blobkit.tracking.states`.
        state_version: Grows with every change: what every change compares with.
        reason: Why it is in that state, in a few words.
        seen: Other content than the bound one that was seen at its key last.
        verdict: What the checks said of the bound version, as JSON.
        lease: Whose examination it is.
        created_at, updated_at: Aware UTC.
        expires_at: When the upload is over, if nothing arrived.
        url_expires_at: When the last URL ends that can write to its key.
        removal_at: When the service asked for its deletion.
        look_at, looks: When reconcile looks at it next, and how often it has.
        examine_at, examined: When it may be taken for examination, and how often it was.
        sweep_at: When its key is swept next.
    """

    id: UUID
    owner: str
    filename: str | None
    store: str
    key: str
    upload_id: str | None
    session: str | None = field(repr=False)
    declared_size: int | None
    most_size: int | None
    declared_type: str | None
    declared_checksum: str | None
    spec: str
    checks: bool
    size: int | None
    content_type: str | None
    checksum: str | None
    version: str | None
    etag: str | None
    order_token: str | None
    served_store: str | None
    served_key: str | None
    served_version: str | None
    served_etag: str | None
    state: State
    state_version: int
    reason: str | None
    seen: str | None
    verdict: str | None
    lease: str | None = field(repr=False)
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    url_expires_at: datetime
    removal_at: datetime | None
    look_at: datetime | None
    looks: int
    examine_at: datetime | None
    examined: int
    sweep_at: datetime | None

    @property
    def asked(self) -> UploadSpec:
        """All that was asked of the object."""
        return _spec(self.spec)

    @property
    def pin(self) -> Pin | None:
        """The content that is bound, at ``store`` and ``key``; None before it is."""
        return None if self.etag is None and self.version is None else Pin(self.etag, self.version)

    @property
    def served(self) -> Served | None:
        """Where to read it, pinned; None unless it is available."""
        return self.place if self.state is State.AVAILABLE else None

    @property
    def place(self) -> Served | None:
        """Where it is, or was, served from; None before it is bound."""
        if self.served_store is not None and self.served_key is not None:
            return Served(self.served_store, self.served_key, Pin(self.served_etag, self.served_version))
        return None if self.pin is None else Served(self.store, self.key, self.pin)

    @property
    def promoted(self) -> bool:
        """Whether it is served from another place than the client uploaded to."""
        return self.served_key is not None

    def to_dict(self) -> dict[str, object]:
        """As JSON values, without the session."""
        out: dict[str, object] = {}
        for name in _NAMES:
            value = getattr(self, name)
            if name in ("session", "lease"):
                continue
            if isinstance(value, datetime):
                value = value.isoformat()
            elif isinstance(value, UUID):
                value = str(value)
            elif name in ("spec", "verdict") and value is not None:
                value = json.loads(value)
            out[name] = value
        return out


_spec: Final = lru_cache(maxsize=1024)(UploadSpec.from_json)  # a service asks for much the same all the time
_NAMES: Final = tuple(column.name for column in uploads.columns)
_STATE: Final = _NAMES.index("state")


def to_upload(row: Row[Any] | Sequence[Any]) -> Upload:
    """The upload of a row with every column of ``blobkit_uploads``, in order."""
    values = list(row)
    values[_STATE] = State(values[_STATE])
    return Upload(*values)


@dataclass(frozen=True, slots=True)
class Notification:
    """Something that happened to an upload, as the outbox tells it: at least once, and in order for each upload.

    Attributes:
        upload: Which upload.
        seq: Grows with what happens to it; not every number is told.
        kind: A move's notice (``available``, ``failed`` …) or a signal (``overwritten``, ``late_upload``).
        data: The upload as it was then: ``owner``, ``filename``, ``store``, ``key``, ``size``, ``content_type``,
            ``version``, ``etag``, ``state``, ``reason``; ``served_store`` and ``served_key`` when it was promoted.
        created_at: When it was recorded, aware UTC.
        attempt: From 1.
    """

    upload: UUID
    seq: int
    kind: str
    data: Mapping[str, object]
    created_at: datetime
    attempt: int = 1

    @property
    def id(self) -> str:
        """The same for every delivery of the same thing: remember it to handle each once."""
        return f"{self.upload}.{self.seq}"


def identity(info: BlobInfo) -> str:
    """One content of one key, as a text."""
    return f"{info.version or ''}:{info.etag}"


def same_content(pin: Pin, info: BlobInfo) -> bool:
    """Whether the object is the pinned content: by version where both say one, else by etag."""
    if pin.version is not None and info.version is not None:
        return pin.version == info.version
    return pin.etag is not None and pin.etag == info.etag


def checksum_text(checksum: Checksum) -> str:
    """``algorithm:hex``, as the records keep it."""
    return f"{checksum.algorithm}:{checksum.hex}"
