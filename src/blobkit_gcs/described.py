"""What Cloud Storage says of an object, as :class:`~blobkit.blobs.BlobInfo`; and a spec on the SDK's blob."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from blobkit.blobs import UPLOAD_ID_KEY, BlobInfo, Checksum
from blobkit.spec import UploadSpec
from blobkit_gcs.calls import SdkBlob

__all__ = ["describe", "from_blob", "promise"]

_TEXTS: Final = ("content_type", "cache_control", "content_disposition", "content_encoding", "storage_class")


def from_blob(blob: SdkBlob) -> BlobInfo:
    """From the SDK's blob, as it was loaded or listed."""
    metadata = {str(name).lower(): str(value) for name, value in (blob.metadata or {}).items()}
    upload_id = metadata.pop(UPLOAD_ID_KEY, None)
    checksums = {}
    for algorithm, text in (("crc32c", blob.crc32c), ("md5", blob.md5_hash)):
        if text:
            checksums[algorithm] = Checksum.from_base64(algorithm, text)
    updated: datetime | None = blob.updated
    return BlobInfo(
        key=blob.name,
        size=int(blob.size or 0),
        etag=_etag(blob),
        modified=updated if updated is not None else datetime.fromtimestamp(0, UTC),
        version=None if blob.generation is None else str(blob.generation),
        content_type=blob.content_type,
        metadata=MappingProxyType(metadata),
        checksums=MappingProxyType(checksums),
        cache_control=blob.cache_control,
        content_disposition=blob.content_disposition,
        content_encoding=blob.content_encoding,
        storage_class=blob.storage_class,
        upload_id=upload_id,
    )


def _etag(blob: SdkBlob) -> str:
    """As clients see it, who read through the XML API: the MD5 in hexadecimal, of an object that was made of parts another
    text. The JSON API's own etag is good for nothing that a client can send."""
    if blob.md5_hash:
        return base64.b64decode(blob.md5_hash).hex()
    return f"-{blob.etag}" if blob.etag else ""


def describe(blob: SdkBlob, spec: UploadSpec, upload_id: str) -> None:
    """Set everything that the spec says is stored with the object, and the mark of the upload."""
    for name in _TEXTS:
        value = getattr(spec, name)
        if value is not None:
            setattr(blob, name, value)
    blob.metadata = {**spec.metadata, UPLOAD_ID_KEY: upload_id}


def promise(blob: SdkBlob, checksum: Checksum | None) -> bool:
    """Let Cloud Storage itself compare the checksum, which it can for MD5 and CRC32C; whether it will."""
    match checksum:
        case Checksum(algorithm="md5"):
            blob.md5_hash = checksum.base64
        case Checksum(algorithm="crc32c"):
            blob.crc32c = checksum.base64
        case _:
            return False
    return True
