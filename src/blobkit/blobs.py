"""What a store says about its objects: :class:`BlobInfo`, :class:`Checksum`, and what listing, deleting and aborting give."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from blobkit.errors import BlobkitError, InvalidArgument

__all__ = [
    "CHECKSUM_SIZES",
    "UPLOAD_ID_KEY",
    "AbortResult",
    "BlobInfo",
    "Checksum",
    "DeleteResult",
    "PendingUpload",
    "Pin",
    "Prefix",
]

UPLOAD_ID_KEY: Final = "blobkitupload"
"""The metadata name under which blobkit marks an object with the upload that made it. A valid C# identifier, for Azure."""

CHECKSUM_SIZES: Final[Mapping[str, int]] = MappingProxyType(
    {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "md5": 16, "sha1": 20, "sha256": 32}
)
"""Digest length in bytes of every checksum algorithm that has a name here."""


def _no_metadata() -> Mapping[str, str]:
    return MappingProxyType({})


def _no_checksums() -> Mapping[str, Checksum]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Checksum:
    """A digest of a whole object, and how it was computed.

    Args:
        algorithm: ``crc32 | crc32c | crc64nvme | md5 | sha1 | sha256``.
        digest: The raw digest; CRCs big-endian, as every provider writes them.
        composite: True when the provider computed it over the parts' digests (S3 multipart with SHA or MD5): it then
            identifies the object, but does not equal the digest of its bytes.

    Raises:
        InvalidArgument: An unknown algorithm, or a digest of the wrong length.
    """

    algorithm: str
    digest: bytes
    composite: bool = False

    def __post_init__(self) -> None:
        size = CHECKSUM_SIZES.get(self.algorithm)
        if size is None:
            raise InvalidArgument(
                f"unknown checksum algorithm {self.algorithm!r}", hint=f"one of {', '.join(CHECKSUM_SIZES)}"
            )
        if not isinstance(self.digest, bytes) or len(self.digest) != size:
            raise InvalidArgument(
                f"a {self.algorithm} digest has {size} bytes",
                hint="pass the raw digest, or Checksum.from_hex / from_base64",
            )

    @classmethod
    def of(cls, algorithm: str, data: bytes | bytearray | memoryview) -> Checksum:
        """The checksum of ``data``. crc32c and crc64nvme need the ``local`` or ``transfer`` extra.

        Raises:
            InvalidArgument: An unknown algorithm.
            PluginMissing: The algorithm needs a package that is not installed.
        """
        from blobkit.hashing import hasher  # lazily: hashing libraries are not needed to import blobkit

        digest = hasher(algorithm)
        digest.update(data)
        return cls(algorithm, digest.digest())

    @classmethod
    def from_base64(cls, algorithm: str, text: str) -> Checksum:
        """From the base64 text that HTTP headers carry. Raises InvalidArgument."""
        try:
            return cls(algorithm, base64.b64decode(text, validate=True))
        except binascii.Error as error:
            raise InvalidArgument(f"not base64: a {algorithm} digest") from error

    @classmethod
    def from_hex(cls, algorithm: str, text: str) -> Checksum:
        """From hexadecimal text. Raises InvalidArgument."""
        try:
            return cls(algorithm, bytes.fromhex(text))
        except ValueError as error:
            raise InvalidArgument(f"not hexadecimal: a {algorithm} digest") from error

    @property
    def base64(self) -> str:
        """The digest as HTTP headers carry it."""
        return base64.b64encode(self.digest).decode("ascii")

    @property
    def hex(self) -> str:
        """The digest in lower-case hexadecimal."""
        return self.digest.hex()

    def same_as(self, other: Checksum) -> bool:
        """Whether both say the same of the same algorithm, compared in constant time."""
        return (
            self.algorithm == other.algorithm
            and self.composite == other.composite
            and hmac.compare_digest(self.digest, other.digest)
        )


@dataclass(frozen=True, slots=True)
class Pin:
    """What pins one exact content of a key: its version or generation when there is one, else its etag.

    Give it to ``copy``, ``promote``, ``delete`` and ``verify_upload``: they then act on that content or raise
    ``PreconditionFailed``.
    """

    etag: str | None = None
    version: str | None = None

    def __post_init__(self) -> None:
        if not self.etag and not self.version:
            raise InvalidArgument("a pin needs an etag or a version")


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """One object as its provider described it at one moment.

    Attributes:
        key: Relative to the store's prefix (full in a Backend).
        size: Bytes.
        etag: Opaque: an identity, never a digest. Without quotes.
        version: S3 version id, GCS generation, Azure version id; None where there are no versions.
        content_type: As stored. None when the provider gave none (some listings).
        metadata: The user's metadata; blobkit's own mark is taken out.
        checksums: What the provider stores and vouches for, by algorithm.
        modified: Aware UTC.
        upload_id: The blobkit upload that made this object, when it was one.
        cache_control, content_disposition, content_encoding, storage_class: As stored, where the provider says.
    """

    key: str
    size: int
    etag: str
    modified: datetime
    version: str | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=_no_metadata, hash=False)
    checksums: Mapping[str, Checksum] = field(default_factory=_no_checksums, hash=False)
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    storage_class: str | None = None
    upload_id: str | None = None

    def __reduce__(self) -> tuple[object, tuple[dict[str, object]]]:
        state = {item.name: getattr(self, item.name) for item in fields(self)}
        return _blob_info, ({**state, "metadata": dict(self.metadata), "checksums": dict(self.checksums)},)

    @property
    def pin(self) -> Pin:
        """Whatever pins this very content."""
        return Pin(etag=self.etag or None, version=self.version)


def _blob_info(state: dict[str, Any]) -> BlobInfo:
    return BlobInfo(
        **{
            **state,
            "metadata": MappingProxyType(state["metadata"]),
            "checksums": MappingProxyType(state["checksums"]),
        }
    )


@dataclass(frozen=True, slots=True)
class Prefix:
    """A "directory" in a delimited listing: every key that starts with ``key`` (which ends in the delimiter)."""

    key: str


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """What became of one key of ``delete`` or ``delete_many``.

    Attributes:
        key: As it was given.
        error: None when the key is gone (or was not there: deleting is idempotent).
        marker: True when a versioned bucket only hid the object behind a delete marker.
        versions_left: How many versions remain readable by their id, where the provider says; None when unknown.
    """

    key: str
    error: BlobkitError | None = None
    marker: bool = False
    versions_left: int | None = None


@dataclass(frozen=True, slots=True)
class AbortResult:
    """What ``abort`` could do.

    Attributes:
        discarded: True when nothing of the session remains.
        lapses_at: When the provider drops what remains by itself (Azure: a week after the last block), aware UTC.
    """

    discarded: bool
    lapses_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """A chunked session that was started and neither completed nor aborted.

    Attributes:
        key: The key it was started for, relative to the store's prefix.
        upload_id: The provider's id, opaque.
        started: Aware UTC; None where the provider does not say.
        received_bytes: What it holds, None where asking would cost a call per upload.
    """

    key: str
    upload_id: str
    started: datetime | None
    received_bytes: int | None = None
