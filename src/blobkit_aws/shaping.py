"""Between the core's values and boto3's dictionaries: what is sent with an object, what is read of one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from types import MappingProxyType
from typing import IO, Any, Final
from urllib.parse import unquote

from blobkit.blobs import CHECKSUM_SIZES, UPLOAD_ID_KEY, BlobInfo, Checksum, Pin
from blobkit.errors import ChecksumMismatch, SourceChanged
from blobkit.hashing import hasher
from blobkit.spec import UploadSpec
from blobkit_aws.profiles import Profile

__all__ = [
    "Body",
    "blob_info",
    "check_body",
    "checksum_params",
    "decoded",
    "listed_info",
    "own_params",
    "pinned",
    "stored_params",
]

_FIELDS: Final = (
    ("ContentType", "content_type"),
    ("CacheControl", "cache_control"),
    ("ContentDisposition", "content_disposition"),
    ("ContentEncoding", "content_encoding"),
    ("StorageClass", "storage_class"),
)
_OWN: Final[Mapping[str, str]] = {
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-server-side-encryption-aws-kms-key-id": "SSEKMSKeyId",
    "x-amz-acl": "ACL",
    "x-amz-tagging": "Tagging",
}


class Body:
    """Exactly ``size`` bytes of a file from where it stands; an end before that is SourceChanged, and nothing is stored.

    Attributes:
        failure: What reading raised.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size
        self._start = file.tell()
        self._at = 0
        self.failure: Exception | None = None

    def __len__(self) -> int:
        return self._size

    def read(self, amount: int | None = -1) -> bytes:
        """At most ``amount`` bytes."""
        left = self._size - self._at
        if amount is None or amount < 0 or amount > left:
            amount = left
        try:
            data = self._file.read(amount)
            if amount and not data:
                raise SourceChanged(f"the source ended after {self._at} of {self._size} bytes")
        except Exception as error:
            self.failure = error  # the SDK may raise something else instead
            raise
        self._at += len(data)
        return data

    def tell(self) -> int:
        """Bytes read."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of a file; a retry begins anew."""
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        self._file.seek(self._start + self._at)
        return self._at

    def seekable(self) -> bool:
        """True."""
        return True


def stored_params(spec: UploadSpec, upload_id: str) -> dict[str, Any]:
    """What PutObject and CreateMultipartUpload store with the object."""
    params: dict[str, Any] = {name: value for name, field in _FIELDS if (value := getattr(spec, field)) is not None}
    params["Metadata"] = {**spec.metadata, UPLOAD_ID_KEY: upload_id}
    return params


def own_params(headers: Mapping[str, str]) -> dict[str, Any]:
    """The store's own headers, as boto3 names them."""
    return {_OWN[name]: value for name, value in headers.items()}


def checksum_params(spec: UploadSpec, profile: Profile) -> dict[str, Any]:
    """The caller's checksum, where the service compares it; no other is ever added."""
    checksum = spec.checksum
    if checksum is None or checksum.algorithm not in (profile.put_checksums or ()):
        return {}
    if checksum.algorithm == "md5":
        return {"ContentMD5": checksum.base64}
    return {f"Checksum{checksum.algorithm.upper()}": checksum.base64}


def check_body(body: Body, spec: UploadSpec, profile: Profile) -> None:
    """Compare the caller's checksum here where the service would not. Raises ChecksumMismatch before anything is sent."""
    checksum = spec.checksum
    if checksum is None or checksum.algorithm in (profile.put_checksums or ()):
        return
    digest = hasher(checksum.algorithm)
    while block := body.read(1 << 20):
        digest.update(block)
    body.seek(0)
    if not checksum.same_as(Checksum(checksum.algorithm, digest.digest())):
        raise ChecksumMismatch(f"the data have another {checksum.algorithm}")


def pinned(pin: Pin | None, version: str | None = None) -> dict[str, Any]:
    """Parameters by which a read is of one content."""
    params: dict[str, Any] = {}
    version = version or (pin.version if pin else None)
    if version:
        params["VersionId"] = version
    if pin is not None and pin.etag:
        params["IfMatch"] = f'"{pin.etag}"'
    return params


def blob_info(key: str, answer: Mapping[str, Any], size: int | None = None) -> BlobInfo:
    """What the answer of HeadObject or GetObject says of the object."""
    metadata = {str(name).lower(): str(value) for name, value in (answer.get("Metadata") or {}).items()}
    upload_id = metadata.pop(UPLOAD_ID_KEY, None)
    version = answer.get("VersionId")
    return BlobInfo(
        key=key,
        size=int(answer.get("ContentLength", 0)) if size is None else size,
        etag=str(answer.get("ETag", "")).strip('"'),
        modified=answer["LastModified"].astimezone(UTC),
        version=None if version in (None, "", "null") else version,
        content_type=answer.get("ContentType"),
        metadata=MappingProxyType(metadata),
        checksums=MappingProxyType(_checksums(answer)),
        cache_control=answer.get("CacheControl"),
        content_disposition=answer.get("ContentDisposition"),
        content_encoding=answer.get("ContentEncoding"),
        storage_class=answer.get("StorageClass") or "STANDARD",  # the one that HEAD and GET leave out
        upload_id=upload_id,
    )


def _checksums(answer: Mapping[str, Any]) -> dict[str, Checksum]:
    found: dict[str, Checksum] = {}
    composite = answer.get("ChecksumType") == "COMPOSITE"
    for algorithm in CHECKSUM_SIZES:
        text = answer.get(f"Checksum{algorithm.upper()}")
        if text:  # "digest-3" is composite of three parts
            digest, dash, _ = str(text).partition("-")
            found[algorithm] = Checksum(
                algorithm, Checksum.from_base64(algorithm, digest).digest, composite=composite or bool(dash)
            )
    return found


def listed_info(item: Mapping[str, Any]) -> BlobInfo:
    """One object of ListObjectsV2: no type and no metadata there."""
    return BlobInfo(
        key=item["Key"],
        size=int(item.get("Size", 0)),
        etag=str(item.get("ETag", "")).strip('"'),
        modified=item["LastModified"].astimezone(UTC),
        storage_class=item.get("StorageClass"),
    )


def decoded(key: str, answer: Mapping[str, Any]) -> str:
    """A key of ListMultipartUploads, which botocore leaves encoded."""
    return unquote(key) if answer.get("EncodingType") == "url" else key
