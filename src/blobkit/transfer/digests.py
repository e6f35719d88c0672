"""The checksum of what is moved, computed while it is moved.

A CRC is put together from the chunks' own, in whatever order they move: every byte is read once. A cryptographic digest wants
the bytes in order: where they are sent in order it is computed on the way; where chunks move in parallel, a thread follows the
front of the transfer through the same file, which then is in the machine's cache.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable

from blobkit.blobs import Checksum
from blobkit.hashing import Hasher, hasher
from blobkit.transfer.crc import COMBINABLE, combine
from blobkit.transfer.source import Source
from blobkit.transfer.workers import Stop

__all__ = ["Combined", "Digest", "Following", "InOrder", "digest_for"]


class Digest(ABC):
    """The checksum of one source. Thread-safe."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm

    def piece(self) -> Hasher | None:
        """Takes the bytes of one attempt to move a piece, in order; None when they need not be seen."""
        return None

    def moved(self, offset: int, size: int, piece: Hasher | None) -> None:  # noqa: B027 - not all want to know
        """The piece at ``offset`` arrived; ``piece`` saw its bytes."""

    @abstractmethod
    def result(self, source: Source) -> Checksum:
        """The checksum of all of it; what was not moved now (since it is held) is read."""

    def close(self) -> None:  # noqa: B027 - nothing to give up
        """Give up."""


class Combined(Digest):
    """A CRC, from those of the pieces."""

    def __init__(self, algorithm: str) -> None:
        super().__init__(algorithm)
        self._pieces: dict[int, tuple[int, bytes]] = {}  # by offset: size, digest

    def piece(self) -> Hasher | None:
        """See Digest."""
        return hasher(self.algorithm)

    def moved(self, offset: int, size: int, piece: Hasher | None) -> None:
        """See Digest."""
        if piece is not None:
            self._pieces[offset] = size, piece.digest()

    def gaps(self, total: int) -> Iterable[tuple[int, int]]:
        """Offset and size of what no piece covers."""
        at = 0
        for offset in sorted(self._pieces):
            if offset > at:
                yield at, offset - at
            at = max(at, offset + self._pieces[offset][0])
        if at < total:
            yield at, total - at

    def result(self, source: Source) -> Checksum:
        """See Digest."""
        for offset, size in list(self.gaps(source.size)):
            piece = hasher(self.algorithm)
            for block in source.blocks(offset, size):
                piece.update(block)
            self.moved(offset, size, piece)
        return self.joined()

    def joined(self) -> Checksum:
        """The checksum of the pieces in a row."""
        whole = hasher(self.algorithm).digest()
        for offset in sorted(self._pieces):
            size, digest = self._pieces[offset]
            whole = combine(self.algorithm, whole, digest, size)
        return Checksum(self.algorithm, whole)


class Following(Digest):
    """A digest that wants the bytes in order: a thread reads them."""

    def __init__(self, algorithm: str, source: Source) -> None:
        super().__init__(algorithm)
        self._stop = Stop()
        self._digest = hasher(algorithm)
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._read, args=(source,), name="blobkit-digest", daemon=True)
        self._thread.start()

    def _read(self, source: Source) -> None:
        try:
            for block in source.blocks(0, source.size):
                if self._stop.is_set():
                    return
                self._digest.update(block)
        except BaseException as error:
            self._failed.append(error)

    def result(self, source: Source) -> Checksum:
        """See Digest. Raises what reading raised."""
        self._thread.join()
        if self._failed:
            raise self._failed[0]
        return Checksum(self.algorithm, self._digest.digest())

    def close(self) -> None:
        """See Digest."""
        self._stop.set()
        self._thread.join()


class InOrder(Digest):
    """A digest of what is sent in one piece, from the first byte to the last."""

    def __init__(self, algorithm: str) -> None:
        super().__init__(algorithm)
        self._whole: Hasher | None = None

    def piece(self) -> Hasher | None:
        """See Digest."""
        return hasher(self.algorithm)

    def moved(self, offset: int, size: int, piece: Hasher | None) -> None:
        """See Digest."""
        self._whole = piece

    def result(self, source: Source) -> Checksum:
        """See Digest."""
        digest = self._whole or hasher(self.algorithm)
        return Checksum(self.algorithm, digest.digest())


def digest_for(algorithm: str | None, source: Source, *, single: bool) -> Digest | None:
    """How this algorithm is computed of a source. Raises InvalidArgument, PluginMissing.

    Args:
        algorithm: None for none.
        source: What is moved.
        single: Whether it moves in one request.
    """
    if algorithm is None:
        return None
    if algorithm in COMBINABLE:
        return Combined(algorithm)
    hasher(algorithm)
    return InOrder(algorithm) if single else Following(algorithm, source)
