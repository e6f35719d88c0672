"""Bytes on their way in: an object in one go, or one chunk. Counted, summed and cut off while they stream."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Self

from google_crc32c import extend

from blobkit.backend import HeldChunk
from blobkit.blobs import BlobInfo, Checksum
from blobkit.errors import ChecksumMismatch, ConstraintViolated, SessionNotFound, Unavailable
from blobkit.hashing import hasher
from blobkit_local.engine import Attributes, Incoming, IncomingChunk, Wanted
from blobkit_local.extents import Sink, new_name
from blobkit_local.rows import ChunkRow, Piece, micros

if TYPE_CHECKING:
    from blobkit_local.indexed import IndexedEngine

__all__ = ["BlockWriter", "ChunkWriter", "check_checksum", "check_size", "crc32c_checksum"]


def crc32c_checksum(value: int) -> Checksum:
    """The value as a checksum: big-endian."""
    return Checksum("crc32c", value.to_bytes(4, "big"))


def check_size(key: str, size: int, wanted: Wanted) -> None:
    """Raise ConstraintViolated unless ``size`` is what was wanted."""
    if wanted.size is not None and size != wanted.size:
        raise ConstraintViolated("size", expected=wanted.size, actual=size, key=key)
    low, high = wanted.min_size or 0, wanted.max_size
    if size < low or (high is not None and size > high):
        raise ConstraintViolated("size", expected=f"{low}..{'' if high is None else high}", actual=size, key=key)


def check_checksum(key: str, wanted: Checksum | None, actual: Checksum | None) -> None:
    """Raise ChecksumMismatch unless both are the same."""
    if wanted is not None and (actual is None or not wanted.same_as(actual)):
        raise ChecksumMismatch(f"the {wanted.algorithm} of the bytes is not the one that was promised", key=key)


class _Meter:
    """Counts, sums, and writes on. One place, because every byte that comes in passes here."""

    __slots__ = ("_digest", "_limit", "crc", "key", "sink", "size", "wanted")

    def __init__(self, sink: Sink, key: str, limit: int | None, wanted: Checksum | None) -> None:
        self.sink = sink
        self.key = key
        self.wanted = wanted
        self.size = 0
        self.crc = 0
        self._limit = limit
        self._digest = hasher(wanted.algorithm) if wanted is not None and wanted.algorithm != "crc32c" else None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.size += len(data)
        if self._limit is not None and self.size > self._limit:
            raise ConstraintViolated(
                "size", expected=f"at most {self._limit}", actual=f"at least {self.size}", key=self.key
            )
        # google-crc32c takes bytes only; what the HTTP server gives is bytes.
        self.crc = extend(self.crc, data if isinstance(data, bytes) else bytes(data))
        if self._digest is not None:
            self._digest.update(data)
        self.sink.write(data)

    def checksums(self) -> dict[str, Checksum]:
        """What is known of the bytes. Raises ChecksumMismatch when it is not what was wanted."""
        found = {"crc32c": crc32c_checksum(self.crc)}
        if self.wanted is not None and self._digest is not None:
            found[self.wanted.algorithm] = Checksum(self.wanted.algorithm, self._digest.digest())
        if self.wanted is not None:
            check_checksum(self.key, self.wanted, found.get(self.wanted.algorithm))
        return found


class BlockWriter(Incoming):
    """An object that arrives in one go, in one new file."""

    def __init__(self, engine: IndexedEngine, key: str, attributes: Attributes, wanted: Wanted) -> None:
        self._engine = engine
        self._key = key
        self._attributes = attributes
        self._wanted = wanted
        self._name = new_name()
        limit = wanted.size if wanted.size is not None else wanted.max_size
        self._meter = _Meter(engine.extents.create(self._name), key, limit, wanted.checksum)
        self._done = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See :class:`Incoming`."""
        try:
            self._meter.write(data)
        except BaseException:
            self.discard()
            raise

    def commit(self) -> BlobInfo:
        """See :class:`Incoming`."""
        meter, engine = self._meter, self._engine
        try:
            check_size(self._key, meter.size, self._wanted)
            checksums = meter.checksums()
            meter.sink.keep()
        except BaseException:
            self.discard()
            raise
        self._done = True
        pieces = [Piece(self._name, 0, meter.size)] if meter.size else []
        with engine.guarding(self._name), engine.index.write() as rows:
            if not engine.extents.exists(self._name):
                raise Unavailable(
                    "the bytes were swept before they were published", key=self._key, hint="send them again"
                )
            published = engine.publish(rows, self._key, self._attributes, pieces, checksums, self._wanted)
        if not pieces:
            published.dead.append(self._name)
        engine.follow(published)
        return published.info

    def discard(self) -> None:
        """See :class:`Incoming`."""
        if not self._done:
            self._done = True
            self._meter.sink.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.discard()


class ChunkWriter(IncomingChunk):
    """One chunk, in its place of the session's file if this writer holds the claim to it, else in a file of its own.

    A place is written by the one writer that claimed it and named by the index only after that writer is done: a chunk that
    is sent again never touches the bytes that are held.
    """

    def __init__(
        self,
        engine: IndexedEngine,
        upload_id: str,
        number: int,
        size: int,
        *,
        checksum: Checksum | None,
        session_extent: str,
        offset: int,
        claimed: bool,
    ) -> None:
        self._engine = engine
        self._upload_id = upload_id
        self._number = number
        self._size = size
        self._session_extent = session_extent
        self._claimed = claimed
        self._done = False
        sink: Sink | None = None
        if claimed:
            try:
                sink = engine.extents.region(session_extent, offset)
            except BaseException as error:
                self._unclaim()
                if isinstance(error, FileNotFoundError):  # discarded or committed in this very moment
                    raise SessionNotFound("the session is gone") from error
                raise
        self._side = None if sink is not None else new_name()
        self._piece = Piece(self._side or session_extent, 0 if self._side else offset, size)
        if sink is None:
            sink = engine.extents.create(self._piece.extent)
        self._meter = _Meter(sink, "", size, checksum)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See :class:`IncomingChunk`."""
        try:
            self._meter.write(data)
        except BaseException:
            self.discard()
            raise

    def commit(self) -> HeldChunk:
        """See :class:`IncomingChunk`."""
        meter, engine = self._meter, self._engine
        try:
            if meter.size != self._size:
                raise ConstraintViolated("size", expected=self._size, actual=meter.size)
            meter.checksums()
            meter.sink.keep()
            held = HeldChunk(self._number, self._size, new_name())
            row = ChunkRow(held, meter.crc, self._piece)
            with engine.guarding(*([self._side] if self._side else [])), engine.index.write() as rows:
                if not rows.touch_session(self._upload_id, micros(engine.now())):
                    raise SessionNotFound("the session was completed, aborted or swept while the chunk was sent")
                if self._side and not engine.extents.exists(self._side):
                    raise Unavailable("the bytes were swept before they were held", hint="send the chunk again")
                dead = rows.put_chunk(self._upload_id, row, self._session_extent)
        except BaseException:
            self.discard()
            raise
        self._done = True
        engine.remove_files(dead)
        engine.chunk_arrived(self._upload_id)
        return held

    def discard(self) -> None:
        """See :class:`IncomingChunk`."""
        if not self._done:
            self._done = True
            self._meter.sink.drop()
            if self._claimed:
                self._unclaim()

    def _unclaim(self) -> None:
        # A claim that stays only makes the next writer use a file of its own.
        with suppress(Exception), self._engine.index.write(durable=False) as rows:
            rows.unclaim(self._upload_id, self._number, self._session_extent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.discard()
