"""One way to get an incremental checksum, whatever library computes it."""

from __future__ import annotations

import hashlib
import zlib
from typing import Protocol

from blobkit.errors import InvalidArgument, PluginMissing

__all__ = ["Hasher", "hasher"]


class Hasher(Protocol):
    """An incremental digest."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Add bytes."""
        ...

    def digest(self) -> bytes:
        """The raw digest of what was added so far; CRCs big-endian."""
        ...


class _Crc32:
    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


class _Crc32c:
    __slots__ = ("_extend", "_value")

    def __init__(self) -> None:
        try:
            from google_crc32c import extend
        except ImportError as error:
            raise PluginMissing("crc32c needs google-crc32c", hint='pip install "blobkit[local]"') from error
        self._extend = extend
        self._value = 0

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        # google-crc32c takes bytes only; other buffers cost one copy.
        self._value = self._extend(self._value, data if isinstance(data, bytes) else bytes(data))

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


class _Crc64Nvme:
    __slots__ = ("_crc", "_value")

    def __init__(self) -> None:
        try:
            from awscrt import checksums  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ImportError as error:
            raise PluginMissing("crc64nvme needs awscrt", hint="pip install awscrt") from error
        self._crc = checksums.crc64nvme
        self._value = 0

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._value = self._crc(data if isinstance(data, bytes) else bytes(data), self._value)

    def digest(self) -> bytes:
        return int(self._value).to_bytes(8, "big")


def hasher(algorithm: str) -> Hasher:
    """A fresh digest of ``crc32 | crc32c | crc64nvme | md5 | sha1 | sha256``.

    MD5 and SHA-1 serve integrity against accidents here, never security, and say so to FIPS builds.

    Raises:
        InvalidArgument: An unknown algorithm.
        PluginMissing: The algorithm needs a package that is not installed.
    """
    match algorithm:
        case "sha256":
            return hashlib.sha256()
        case "md5" | "sha1":
            return hashlib.new(algorithm, usedforsecurity=False)
        case "crc32c":
            return _Crc32c()
        case "crc32":
            return _Crc32()
        case "crc64nvme":
            return _Crc64Nvme()
        case _:
            raise InvalidArgument(f"unknown checksum algorithm {algorithm!r}")
