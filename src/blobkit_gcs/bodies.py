"""Bodies as the SDK wants them: seekable, of a known length; and replies as the core wants them."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, Final

from blobkit.errors import SourceChanged
from blobkit_gcs.calls import SdkBlob
from blobkit_gcs.retrying import Attempts

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Body", "Ranges"]

_AHEAD: Final = 8 * 1024 * 1024


class Body(io.RawIOBase):
    """``size`` bytes of a file from where it stands; the SDK reads them again for a retry."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__()
        self._file = file
        self._start = file.tell()
        self._size = size
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The next byte's offset."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move within the ``size`` bytes."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        self._file.seek(self._start + self._at)
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer. Raises SourceChanged when the file ended early."""
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._at)
        if wanted <= 0:
            return 0
        data = self._file.read(wanted)
        if not data:
            raise SourceChanged(f"the source ended after {self._at} of {self._size} bytes")
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


class Ranges(io.RawIOBase):
    """Bytes ``[start, end)`` of one generation, a few mebibytes for each request, each tried again by the SDK."""

    def __init__(self, blob: SdkBlob, start: int, end: int, timeout: float, again: Attempts) -> None:
        super().__init__()
        self._blob = blob
        self._at = start
        self._end = end
        self._timeout = timeout
        self._again = again
        self._ahead = memoryview(b"")

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer, as far as bytes come."""
        view = memoryview(buffer).cast("B")
        if not self._ahead and self._at < self._end:
            last = min(self._end, self._at + _AHEAD) - 1
            data: bytes = self._blob.download_as_bytes(
                start=self._at, end=last, raw_download=True, timeout=self._timeout, checksum=None, retry=self._again
            )
            self._ahead = memoryview(data)
            self._at += len(data)
        count = min(len(view), len(self._ahead))
        view[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count
