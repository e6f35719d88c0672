"""Where bytes are: a flat set of files with random names, on disk or in memory, and a reader that joins ranges of them."""

from __future__ import annotations

import io
import secrets
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import IO, TYPE_CHECKING, cast

from blobkit_local.rows import Piece

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Extents", "PieceReader", "Sink", "Source", "limited", "new_name"]


def new_name() -> str:
    """A name for new bytes: 128 random bits in hexadecimal. It says nothing of the key."""
    return secrets.token_hex(16)


class Sink(ABC):
    """Bytes being written. Exactly one of :meth:`keep` and :meth:`drop` ends it; either may be called again, idly."""

    @abstractmethod
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes."""

    @abstractmethod
    def keep(self) -> None:
        """Make the bytes durable under their name."""

    @abstractmethod
    def drop(self) -> None:
        """Forget the bytes."""


class Source(ABC):
    """An open file. It stays readable when its name is removed."""

    @abstractmethod
    def read_at(self, start: int, size: int) -> bytes:
        """Up to ``size`` bytes; fewer only at the end of the file."""

    @abstractmethod
    def close(self) -> None:
        """Idempotent."""


class Extents(ABC):
    """The files of one store.

    Attributes:
        max_files: Of how many files an object may consist at most; None for any number.
        has_regions: Whether the chunks of a session share a file.
    """

    max_files: int | None
    has_regions: bool

    @abstractmethod
    def create(self, name: str) -> Sink:
        """Write a new file; nothing has the name until it is kept."""

    @abstractmethod
    def allocate(self, name: str) -> None:
        """Make an empty file for the chunks of a session."""

    @abstractmethod
    def region(self, name: str, start: int) -> Sink:
        """Write a range of an allocated file in place. Only called with ``has_regions``. Raises FileNotFoundError."""

    @abstractmethod
    def open(self, name: str) -> Source:
        """Raises FileNotFoundError."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is such a file."""

    @abstractmethod
    def remove(self, name: str) -> int:
        """Remove it; returns its bytes. A missing one is no error."""

    @abstractmethod
    def written_before(self, limit: float) -> Iterator[list[str]]:
        """The names of the files last written before ``limit`` (seconds since the epoch), in batches."""

    @abstractmethod
    def remove_unfinished(self, limit: float) -> tuple[int, int]:
        """Remove files that were begun, last written before ``limit``, and never kept; returns how many, and their bytes."""


class PieceReader(io.RawIOBase):
    """An object's bytes as one seekable file. Not for two threads at once."""

    def __init__(self, pieces: Sequence[Piece], sources: dict[str, Source]) -> None:
        self._pieces = pieces
        self._sources = sources
        self._starts = [0, *accumulate(piece.size for piece in pieces)]
        self.size = self._starts[-1]
        self._at = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As every file."""
        self._check()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """As every file."""
        self._check()
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """Exactly ``size`` bytes, fewer only at the end."""
        self._check()
        left = max(0, self.size - self._at)
        if size is not None and size >= 0:
            left = min(left, size)
        parts: list[bytes] = []
        while left:
            index = bisect_right(self._starts, self._at) - 1
            piece = self._pieces[index]
            inside = self._at - self._starts[index]
            wanted = min(left, piece.size - inside)
            block = self._sources[piece.extent].read_at(piece.start + inside, wanted)
            if not block:
                raise OSError(f"the file {piece.extent} is shorter than the index says")
            parts.append(block)
            self._at += len(block)
            left -= len(block)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readall(self) -> bytes:
        """The rest."""
        return self.read(-1)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """As every raw file."""
        view = memoryview(buffer).cast("B")
        block = self.read(len(view))
        view[: len(block)] = block
        return len(block)

    def close(self) -> None:
        """Let go of the files."""
        if not self.closed:
            for source in self._sources.values():
                source.close()
        super().close()

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")


def limited(stream: IO[bytes], start: int, end: int) -> IO[bytes]:
    """Bytes ``[start, end)`` of a seekable file as a file of its own, which closes the other. Empty when ``end <= start``."""
    if start == 0 and isinstance(stream, PieceReader) and end == stream.size:
        return stream
    return cast("IO[bytes]", _Limited(stream, start, max(start, end)))


class _Limited(io.RawIOBase):
    def __init__(self, stream: IO[bytes], start: int, end: int) -> None:
        self._stream = stream
        self._start = start
        self._end = end
        stream.seek(start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: self._start, io.SEEK_CUR: self._stream.tell(), io.SEEK_END: self._end}[whence]
        if base + offset < self._start:
            raise ValueError("negative seek position")
        return self._stream.seek(base + offset) - self._start

    def tell(self) -> int:
        return self._stream.tell() - self._start

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._end - self._stream.tell())
        return self._stream.read(left if size is None or size < 0 else min(size, left))

    def readall(self) -> bytes:
        return self.read(-1)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        block = self.read(len(view))
        view[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._stream.close()
        super().close()
