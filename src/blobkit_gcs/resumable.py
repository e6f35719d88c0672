"""Chunked sessions of the JSON API. https://cloud.google.com/storage/docs/performing-resumable-uploads

The session's URI is all that a client needs, and so a secret. Its bytes arrive in order; the last ones publish the object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from blobkit.backend import HeldChunk, Received, SessionOrder, SessionState
from blobkit.blobs import UPLOAD_ID_KEY, AbortResult, BlobInfo
from blobkit.errors import AlreadyExists, ChunkMismatch, ConstraintViolated, SessionNotFound
from blobkit_gcs.calls import Answer
from blobkit_gcs.described import describe, promise
from blobkit_gcs.errors import Refused, status_of

if TYPE_CHECKING:
    from blobkit_gcs.backend import GcsBackend

__all__ = ["commit", "discard", "open_session", "received"]

_LIFE: Final = timedelta(days=7)
_RANGE: Final = re.compile(r"bytes=0-(\d{1,18})\Z")
_OPEN: Final = 308
_DONE: Final = (200, 201)
_GONE: Final = (404, 410, 499)
_LATER: Final = (408, 429)


def open_session(backend: GcsBackend, order: SessionOrder, now: datetime) -> SessionState:
    """Start a session for this type, metadata, size, MD5 or CRC32C, and browser's origin.

    ``if_absent`` and the checksum are judged at its end. A start whose reply was lost leaves a session that nobody has: it
    lapses within a week.
    """
    blob = backend.blob(order.key)
    describe(blob, order.spec, order.upload_id)
    promise(blob, order.spec.checksum)
    uri: str = blob.create_resumable_upload_session(
        content_type=order.spec.content_type,
        size=order.plan.size,
        origin=order.origin,
        if_generation_match=0 if order.spec.if_absent else None,
        timeout=backend.timeout,
        checksum=None,
        retry=backend.again,
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
        info = _made(backend, state, answer)
        return Received("gone") if info is None else Received("committed", info=info)
    raise _refusal(answer)


def commit(backend: GcsBackend, state: SessionState, chunks: Sequence[HeldChunk], total: int) -> BlobInfo:
    """The last chunk has published the object already, unless it did not say that it was the last: then it is said now."""
    answer = _request(backend, "PUT", state, {"content-range": f"bytes */{total}"})
    status = answer.status_code
    if status in _DONE or status in _GONE:
        info = _made(backend, state, answer)
        if info is None:
            raise SessionNotFound("the session is gone, and no object of it is there", http_status=status)
        return info
    if status == _OPEN:
        held = _held(state, answer)
        raise ChunkMismatch(f"the session holds {held.offset} of {total} bytes")
    if status == 412 and state.spec.if_absent:
        raise AlreadyExists("an object is at the key", http_status=status)
    checksum = state.spec.checksum
    if status == 400 and checksum is not None and "hash" in answer.text.lower():
        raise ConstraintViolated("checksum", expected=checksum.hex, actual="that of other bytes")
    raise _refusal(answer)


def _made(backend: GcsBackend, state: SessionState, answer: Answer) -> BlobInfo | None:
    """The object that the session made, if it is still there: that generation which the session itself names.

    The mark in the metadata proves less, for whoever sends the last bytes may add metadata and so change the mark. A changed
    one is given as metadata that was added, which completion finds.
    """
    generation = _generation(answer) if answer.status_code in _DONE else None
    if generation is None:
        return backend.own(state)
    try:
        info = backend.head(state.key, version=generation)
    except Exception as error:
        if status_of(error) == 404:
            return None
        raise
    if info.upload_id == state.upload_id:
        return info
    metadata = {**info.metadata, UPLOAD_ID_KEY: info.upload_id or ""}
    return replace(info, upload_id=state.upload_id, metadata=MappingProxyType(metadata))


def _generation(answer: Answer) -> str | None:
    try:
        found = json.loads(answer.content)["generation"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) and found.isascii() and found.isdigit() else None


def discard(backend: GcsBackend, state: SessionState) -> AbortResult:
    """Cancel: 499 says that it is. A finished session is not touched by it."""
    answer = _request(backend, "DELETE", state, {})
    if answer.status_code in _GONE or answer.status_code in (*_DONE, 204):
        return AbortResult(discarded=True)
    raise _refusal(answer)


def _request(backend: GcsBackend, method: str, state: SessionState, headers: dict[str, str]) -> Answer:
    """Ask the session. Everything asked here may be asked again: what failed for a moment is."""

    def ask() -> Answer:
        answer = backend.http().request(
            method,
            state.provider_id,
            headers={**headers, "content-length": "0"},
            timeout=backend.timeout,
            allow_redirects=False,  # 308 is no redirect here
        )
        if answer.status_code in _LATER or answer.status_code >= 500:
            raise _refusal(answer)
        return answer

    return backend.again(ask)()


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
