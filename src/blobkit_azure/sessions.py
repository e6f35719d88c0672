"""Chunked sessions: blocks of a block blob.

https://learn.microsoft.com/rest/api/storageservices/put-block and …/put-block-list. Azure has no call that starts an upload, so
an uncommitted block of one byte marks it (see :mod:`blobkit_azure.blocks`): it tells a session that is open from one that was
aborted, has lapsed or lost its blob to another, it makes sessions listable, and a missing container or right is noticed at the
start. What is stored with the blob rides in the state and is said when the blocks are committed, which drops the mark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlockState

from blobkit.backend import HeldChunk, Received, SessionOrder, SessionState
from blobkit.blobs import AbortResult, BlobInfo, PendingUpload
from blobkit.errors import AlreadyExists, SessionNotFound
from blobkit.session import STAGING
from blobkit_azure.blocks import Block, chunk_id, mark_id, nonce_of, parse_id
from blobkit_azure.capabilities import LAPSES_AFTER
from blobkit_azure.errors import code_of, status_of
from blobkit_azure.sdk import Sdk
from blobkit_azure.shaping import blob_info, if_etag, if_missing, stored

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient

__all__ = ["commit", "discard", "open_session", "pending", "received"]

_MARK: Final = b"\0"
_EXISTS: Final = frozenset({"BlobAlreadyExists", "UnauthorizedBlobOverwrite"})


def open_session(sdk: Sdk, order: SessionOrder, now: datetime) -> SessionState:
    """Mark the session. Blocks of another program at the key whose ids have another length are noticed here."""
    nonce, started = nonce_of(order.upload_id), int(now.timestamp())
    sdk.blob(order.key).stage_block(mark_id(nonce, started), _MARK, len(_MARK))
    return SessionState(
        key=order.key,
        spec=order.spec,
        plan=order.plan,
        upload_id=order.upload_id,
        provider_id=nonce,
        started=datetime.fromtimestamp(started, UTC),
        expires=datetime.fromtimestamp(started, UTC) + LAPSES_AFTER,
    )


def received(sdk: Sdk, state: SessionState) -> Received:
    """Get Block List: our uncommitted chunks, while the mark is there."""
    mine = _uncommitted(sdk.blob(state.key), state.provider_id)
    if not any(block.started is not None for block, _ in mine):
        return Received("gone")
    return Received("open", [HeldChunk(block.number, size) for block, size in mine if block.started is None])


def _uncommitted(blob: BlobClient, nonce: str | None) -> list[tuple[Block, int]]:
    """The uncommitted blocks of one session, or of all of ours, with their sizes in bytes; those of other programs left out."""
    try:
        _, waiting = blob.get_block_list("uncommitted")
    except HttpResponseError as error:
        if status_of(error) == 404 and code_of(error) != "ContainerNotFound":
            return []
        raise
    found: list[tuple[Block, int]] = []
    for each in waiting:
        block = parse_id(each.id)
        if block is not None and nonce in (None, block.nonce):
            found.append((block, int(each.size or 0)))
    return found


def commit(sdk: Sdk, state: SessionState, chunks: Sequence[HeldChunk], total: int) -> BlobInfo:
    """Put Block List of exactly these uncommitted blocks, which drops all others at the key.

    On a private key it only creates, as it does when the spec says so: of two calls at once one makes the blob, and the other
    hears of it. The size is what the service says afterwards: whoever holds a chunk's URL may have replaced a block meanwhile.
    """
    blob = sdk.blob(state.key)
    create = state.spec.if_absent or _private(state)
    blocks = [BlobBlock(chunk_id(state.provider_id, chunk.number), BlockState.UNCOMMITTED) for chunk in chunks]
    try:
        answer = blob.commit_block_list(blocks, **stored(state.spec, state.upload_id), **if_missing(create))
    except HttpResponseError as error:
        code = code_of(error)
        if create and (code in _EXISTS or status_of(error) == 412):
            raise AlreadyExists(
                "there is a blob at this key already", code=code, http_status=status_of(error)
            ) from error
        if code == "InvalidBlockList" and received(sdk, state).state == "gone":
            raise SessionNotFound("another upload took the key, or the blocks lapsed", code=code) from error
        raise
    return blob_info(state.key, blob.get_blob_properties(**if_etag(str(answer["etag"]))))


def discard(sdk: Sdk, state: SessionState) -> AbortResult:
    """Drop the blocks, where that is safe.

    Azure cannot drop blocks; committing a list drops those that are not on it. On the session's own private key an empty list
    is committed if nothing is there, and deleted again if it is still that. Elsewhere that would show, or change, a blob at a
    key that readers know: there the blocks lapse by themselves.
    """
    blob = sdk.blob(state.key)
    if not _uncommitted(blob, state.provider_id):
        return AbortResult(discarded=True)
    if not _private(state):
        return AbortResult(discarded=False, lapses_at=datetime.now(UTC).replace(microsecond=0) + LAPSES_AFTER)
    try:
        answer = blob.commit_block_list([], **if_missing(True))
        blob.delete_blob(**if_etag(str(answer["etag"])))
    except HttpResponseError as error:
        if code_of(error) not in _EXISTS and status_of(error) not in (404, 412):
            raise  # else it was committed meanwhile: that blob is not touched
    return AbortResult(discarded=True)


def _private(state: SessionState) -> bool:
    """Whether the key is one that the core made for this session alone."""
    folder, _, name = state.key.rpartition("/")
    return f"/{folder}/".endswith(f"/{STAGING}") and name.startswith(state.provider_id)


def pending(sdk: Sdk, prefix: str) -> Iterator[PendingUpload]:
    """Sessions on keys where no blob with content is yet, as those on private keys are.

    A listing names blobs that have uncommitted blocks, without saying which have: those without bytes are asked. A session that
    overwrites a blob directly is not found: it would take a request for every blob.
    """
    for found in sdk.container.list_blobs(name_starts_with=prefix, include=["uncommittedblobs"]):
        if found.size:
            continue
        blocks = _uncommitted(sdk.blob(found.name), None)
        for mark in (block for block, _ in blocks if block.started is not None):
            held = sum(size for block, size in blocks if block.nonce == mark.nonce and block.started is None)
            yield PendingUpload(found.name, mark.nonce, datetime.fromtimestamp(mark.started or 0, UTC), held)
