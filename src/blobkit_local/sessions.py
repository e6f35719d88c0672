"""Chunked sessions, as the core asks for them, on an engine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from blobkit.backend import HeldChunk, Received, SessionOrder, SessionState
from blobkit.blobs import BlobInfo
from blobkit.errors import BlobNotFound, SessionNotFound
from blobkit_local.engine import Attributes, Engine, Wanted

__all__ = ["commit", "open_session", "received"]


def open_session(engine: Engine, order: SessionOrder, now: datetime) -> SessionState:
    """Start a session: one row, and one empty file for its chunks. It has no end of its own; a sweep takes abandoned ones."""
    state = SessionState(
        key=order.key,
        spec=order.spec,
        plan=order.plan,
        upload_id=order.upload_id,
        provider_id=order.upload_id,
        started=now,
    )
    engine.open_session(state, Attributes.of(order.spec, order.upload_id))
    return state


def received(engine: Engine, state: SessionState, *, sequential: bool) -> Received:
    """What is held; ``committed`` when the session has become the object at its key, ``gone`` when it is neither."""
    try:
        chunks = engine.held(state.upload_id)
    except SessionNotFound:
        info = _own(engine, state)
        return Received("gone") if info is None else Received("committed", info=info)
    if not sequential:
        return Received("open", chunks)
    whole = [chunk for place, chunk in enumerate(chunks, start=1) if chunk.number == place]
    return Received("open", whole, offset=sum(chunk.size for chunk in whole))


def commit(engine: Engine, state: SessionState, chunks: Sequence[HeldChunk], total: int) -> BlobInfo:
    """Assemble the object; or, where the last chunk has published it already, describe it."""
    try:
        return engine.commit_session(state.upload_id, list(chunks), Wanted.of(state.spec, size=total))
    except SessionNotFound:
        info = _own(engine, state)
        if info is None:
            raise
        return info


def _own(engine: Engine, state: SessionState) -> BlobInfo | None:
    """The object at the session's key, if this very session made it."""
    try:
        info = engine.head(state.key)
    except BlobNotFound:
        return None
    return info if info.upload_id == state.upload_id else None
