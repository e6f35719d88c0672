"""What holds the bytes and the index of a local store: one interface, a durable engine and one in memory.

The backend, the data plane and the tests only know this. An engine is thread-safe; the durable one is also safe between
processes. It takes any key of 1 to 1,024 UTF-8 bytes, since keys never become paths.
"""

from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import IO, TYPE_CHECKING

from blobkit.backend import HeldChunk, SessionState
from blobkit.blobs import BlobInfo, Checksum, PendingUpload, Pin, Prefix
from blobkit.errors import InvalidArgument

if TYPE_CHECKING:
    from blobkit.events.model import BlobEvent
    from blobkit.spec import UploadSpec

__all__ = ["Attributes", "Engine", "ExpiryRule", "Incoming", "IncomingChunk", "Wanted"]


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is stored beside the bytes."""

    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    storage_class: str | None = None
    upload_id: str | None = None

    @classmethod
    def of(cls, spec: UploadSpec, upload_id: str | None) -> Attributes:
        """What a spec says is to be stored."""
        return cls(
            content_type=spec.content_type,
            metadata=spec.metadata,
            cache_control=spec.cache_control,
            content_disposition=spec.content_disposition,
            content_encoding=spec.content_encoding,
            storage_class=spec.storage_class,
            upload_id=upload_id,
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What must hold when the bytes become an object; checked under the engine's lock, or while the bytes stream in.

    Attributes:
        size, min_size, max_size: Bytes; crossing ``max_size`` or ``size`` cuts the stream off.
        checksum: The digest that the bytes must have; only then is it computed (crc32c always is, and stored).
        if_absent: Nothing may be at the key.
        if_match: Exactly this must be at the key.
    """

    size: int | None = None
    min_size: int | None = None
    max_size: int | None = None
    checksum: Checksum | None = None
    if_absent: bool = False
    if_match: Pin | None = None

    @classmethod
    def of(cls, spec: UploadSpec, *, size: int | None = None, if_match: Pin | None = None) -> Wanted:
        """What a spec demands of the bytes; ``size`` in place of the spec's own."""
        return cls(
            size=spec.size if size is None else size,
            min_size=spec.min_size,
            max_size=spec.max_size,
            checksum=spec.checksum,
            if_absent=spec.if_absent,
            if_match=if_match,
        )


@dataclass(frozen=True, slots=True)
class ExpiryRule:
    """Objects whose key starts with ``prefix`` go for good once they are older than ``age``, and so do their old versions."""

    prefix: str
    age: timedelta

    def __post_init__(self) -> None:
        if self.age < timedelta(seconds=1):
            raise InvalidArgument("an expiry rule's age is at least one second")


class Incoming(ABC):
    """Bytes on their way in: written to a temporary place, nothing readable until :meth:`commit`. A context manager:
    leaving it without a commit discards."""

    @abstractmethod
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes. Raises ConstraintViolated as soon as they exceed what was wanted."""

    @abstractmethod
    def commit(self) -> BlobInfo:
        """Check what was wanted, make the bytes durable, and publish them at the key, all or nothing.

        Raises:
            ConstraintViolated, ChecksumMismatch, AlreadyExists, PreconditionFailed: Nothing was changed.
        """

    @abstractmethod
    def discard(self) -> None:
        """Forget the bytes. Idempotent; after a commit it does nothing."""

    @abstractmethod
    def __enter__(self) -> Incoming:
        """Itself."""

    @abstractmethod
    def __exit__(self, *exc: object) -> None:
        """Discard what was not committed."""


class IncomingChunk(ABC):
    """The bytes of one chunk on their way in. A context manager like :class:`Incoming`."""

    @abstractmethod
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes. Raises ConstraintViolated as soon as they exceed the chunk's size."""

    @abstractmethod
    def commit(self) -> HeldChunk:
        """Hold the chunk, in place of an earlier one of the same number. Its receipt is its etag.

        Raises:
            ConstraintViolated (a wrong size), ChecksumMismatch, SessionNotFound (committed, discarded or swept meanwhile).
        """

    @abstractmethod
    def discard(self) -> None:
        """Forget the bytes. Idempotent."""

    @abstractmethod
    def __enter__(self) -> IncomingChunk:
        """Itself."""

    @abstractmethod
    def __exit__(self, *exc: object) -> None:
        """Discard what was not committed."""


