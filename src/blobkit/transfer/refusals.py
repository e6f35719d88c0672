"""What a storage's answer means: from status and code to one of the errors of :mod:`blobkit.errors`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    BlobNotFound,
    ChecksumMismatch,
    ClockSkew,
    CredentialsExpired,
    PermissionDenied,
    PreconditionFailed,
    SessionExpired,
    SessionMismatch,
    SessionNotFound,
    Throttled,
    Unavailable,
    Unsupported,
)
from blobkit.transfer.retry import retry_after

__all__ = ["Answer", "failure", "session_failure"]

_CODE: Final = re.compile(r"<Code>([A-Za-z0-9_.]{1,64})</Code>|\"error\"\s*:\s*\"([a-z_]{1,64})\"")
_CLASSES: Final[Mapping[int, type[BlobkitError]]] = {
    401: PermissionDenied,
    403: PermissionDenied,
    404: BlobNotFound,
    409: SessionMismatch,
    410: SessionExpired,
    412: PreconditionFailed,
    408: Unavailable,
    429: Throttled,
}
_FINAL: Final = frozenset({501, 505})  # the server cannot do it, now or later
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# Codes that say more than their status; each is one vendor's own word, so no two of them can be confused.
_CODES: Final[Mapping[str, type[BlobkitError]]] = {
    "BlobAlreadyExists": AlreadyExists,
    "UnauthorizedBlobOverwrite": AlreadyExists,
    "already_exists": AlreadyExists,
    "BadDigest": ChecksumMismatch,
    "checksum": ChecksumMismatch,
    "Md5Mismatch": ChecksumMismatch,
    "Crc64Mismatch": ChecksumMismatch,
    "XAmzContentChecksumMismatch": ChecksumMismatch,
    "NoSuchUpload": SessionNotFound,
    "ExpiredToken": CredentialsExpired,
    "RequestTimeTooSkewed": ClockSkew,
    "RequestTimeout": Unavailable,
    "OperationAborted": Unavailable,
    "SlowDown": Throttled,
    "ServerBusy": Throttled,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, headers with lower-case names, and the start of the body when it was an error."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def asked_to_wait(self) -> float | None:
        """The seconds of Retry-After."""
        return retry_after(self.headers.get("retry-after"))


def failure(answer: Answer) -> BlobkitError:
    """The error that a refusing answer means. Its code is the provider's own; nothing of the URL is in it."""
    found = _CODE.search(answer.body.decode("utf-8", "replace"))
    code = answer.headers.get("x-ms-error-code") or (found and (found[1] or found[2])) or None
    request_id = answer.headers.get("x-amz-request-id") or answer.headers.get("x-ms-request-id")
    if answer.status in _REDIRECTS:
        return _redirected(answer, code, request_id)
    kind = _CODES.get(code or "") or _CLASSES.get(answer.status, Unavailable if answer.status >= 500 else BlobkitError)
    hint = "the URL may have expired" if answer.status == 403 else None
    return kind(
        f"the storage answered {answer.status}",
        code=code,
        http_status=answer.status,
        request_id=request_id,
        retryable=False if answer.status in _FINAL else None,
        hint=hint,
    )


def session_failure(answer: Answer) -> BlobkitError:
    """What a refused chunk means: what is not found is the session."""
    error = failure(answer)
    if isinstance(error, BlobNotFound):
        return SessionNotFound(
            error.message, code=error.code, http_status=error.http_status, request_id=error.request_id
        )
    return error


def _redirected(answer: Answer, code: str | None, request_id: str | None) -> Unsupported:
    """A signed request holds for one address: to follow would send it, and what it grants, to another."""
    host = urlsplit(answer.headers.get("location", "")).hostname
    error = Unsupported(
        f"the storage answered {answer.status}, a redirection to {host or 'nowhere'}, which is not followed",
        features=("redirects",),
        hint="sign for the address that the storage has: its region, or its endpoint",
    )
    error.code, error.http_status, error.request_id = code, answer.status, request_id
    return error
