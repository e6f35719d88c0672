"""What is uploaded: a file, an open file, or bytes; read in slices by many threads, watched for changes."""

from __future__ import annotations

import io
import os
import stat
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, NamedTuple

from blobkit.errors import InvalidArgument, SourceChanged

__all__ = ["BLOCK", "FileSource", "Readable", "Slice", "Source", "block_buffer", "is_stream", "opened"]

Readable = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | io.BufferedIOBase

BLOCK: Final = 1 << 20  # threads with blocks of a mebibyte are as fast as it gets; smaller ones cost twice the time
_SLICE: Final = 4 * BLOCK  # the kernel copies these by itself; between two of them the file is looked at
_buffers = threading.local()


def block_buffer() -> memoryview:
    """One block for each thread, used again and again."""
    if not hasattr(_buffers, "block"):
        _buffers.block = memoryview(bytearray(BLOCK))
    block: memoryview = _buffers.block
    return block


class Slice(NamedTuple):
    """A piece of a file that never enters this process: the kernel sends it (``os.sendfile``)."""

    fd: int
    offset: int
    size: int


class Source(ABC):
    """Bytes of a known size."""

    size: int
    identity: tuple[int, ...] | None = None  # of a file: what changes when its content does

    @abstractmethod
    def blocks(self, offset: int, size: int) -> Iterator[memoryview]:
        """The bytes ``[offset, offset + size)`` in blocks, each valid until the next is taken.

        Raises:
            SourceChanged: There are fewer than there were.
        """

    def pieces(self, offset: int, size: int) -> Iterator[memoryview | Slice]:
        """The same bytes for who only sends them on: in slices of the file where there is one.

        Raises:
            SourceChanged: There are fewer than there were.
        """
        return iter(self.blocks(offset, size))

    def check(self) -> None:  # noqa: B027 - bytes do not change
        """Raise SourceChanged when the source is not what it was when it was opened."""


class FileSource(Source):
    """A plain file, from ``start`` to its end, by its descriptor."""

    def __init__(self, fd: int, start: int = 0) -> None:
        self._fd = fd
        self._start = start
        self._was = self.identity = _identity(os.fstat(fd))
        self.size = max(0, self._was[0] - start)

    def pieces(self, offset: int, size: int) -> Iterator[memoryview | Slice]:
        """See Source."""
        # The last block of a request is read first and checked then: a request that lacks its last block stores nothing.
        direct = max(0, size - BLOCK) if hasattr(os, "sendfile") else 0
        for at in range(0, direct, _SLICE):
            self.check()
            yield Slice(self._fd, self._start + offset + at, min(_SLICE, direct - at))
        yield from self.blocks(offset + direct, size - direct)

    def blocks(self, offset: int, size: int) -> Iterator[memoryview]:
        """See Source."""
        block, at, end = block_buffer(), self._start + offset, self._start + offset + size
        while at < end:
            try:
                got = os.preadv(self._fd, [block[: min(BLOCK, end - at)]], at)
            except OSError as error:  # not to be taken for a failure of the connection, which would be tried again
                raise SourceChanged(f"the file cannot be read any more: {error.strerror}") from error
            if got == 0:
                raise SourceChanged("the file became shorter while it was read")
            self.check()  # before the block leaves: a request that lacks its last block stores nothing
            yield block[:got]
            at += got

    def check(self) -> None:
        """See Source."""
        if _identity(os.fstat(self._fd)) != self._was:
            raise SourceChanged("the file was changed while it was read", hint="upload it again when it is at rest")


class _Open(Source):
    """An open file without a descriptor of its own, read by one thread at a time."""

    def __init__(self, file: IO[bytes] | io.BufferedIOBase) -> None:
        try:
            self._start = file.tell()
            self.size = file.seek(0, os.SEEK_END) - self._start
        except (AttributeError, OSError) as error:
            raise InvalidArgument(
                "the file cannot seek, so its size is unknown", hint="give a session that was started without a size"
            ) from error
        if isinstance(file, io.TextIOBase):
            raise InvalidArgument("the file is open as text", hint='open(path, "rb")')
        self._file = file
        self._lock = threading.Lock()

    def blocks(self, offset: int, size: int) -> Iterator[memoryview]:
        end = offset + size
        while offset < end:
            try:
                with self._lock:
                    self._file.seek(self._start + offset)
                    data = self._file.read(min(BLOCK, end - offset))
            except OSError as error:
                raise SourceChanged(f"the file cannot be read any more: {error.strerror}") from error
            if not data:
                raise SourceChanged("the file became shorter while it was read")
            yield memoryview(data)
            offset += len(data)


class _Bytes(Source):
    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.size = data.nbytes

    def blocks(self, offset: int, size: int) -> Iterator[memoryview]:
        for at in range(offset, offset + size, BLOCK):
            yield self._data[at : min(at + BLOCK, offset + size)]


@contextmanager
def opened(source: Readable) -> Iterator[Source]:
    """The source, open while the context lasts.

    Raises:
        InvalidArgument: Something that cannot be read, or a file that is not a plain one.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        yield _Bytes(memoryview(source).cast("B"))
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # asked first: to open a pipe would wait for its other end
                raise InvalidArgument(f"{str(path)!r} is not a plain file")
            file = path.open("rb", buffering=0)
        except OSError as error:
            raise InvalidArgument(f"cannot read {str(path)!r}: {error.strerror}") from error
        with file:
            yield FileSource(file.fileno())
    elif isinstance(source, io.BufferedReader | io.FileIO) and _is_plain(source):
        yield FileSource(source.fileno(), source.tell())
    else:
        yield _Open(source)


def is_stream(source: object) -> bool:
    """Whether it can only be read once, to an end that nobody knows: a pipe, a socket's file, a decompressor of one."""
    seekable = getattr(source, "seekable", None)
    return hasattr(source, "read") and callable(seekable) and not seekable()


def _is_plain(file: io.BufferedReader | io.FileIO) -> bool:
    """Whether the descriptor shows the bytes that reading the object would (a decompressor wraps others)."""
    return type(getattr(file, "raw", file)) is io.FileIO and stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev
