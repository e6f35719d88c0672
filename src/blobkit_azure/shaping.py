"""Between the core's values and azure-storage-blob's: what is sent with a blob, what is read of one, and bodies."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, Final

from azure.core import MatchConditions
from azure.storage.blob import ContentSettings, StandardBlobTier

from blobkit.blobs import UPLOAD_ID_KEY, BlobInfo, Checksum
from blobkit.errors import ChecksumMismatch, InvalidArgument, SourceChanged
from blobkit.hashing import hasher
from blobkit.spec import UploadSpec

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from azure.storage.blob import BlobProperties

__all__ = [
    "Stream",
    "blob_info",
    "check_body",
    "if_etag",
    "if_missing",
    "quoted",
    "read_exactly",
    "replaced",
    "stored",
    "tier",
    "written",
]

_BLOCK: Final = 1 << 20


# --- sent -------------------------------------------------------------------------------------------------------------


def stored(spec: UploadSpec, upload_id: str) -> dict[str, Any]:
    """What is stored with a blob: settings, metadata with our mark, tier."""
    md5 = spec.checksum.digest if spec.checksum is not None and spec.checksum.algorithm == "md5" else None
    params: dict[str, Any] = {
        "content_settings": ContentSettings(
            content_type=spec.content_type,
            content_encoding=spec.content_encoding,
            content_disposition=spec.content_disposition,
            cache_control=spec.cache_control,
            content_md5=bytearray(md5) if md5 is not None else None,
        ),
        "metadata": {**spec.metadata, UPLOAD_ID_KEY: upload_id},
    }
    if spec.storage_class is not None:
        params["standard_blob_tier"] = tier(spec.storage_class)
    return params


def tier(name: str) -> StandardBlobTier:
    """The access tier of this name. Raises InvalidArgument."""
    for known in StandardBlobTier:
        if known.value.lower() == name.lower():
            return known
    names = ", ".join(known.value for known in StandardBlobTier)
    raise InvalidArgument(f"storage_class is an access tier, not {name!r}", hint=names)


def quoted(etag: str) -> str:
    """An etag as HTTP writes it."""
    return etag if etag.startswith(('"', "W/")) else f'"{etag}"'


def if_etag(etag: str | None) -> dict[str, Any]:
    """The condition that the blob is this one; none without an etag."""
    return {"etag": quoted(etag), "match_condition": MatchConditions.IfNotModified} if etag else {}


def if_missing(wanted: bool) -> dict[str, Any]:
    """The condition that there is no blob, where it is wanted."""
    return {"match_condition": MatchConditions.IfMissing} if wanted else {}


def read_exactly(body: IO[bytes], size: int, at: int, total: int) -> bytes:
    """``size`` bytes. Raises SourceChanged when the body ends earlier."""
    pieces: list[bytes] = []
    left = size
    while left and (piece := body.read(left)):
        pieces.append(piece)
        left -= len(piece)
    if left:
        raise SourceChanged(f"the source ended after {at + size - left} of {total} bytes")
    return b"".join(pieces)


def check_body(body: IO[bytes], size: int, checksum: Checksum | None) -> None:
    """Compare a checksum before anything is sent. Raises ChecksumMismatch, SourceChanged."""
    if checksum is None:
        return
    start, at, digest = body.tell(), 0, hasher(checksum.algorithm)
    while at < size:
        piece = read_exactly(body, min(_BLOCK, size - at), at, size)
        digest.update(piece)
        at += len(piece)
    body.seek(start)
    if not checksum.same_as(Checksum(checksum.algorithm, digest.digest())):
        raise ChecksumMismatch(f"the data have another {checksum.algorithm} than was said")


# --- read -------------------------------------------------------------------------------------------------------------


def blob_info(key: str, found: BlobProperties) -> BlobInfo:
    """What the service says of a blob.

    Its Content-MD5 is no checksum that the service vouches for: whoever may write a blob may say any, with Put Block List or
    Set Blob Properties. Whoever asks for a digest gets it from the bytes.
    """
    metadata = {str(name).lower(): str(value) for name, value in (found.metadata or {}).items()}
    upload_id = metadata.pop(UPLOAD_ID_KEY, None)
    settings = found.content_settings
    modified: datetime | None = found.last_modified
    return BlobInfo(
        key=key,
        size=int(found.size or 0),
        etag=str(found.etag or "").strip('"'),
        modified=datetime.fromtimestamp(0, UTC) if modified is None else modified.astimezone(UTC),
        version=found.version_id,
        content_type=settings.content_type,
        metadata=MappingProxyType(metadata),
        cache_control=settings.cache_control,
        content_disposition=settings.content_disposition,
        content_encoding=settings.content_encoding,
        storage_class=None if found.blob_tier is None else str(getattr(found.blob_tier, "value", found.blob_tier)),
        upload_id=upload_id,
    )


def replaced(info: BlobInfo, answer: Mapping[str, Any]) -> BlobInfo:
    """The same description for another content that a write or a copy has just made: its etag, its time, its version."""
    modified: datetime | None = answer.get("last_modified")
    return replace(
        info,
        etag=str(answer["etag"]).strip('"'),
        modified=info.modified if modified is None else modified.astimezone(UTC),
        version=answer.get("version_id"),
    )


def written(key: str, size: int, spec: UploadSpec, upload_id: str, answer: Mapping[str, Any]) -> BlobInfo:
    """What a write has stored, from what was sent and what was answered."""
    info = BlobInfo(
        key=key,
        size=size,
        etag="",
        modified=datetime.fromtimestamp(0, UTC),
        content_type=spec.content_type or "application/octet-stream",
        metadata=spec.metadata,
        cache_control=spec.cache_control,
        content_disposition=spec.content_disposition,
        content_encoding=spec.content_encoding,
        storage_class=spec.storage_class,
        upload_id=upload_id,
    )
    return replaced(info, answer)


class Stream(io.RawIOBase):
    """A download as a file: the SDK's blocks, one after the other, all of the content that was first described."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        super().__init__()
        self._blocks = blocks
        self._ahead = memoryview(b"")

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer, as far as bytes come."""
        while not self._ahead:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._ahead = memoryview(block)
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._ahead))
        view[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count
