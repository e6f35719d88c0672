"""Chunked sessions of the JSON API. https://cloud.google.com/storage/docs/performing-resumable-uploads

The session's URI is all that a client needs, and so a secret. Its bytes arrive in order; the last ones publish the object.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from blobkit.backend import HeldChunk, Received, SessionOrder, SessionState
from blobkit.blobs import AbortResult, BlobInfo
from blobkit.errors import AlreadyExists, ChunkMismatch, SessionNotFound
from blobkit_gcs.calls import Answer
from blobkit_gcs.described import describe
from blobkit_gcs.errors import Refused

if TYPE_CHECKING:
    from blobkit_gcs.backend import GcsBackend

__all__ = ["commit", "discard", "open_session", "received"]

_LIFE: Final = timedelta(days=7)
_RANGE: Final = re.compile(r"bytes=0-(\d{1,18})\Z")
_OPEN: Final = 308
_DONE: Final = (200, 201)
_GONE: Final = (404, 410, 499)


def open_session(backend: GcsBackend, order: SessionOrder, now: datetime) -> SessionState:
    """Start a session for this type, metadata, size and browser's origin; ``if_absent`` is judged at its end."""
    blob = backend.blob(order.key)
    describe(blob, order.spec, order.upload_id)
    uri: str = blob.create_resumable_upload_session(
        content_type=order.spec.content_type,
        size=order.plan.size,
        origin=order.origin,
        if_generation_match=0 if order.spec.if_absent else None,
        timeout=backend.timeout,
        checksum=None,
    )
    return SessionState(
        key=order.key,
        spec=order.spec,
        plan=order.plan,
        upload_id=order.upload_id,
        provider_id=uri,
        started=now,
        expires=now + _LIFE,
    )


def received(backend: GcsBackend, state: SessionState) -> Received:
    """``bytes */*`` asks and never finishes: 308 with the bytes that are held, or the object of a finished session."""
    answer = _request(backend, "PUT", state, {"content-range": "bytes */*"})
    if answer.status_code == _OPEN:
        return _held(state, answer)
    if answer.status_code in _DONE or answer.status_code in _GONE:
        info = backend.own(state)
        return Received("gone") if info is None else Received("committed", info=info)
    raise _refusal(answer)


def commit(backend: GcsBackend, state: SessionState, chunks: Sequence[HeldChunk], total: int) -> BlobInfo:
    """The last chunk has published the object already, unless it did not say that it was the last: then it is said now."""
    answer = _request(backend, "PUT", state, {"content-range": f"bytes */{total}"})
    status = answer.status_code
    if status in _DONE or status in _GONE:
        info = backend.own(state)
        if info is None:
            raise SessionNotFound("the session is gone, and no object of it is there", http_status=status)
        return info
    if status == _OPEN:
        held = _held(state, answer)
        raise ChunkMismatch(f"the session holds {held.offset} of {total} bytes")
    if status == 412 and state.spec.if_absent:
        raise AlreadyExists("an object is at the key", http_status=status)
    raise _refusal(answer)


def discard(backend: GcsBackend, state: SessionState) -> AbortResult:
    """Cancel: 499 says that it is. A finished session is not touched by it."""
    answer = _request(backend, "DELETE", state, {})
    if answer.status_code in _GONE or answer.status_code in (*_DONE, 204):
        return AbortResult(discarded=True)
    raise _refusal(answer)


def _request(backend: GcsBackend, method: str, state: SessionState, headers: dict[str, str]) -> Answer:
    return backend.http().request(
        method,
        state.provider_id,
        headers={**headers, "content-length": "0"},
        timeout=backend.timeout,
        allow_redirects=False,  # 308 is no redirect here
    )


def _held(state: SessionState, answer: Answer) -> Received:
    """Whole chunks below the offset; no Range header means no bytes."""
    found = _RANGE.match(answer.headers.get("range", ""))
    offset = int(found[1]) + 1 if found else 0
    chunks: list[HeldChunk] = []
    for chunk in state.plan:
        if chunk.offset + chunk.size > offset or not chunk.size:
            break
        chunks.append(HeldChunk(chunk.number, chunk.size))
    return Received("open", chunks, offset=offset)


def _refusal(answer: Answer) -> Refused:
    return Refused(answer.status_code, None, answer.text[:500])
