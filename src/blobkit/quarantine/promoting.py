"""Put what was checked where it is served from: a pinned copy, made once however often it is tried."""

from __future__ import annotations

import hashlib
from typing import Final

from blobkit import ops
from blobkit.backend import Feature
from blobkit.blobs import BlobInfo
from blobkit.errors import AlreadyExists, BlobNotFound, PreconditionFailed, Unsupported
from blobkit.sources import spooled
from blobkit.spec import UploadSpec
from blobkit.store import Store

__all__ = ["check_pair", "clear", "promoted"]

_BLOCK: Final = 4 * 1024 * 1024


def check_pair(source: Store, target: Store) -> None:
    """Raises Unsupported when nothing of ``source`` can be put into ``target``, or not only if nothing is there."""
    if source.provider != target.provider or not _copies(source, target):
        ops.require(target.capabilities, target.provider, Feature.IF_ABSENT)


def promoted(source: Store, blob: BlobInfo, target: Store, key: str) -> BlobInfo:
    """Copy exactly ``blob`` to ``key`` of ``target``, if nothing is there, and describe the copy.

    The provider copies where it can do so only if nothing is there. Else the bytes go through this process.

    An earlier attempt may have got as far as the copy and no further. What is at the key then has the same bytes as ``blob``
    and is taken; nothing else is.

    Raises:
        PreconditionFailed, BlobNotFound: ``blob`` was replaced, or is gone. Nothing was copied.
        AlreadyExists: Something else is at the key. It was left alone.
        InvalidArgument: It has to go through this process, and is larger than one write can be.
        TransientError, PermissionDenied, Unsupported.
    """
    try:
        if source.provider == target.provider and not _copies(source, target):
            return _carried(source, blob, target, key)
        return source.promote(blob, key, if_absent=True, to=None if target is source else target)
    except AlreadyExists:
        there = _ours_already(source, blob, target, key)
        if there is None:
            raise
        return there


def clear(store: Store, key: str) -> None:
    """Delete everything at the key, old versions too.

    Raises:
        ObjectLocked, PermissionDenied, TransientError.
    """
    try:
        store.delete(key, purge_versions=store.capabilities.has(Feature.VERSIONS))
    except Unsupported:  # versions can be read here and not purged
        store.delete(key)


def _copies(source: Store, target: Store) -> bool:
    """Whether their provider copies from one to the other, and only if nothing is there."""
    return source.capabilities.has(Feature.COPY) and target.capabilities.has(Feature.COPY_IF_ABSENT)


def _carried(source: Store, blob: BlobInfo, target: Store, key: str) -> BlobInfo:
    """The same bytes and headers, read pinned and written only if nothing is at the key."""
    spec = UploadSpec(
        content_type=blob.content_type,
        metadata=blob.metadata,
        cache_control=blob.cache_control,
        content_disposition=blob.content_disposition,
        content_encoding=blob.content_encoding,
        size=blob.size,
        if_absent=True,
    )
    with source.open(blob.key, pin=blob.pin) as stream, spooled(stream, blob.size) as body:
        copy = target.write(key, body, spec=spec)
    source._calls.observers.promoted(source.provider, blob.key, copy)
    return copy


def _ours_already(source: Store, blob: BlobInfo, target: Store, key: str) -> BlobInfo | None:
    """What is at the key, if an earlier attempt put it there; None when it is something else, or changes meanwhile."""
    try:
        there = target.stat(key)
        return there if _same_bytes(source, blob, target, there) else None
    except (BlobNotFound, PreconditionFailed):
        return None


def _same_bytes(one_store: Store, one: BlobInfo, other_store: Store, other: BlobInfo) -> bool:
    """Whether two objects are equal byte for byte. They are read, pinned, unless the stores know the SHA-256 of both.

    No weaker digest tells: clients choose their bytes, and can make two contents of one CRC or one MD5.
    """
    if one.size != other.size:
        return False
    mine, theirs = one.checksums.get("sha256"), other.checksums.get("sha256")
    if mine is not None and theirs is not None and not mine.composite and not theirs.composite:
        return mine.same_as(theirs)
    return _digest(one_store, one) == _digest(other_store, other)


def _digest(store: Store, blob: BlobInfo) -> bytes:
    digest = hashlib.sha256()
    with store.open(blob.key, pin=blob.pin) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.digest()
