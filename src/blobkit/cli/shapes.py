"""The library's values as JSON, the same wherever a command prints them. Times are ISO 8601 in UTC, sizes bytes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blobkit.blobs import AbortResult, BlobInfo, Checksum, DeleteResult, PendingUpload
    from blobkit.session import SessionStatus, UploadSession
    from blobkit.spec import Constraint, Enforcement

__all__ = ["aborted", "blob", "deleted", "enforced", "pending", "session", "status", "when"]


def when(time: datetime | None) -> str | None:
    """A time as text."""
    return None if time is None else time.isoformat().replace("+00:00", "Z")


def _checksum(value: Checksum) -> dict[str, object]:
    return {"hex": value.hex, "base64": value.base64, "composite": value.composite}


def blob(info: BlobInfo) -> dict[str, object]:
    """An object."""
    return {
        "key": info.key,
        "size": info.size,
        "etag": info.etag,
        "version": info.version,
        "modified": when(info.modified),
        "content_type": info.content_type,
        "metadata": dict(info.metadata),
        "checksums": {name: _checksum(value) for name, value in info.checksums.items()},
        "cache_control": info.cache_control,
        "content_disposition": info.content_disposition,
        "content_encoding": info.content_encoding,
        "storage_class": info.storage_class,
        "upload_id": info.upload_id,
    }


def deleted(result: DeleteResult) -> dict[str, object]:
    """What became of one key."""
    return {
        "key": result.key,
        "deleted": result.error is None,
        "error": None if result.error is None else type(result.error).__name__,
        "marker": result.marker,
        "versions_left": result.versions_left,
    }


def enforced(enforcement: Mapping[Constraint, Enforcement]) -> dict[str, str]:
    """Who sees to each constraint."""
    return {str(constraint): str(by) for constraint, by in enforcement.items()}


def session(value: UploadSession) -> dict[str, object]:
    """A chunked session, without its token."""
    chunks = value.chunks
    return {
        "key": value.key,
        "upload_id": value.upload_id,
        "size": chunks.size,
        "chunk_size": chunks.chunk_size,
        "chunk_count": len(chunks),
        "staged": value.staged,
        "expires_at": when(value.expires_at),
        "enforcement": enforced(value.enforcement),
    }


def status(value: SessionStatus) -> dict[str, object]:
    """What the provider holds of a session."""
    return {
        "state": value.state,
        "received": list(value.received),
        "received_bytes": value.received_bytes,
        "missing": list(value.missing),
    }


def aborted(result: AbortResult) -> dict[str, object]:
    """What an abort could do."""
    return {"discarded": result.discarded, "lapses_at": when(result.lapses_at)}


def pending(value: PendingUpload) -> dict[str, object]:
    """A session that was neither completed nor aborted."""
    return {
        "key": value.key,
        "upload_id": value.upload_id,
        "started": when(value.started),
        "received_bytes": value.received_bytes,
    }
