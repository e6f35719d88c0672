"""Read an object as a file: :class:`BlobFile`, behind ``store.open``."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from blobkit.errors import InvalidArgument

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from blobkit.blobs import BlobInfo
    from blobkit.calling import Calls

__all__ = ["BlobFile"]


class BlobFile(io.RawIOBase):
    """A read-only, seekable, unbuffered file over ranged reads of one pinned content."""

    def __init__(self, calls: Calls, info: BlobInfo) -> None:
        super().__init__()
        self._calls = calls
        self._info = info
        self._at = 0
        self.name = calls.relative(info.key)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The next byte's offset."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; past the end reads give nothing. Raises InvalidArgument before the start."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._info.size}[whence]
        if base + offset < 0:
            raise InvalidArgument("a file has no bytes before its start", key=self.name)
        self._at = base + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer from here, as far as there are bytes."""
        view = memoryview(buffer).cast("B")
        end = min(self._at + len(view), self._info.size)
        if end <= self._at:
            return 0
        with self._calls.calling("read", self.name) as backend:
            _, stream = backend.get(self._info.key, start=self._at, end=end, pin=self._info.pin)
            with stream:
                data = stream.read(end - self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
