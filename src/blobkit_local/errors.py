"""What SQLite and the file system say, as blobkit errors: one table. blobkit's own errors pass through."""

from __future__ import annotations

import errno
import sqlite3
from typing import Final, NamedTuple

from blobkit.backend import Classified
from blobkit.errors import BlobkitError, BucketNotFound, PermissionDenied, Throttled, Unavailable

__all__ = ["classify"]


class _Row(NamedTuple):
    error: type[BlobkitError]
    message: str
    retryable: bool
    hint: str | None = None


_FULL: Final = _Row(Unavailable, "the disk is full", False, "free space, or sweep; nothing was changed")
_READ_ONLY: Final = _Row(
    PermissionDenied, "the store's directory cannot be written", False, "check its owner, mode and mount"
)
_GONE: Final = _Row(BucketNotFound, "the store's directory is not there any more", False)
_BUSY: Final = _Row(Throttled, "the index is locked by another process for too long", True)
_BROKEN: Final = _Row(Unavailable, "the device failed", False, "check the disk, then the index: PRAGMA integrity_check")
_FILES: Final = _Row(Unavailable, "too many open files", True, "raise the limit: ulimit -n")

# https://www.sqlite.org/rescode.html, primary result codes; errno(3).
_SQLITE: Final[dict[str, _Row]] = {
    "SQLITE_BUSY": _BUSY,
    "SQLITE_LOCKED": _BUSY,
    "SQLITE_FULL": _FULL,
    "SQLITE_READONLY": _READ_ONLY,
    "SQLITE_PERM": _READ_ONLY,
    "SQLITE_CANTOPEN": _GONE,
    "SQLITE_IOERR": _BROKEN,
    "SQLITE_CORRUPT": _BROKEN,
    "SQLITE_NOTADB": _BROKEN,
}
_ERRNO: Final[dict[int, _Row]] = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EIO: _BROKEN,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EFBIG: _Row(Unavailable, "the file system cannot hold a file this large", False),
}


def classify(error: Exception) -> Classified | None:
    """What ``error`` means; None when it is neither SQLite's nor the file system's (a body that could not be read, say)."""
    if isinstance(error, sqlite3.Error):
        name: str | None = getattr(error, "sqlite_errorname", None)
        # An extended code starts with its primary one: SQLITE_IOERR_FSYNC, SQLITE_BUSY_SNAPSHOT.
        primary = "_".join(name.split("_")[:2]) if name else ""
        row = _SQLITE.get(primary, _BROKEN if isinstance(error, sqlite3.DatabaseError) else None)
        code = name
    elif isinstance(error, OSError) and not isinstance(error, BlobkitError):
        row = _ERRNO.get(error.errno or 0)
        code = errno.errorcode.get(error.errno or 0)
    else:
        return None
    if row is None:
        return None
    return Classified(row.error, row.message, code=code, retryable=row.retryable, hint=row.hint)