class Engine(ABC):
    """The index and the bytes. Every info it gives has the full key; etags are opaque, unique per content written."""

    @abstractmethod
    def head(self, key: str, *, version: str | None = None) -> BlobInfo:
        """Raises BlobNotFound."""

    @abstractmethod
    def open(self, key: str, *, version: str | None = None, pin: Pin | None = None) -> tuple[BlobInfo, IO[bytes]]:
        """The object and its bytes as a seekable file that stays readable whatever happens to the key meanwhile.

        Raises BlobNotFound, PreconditionFailed.
        """

    @abstractmethod
    def incoming(self, key: str, attributes: Attributes, wanted: Wanted) -> Incoming:
        """Begin to write an object. Raises AlreadyExists early when that is certain already."""

    @abstractmethod
    def copy(
        self, source: str, target: str, *, pin: Pin | None = None, if_absent: bool = False, to: Engine | None = None
    ) -> BlobInfo:
        """Copy with all attributes; within one durable engine without copying bytes."""

    @abstractmethod
    def delete(
        self, key: str, *, pin: Pin | None = None, version: str | None = None, purge_versions: bool = False
    ) -> tuple[bool, int]:
        """Delete. Returns whether a delete marker was left, and how many versions remain. A missing object is no error."""

    @abstractmethod
    def list(
        self, prefix: str, *, start_after: str | None = None, delimiter: str | None = None
    ) -> Iterator[BlobInfo | Prefix]:
        """Current objects in the order of the keys' UTF-8 bytes, read in pages: changes meanwhile may or may not show."""

    @abstractmethod
    def open_session(self, state: SessionState, attributes: Attributes) -> None:
        """Make the session's row. ``state.upload_id`` identifies it from now on."""

    @abstractmethod
    def session(self, upload_id: str) -> SessionState:
        """Raises SessionNotFound."""

    @abstractmethod
    def incoming_chunk(
        self, upload_id: str, number: int, size: int, *, checksum: Checksum | None = None
    ) -> IncomingChunk:
        """Begin to write one chunk. Raises SessionNotFound."""

    @abstractmethod
    def held(self, upload_id: str) -> builtins.list[HeldChunk]:
        """The chunks held, by number. Raises SessionNotFound."""

    @abstractmethod
    def commit_session(self, upload_id: str, chunks: builtins.list[HeldChunk], wanted: Wanted) -> BlobInfo:
        """Assemble exactly these chunks, check what is wanted, publish, and forget the session, all or nothing.

        Raises:
            ChunkMismatch: A chunk is not held, or no longer the one named.
            ConstraintViolated, ChecksumMismatch, AlreadyExists, SessionNotFound.
        """

    @abstractmethod
    def discard_session(self, upload_id: str) -> bool:
        """Forget the session and its chunks; False when it was not there."""

    @abstractmethod
    def sessions(self, prefix: str) -> Iterator[PendingUpload]:
        """Open sessions whose key starts with ``prefix``."""

    @abstractmethod
    def expiry_rules(self) -> Sequence[ExpiryRule]:
        """The rules that :meth:`sweep` applies, by prefix."""

    @abstractmethod
    def set_expiry_rules(self, rules: Sequence[ExpiryRule]) -> None:
        """Replace all rules; they are kept with the store. Raises InvalidArgument for two of one prefix."""

    @abstractmethod
    def sweep(self, *, now: datetime, sessions_older_than: datetime, temps_older_than: datetime) -> Mapping[str, int]:
        """Remove abandoned sessions, left-over temporary files, and objects past an expiry rule.

        Safe beside running uploads, in this and other processes.

        Args:
            now: By which the age of objects is told.
            sessions_older_than: Sessions without a new chunk since then are abandoned.
            temps_older_than: Files that no object and no session has, last written before then, are left over.

        Returns:
            What was removed: ``sessions``, ``files``, ``objects``, ``bytes``.
        """

    @abstractmethod
    def subscribe(self, listener: Callable[[BlobEvent], None]) -> Callable[[], None]:
        """Call ``listener`` after each change that this process makes; returns how to stop that."""

    @abstractmethod
    def close(self) -> None:
        """Idempotent."""
