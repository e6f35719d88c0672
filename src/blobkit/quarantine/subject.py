"""What is checked: one exact content of one key, with what was declared of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from blobkit.blobs import BlobInfo, Checksum
from blobkit.errors import InvalidArgument
from blobkit.store import Store

__all__ = ["Declared", "Subject"]

_BLOCK: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Declared:
    """What the client said before it uploaded; None where it said nothing.

    Attributes:
        content_type: The media type.
        size: Bytes.
        checksum: Of the whole content.
        filename: As the user's file was called: a hint, never a path.
    """

    content_type: str | None = None
    size: int | None = None
    checksum: Checksum | None = None
    filename: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """One content under check. Every read is pinned: it gives the bytes of ``info`` or raises PreconditionFailed.

    Attributes:
        store: Where it is.
        info: What it is; a verdict holds for this version or etag and no other.
        declared: What was said of it.
    """

    store: Store
    info: BlobInfo
    declared: Declared = Declared()

    def open(self) -> BinaryIO:
        """The content as a seekable file over ranged reads.

        Raises:
            BlobNotFound: It is gone.
            PreconditionFailed: It was replaced; raised here or by a later read.
        """
        return self.store.open(self.info.key, pin=self.info.pin)

    def blocks(self, size: int = _BLOCK) -> Iterator[bytes]:
        """The content from start to end, in blocks of ``size`` bytes (the last may be shorter).

        Raises:
            BlobNotFound, PreconditionFailed: As :meth:`open`.
        """
        if size < 1:
            raise InvalidArgument("a block has at least one byte")
        with self.open() as file:
            while block := file.read(size):
                yield block
