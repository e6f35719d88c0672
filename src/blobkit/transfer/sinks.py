"""Where a download goes: a file that is written anywhere at once, or a pipe that takes bytes in order."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from typing import IO, Final

from blobkit.blobs import Checksum
from blobkit.errors import SourceChanged
from blobkit.hashing import hasher

__all__ = ["FileSink", "PipeSink", "Sink"]

_NO_FALLOCATE: Final = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


class Sink(ABC):
    """Takes the bytes of one object."""

    @abstractmethod
    def write(self, block: memoryview, at: int) -> None:
        """The bytes from offset ``at`` on. Raises OSError."""

    def learn(self, size: int, etag: str | None) -> None:  # noqa: B027 - not all want to know
        """The object's size and etag are known now. Raises OSError."""

    def arrived(self, begin: int, end: int) -> None:  # noqa: B027 - not all want to know
        """The bytes ``[begin, end)`` are written."""

    def begin_anew(self, *, same: bool) -> None:  # noqa: B027 - a file is simply written again
        """The storage sends everything from the first byte; ``same``: certainly of the same content as before."""


class FileSink(Sink):
    """An open file, whose room is taken at once, so that a full disk shows before the first byte."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def learn(self, size: int, etag: str | None) -> None:
        """See Sink."""
        if size and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._fd, 0, size)
            except OSError as error:
                if error.errno not in _NO_FALLOCATE:
                    raise
        os.ftruncate(self._fd, size)

    def write(self, block: memoryview, at: int) -> None:
        """See Sink."""
        while block:
            written = os.pwrite(self._fd, block, at)
            block, at = block[written:], at + written


class PipeSink(Sink):
    """A stream: bytes in order, and none of them twice. ``algorithm``: the checksum of what went out; None for none."""

    def __init__(self, out: IO[bytes], algorithm: str | None = None) -> None:
        self._out = out
        self._algorithm = algorithm
        self._digest = None if algorithm is None else hasher(algorithm)
        self._done = 0

    def checksum(self) -> Checksum | None:
        """The checksum so far."""
        if self._digest is None or self._algorithm is None:
            return None
        return Checksum(self._algorithm, self._digest.digest())

    def begin_anew(self, *, same: bool) -> None:
        """See Sink. Raises SourceChanged when what is written already may be of another content."""
        if self._done and not same:
            raise SourceChanged("the answer broke off, and the storage cannot go on in the middle of the same content")

    def write(self, block: memoryview, at: int) -> None:
        """See Sink; what went out before is left out."""
        block = block[max(0, self._done - at) :]
        self._done += len(block)
        if self._digest is not None:
            self._digest.update(block)
        while block:  # a raw file may take a part, and fail on the rest
            block = block[self._out.write(block) :]
