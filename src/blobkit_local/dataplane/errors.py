"""From what went wrong to an HTTP answer: one table, one small JSON body, nothing of the request in it."""

from __future__ import annotations

import json
from typing import Final

from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    ChecksumMismatch,
    ConstraintViolated,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    SessionMismatch,
    TransientError,
)
from blobkit_local.signing import Refused

__all__ = ["Problem", "problem_of"]

_TABLE: Final[tuple[tuple[type[BlobkitError], int, str], ...]] = (
    (AlreadyExists, 412, "already_exists"),
    (PreconditionFailed, 412, "precondition_failed"),
    (ConstraintViolated, 400, "constraint"),
    (ChecksumMismatch, 400, "checksum"),
    (NotFound, 404, "not_found"),
    (SessionMismatch, 409, "session"),
    (PermissionDenied, 403, "denied"),
    (InvalidArgument, 400, "malformed"),
    (TransientError, 503, "unavailable"),
)


class Problem(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def body(self) -> bytes:
        """The answer's JSON."""
        return json.dumps({"error": self.code, "message": self.message}).encode()


def problem_of(error: Exception, classified: BlobkitError | None = None) -> Problem:
    """The answer to an exception; one that nobody foresaw is a 500 that says nothing."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Refused):
        return Problem(error.status, error.code, error.message)
    known = error if isinstance(error, BlobkitError) else classified
    for kind, status, code in _TABLE:
        if isinstance(known, kind):
            return Problem(status, code, known.message)
    return Problem(500, "internal", "the store failed; its log says why")
