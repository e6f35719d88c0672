"""Blobs, as the core asks for them: described by what the service answers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any, Final, cast

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlobPrefix, BlockState

from blobkit.blobs import BlobInfo, DeleteResult, Pin, Prefix
from blobkit.errors import BlobkitError, BlobNotFound, PreconditionFailed
from blobkit.spec import UploadSpec
from blobkit_azure.blocks import chunk_id, nonce_of
from blobkit_azure.errors import classify, code_of, status_of
from blobkit_azure.sdk import BLOCK, Sdk
from blobkit_azure.shaping import Stream, blob_info, check_body, if_etag, if_missing, read_exactly, stored, written

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient

__all__ = ["AzureObjects"]

_DELETERS: Final = 8


class AzureObjects:
    """The blobs of one container.

    Args:
        sdk: The clients.
        versioning: Whether the account keeps versions.
    """

    def __init__(self, sdk: Sdk, *, versioning: bool) -> None:
        self._sdk = sdk
        self._versioning = versioning

    def head(self, key: str, *, version: str | None = None) -> BlobInfo:
        """See :class:`blobkit.backend.Backend`."""
        return blob_info(key, self._sdk.blob(key, version).get_blob_properties())

    def get(
        self, key: str, *, start: int = 0, end: int | None = None, pin: Pin | None = None, version: str | None = None
    ) -> tuple[BlobInfo, IO[bytes]]:
        """See Backend. Blocks after the first one are of the same content: the SDK asks for its etag."""
        version = version or (pin.version if pin is not None else None)
        blob = self._sdk.blob(key, version)
        condition = if_etag(pin.etag if pin is not None else None)
        if end is not None and end <= start:
            return blob_info(key, blob.get_blob_properties(**condition)), io.BytesIO()
        length = None if end is None else end - start
        try:
            found = blob.download_blob(offset=start, length=length, decompress=False, **condition)
        except HttpResponseError as error:
            if status_of(error) == 416:  # past the end: no bytes
                return blob_info(key, blob.get_blob_properties(**condition)), io.BytesIO()
            raise
        info = blob_info(key, found.properties)
        return info, io.BufferedReader(Stream(iter(found.chunks())), 1 << 20)

    def put(
        self, key: str, body: IO[bytes], size: int, *, spec: UploadSpec, upload_id: str, if_match: Pin | None = None
    ) -> BlobInfo:
        """See Backend: one Put Blob, or blocks when that would be too much in memory. Conditions are the last request's."""
        check_body(body, size, spec.checksum)
        blob = self._sdk.blob(key)
        conditions: dict[str, Any] = if_missing(spec.if_absent)
        if if_match is not None:
            conditions = if_etag(self._etag(key, if_match))
        params = stored(spec, upload_id)
        if size <= BLOCK:
            data = read_exactly(body, size, 0, size)
            answer = blob.upload_blob(data, length=size, overwrite=not spec.if_absent, **params, **conditions)
        else:
            answer = blob.commit_block_list(self._staged(blob, body, size, upload_id), **params, **conditions)
        return written(key, size, spec, upload_id, answer)

    def _staged(self, blob: BlobClient, body: IO[bytes], size: int, upload_id: str) -> list[BlobBlock]:
        """The body as uncommitted blocks, one in memory at a time."""
        blocks: list[BlobBlock] = []
        for number, at in enumerate(range(0, size, BLOCK), 1):
            name, length = chunk_id(nonce_of(upload_id), number), min(BLOCK, size - at)
            blob.stage_block(name, read_exactly(body, length, at, size), length)
            blocks.append(BlobBlock(name, BlockState.UNCOMMITTED))
        return blocks

    def _etag(self, key: str, pin: Pin) -> str:
        """The etag that a pin means. Raises PreconditionFailed when its version is no longer the current one."""
        if pin.version is None:
            return pin.etag or ""
        info = self.head(key)
        if info.version != pin.version or (pin.etag is not None and pin.etag != info.etag):
            raise PreconditionFailed("the blob was replaced meanwhile")
        return info.etag

    def delete(
        self, key: str, *, pin: Pin | None = None, version: str | None = None, purge_versions: bool = False
    ) -> DeleteResult:
        """See Backend. A blob that has snapshots is only deleted with ``purge_versions``."""
        if purge_versions:
            return self._purged(key)
        conditions: dict[str, Any] = {}
        blob = self._sdk.blob(key, version)
        try:
            if pin is not None and version is None:
                conditions = if_etag(self._etag(key, pin))
            blob.delete_blob(**conditions)
        except (HttpResponseError, BlobNotFound) as error:
            # To If-Match a blob that is gone may be one that is another: then it is asked for once more.
            if not _gone(error) and not (status_of(error) == 412 and not blob.exists()):
                raise
        return DeleteResult(key)

    def _purged(self, key: str) -> DeleteResult:
        """The blob, its snapshots and its versions."""
        try:
            self._sdk.blob(key).delete_blob(delete_snapshots="include")
        except HttpResponseError as error:
            if not _gone(error):
                raise
        for found in self._sdk.container.list_blobs(name_starts_with=key, include=["versions"]):
            if found.name != key:
                break  # names that the key is the start of come after the key itself
            if found.version_id is not None and not found.is_current_version:
                self.delete(key, version=found.version_id)
        return DeleteResult(key, versions_left=0)

    def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        """See Backend."""
        if not keys:
            return []
        with ThreadPoolExecutor(min(_DELETERS, len(keys)), thread_name_prefix="blobkit-azure-delete") as pool:
            return list(pool.map(self._delete_one, keys))

    def _delete_one(self, key: str) -> DeleteResult:
        try:
            return self.delete(key)
        except BlobkitError as error:
            return DeleteResult(key, error=error)
        except Exception as error:
            known = classify(error)
            if known is None:
                raise
            failure = known.as_error()
            failure.__cause__ = error
            return DeleteResult(key, error=failure.located(key=key))

    def list(
        self, prefix: str, *, start_after: str | None = None, delimiter: str | None = None
    ) -> Iterator[BlobInfo | Prefix]:
        """See Backend. Where a service ignores ``startFrom``, what is before it is left out here."""
        container = self._sdk.container
        start: dict[str, Any] = {} if start_after is None else {"start_from": start_after}
        if delimiter is None:
            pages = container.list_blobs(name_starts_with=prefix, include=["metadata"], **start).by_page()
        else:
            # The SDK's walk gives one level; its pages are in the order of names, prefixes among them.
            walk = container.walk_blobs(name_starts_with=prefix, include=["metadata"], delimiter=delimiter, **start)
            pages = cast("Any", walk.by_page())
        after = None if start_after is None else start_after.encode()
        for page in pages:
            found: list[BlobInfo | Prefix] = [
                Prefix(item.name) if isinstance(item, BlobPrefix) else blob_info(item.name, item) for item in page
            ]
            if delimiter is not None:
                found.sort(key=lambda item: item.key.encode())
            for item in found:
                if after is None or item.key.encode() > after:
                    yield item


def _gone(error: BaseException) -> bool:
    return isinstance(error, BlobNotFound) or (status_of(error) == 404 and code_of(error) != "ContainerNotFound")
