"""What Cloud Storage and its SDK say, as blobkit errors: one table.

https://cloud.google.com/storage/docs/json_api/v1/status-codes and …/xml-api/reference-status
"""

from __future__ import annotations

from typing import Final

from blobkit.backend import Classified
from blobkit.errors import (
    BlobkitError,
    BlobNotFound,
    BucketNotFound,
    ClockSkew,
    ConnectionFailed,
    CredentialsExpired,
    CredentialsMissing,
    InvalidArgument,
    PermissionDenied,
    PreconditionFailed,
    SessionExpired,
    SessionMismatch,
    Throttled,
    Unavailable,
    Unsupported,
)

__all__ = ["Refused", "classify", "status_of"]

_STATUSES: Final[dict[int, type[BlobkitError]]] = {
    400: InvalidArgument,
    401: PermissionDenied,
    403: PermissionDenied,
    404: BlobNotFound,
    408: Unavailable,
    409: SessionMismatch,
    410: SessionExpired,
    411: InvalidArgument,
    412: PreconditionFailed,
    413: InvalidArgument,
    416: InvalidArgument,
    429: Throttled,
    501: Unsupported,
}
_HINTS: Final[dict[int, str]] = {
    401: "the credentials are not valid here",
    403: "the account lacks the permission; roles/storage.objectUser has what a store needs",
}
# google.auth.exceptions and requests.exceptions, by name: nothing is imported to look at an error.
_AUTH: Final[dict[str, tuple[type[BlobkitError], str | None]]] = {
    "DefaultCredentialsError": (
        CredentialsMissing,
        "GOOGLE_APPLICATION_CREDENTIALS, gcloud auth application-default login, or a service account of this machine",
    ),
    "RefreshError": (CredentialsExpired, "the token cannot be renewed: log in again, or look at the key"),
    "ReauthFailError": (CredentialsExpired, "gcloud auth application-default login"),
    "TransportError": (ConnectionFailed, None),
}
_SKEW: Final = "Token must be a short-lived token"  # what Google says of an assertion from the past or the future
_CERTIFICATE: Final = "the server's certificate is not trusted here"


class Refused(Exception):
    """An answer of the XML API, or of a session's URI, that is a refusal."""

    def __init__(self, status: int, code: str | None = None, message: str = "") -> None:
        super().__init__(f"{status} {code or ''}")
        self.status = status
        self.code_name = code
        self.said = message


def status_of(error: Exception) -> int | None:
    """The HTTP status of the answer that an exception carries."""
    if isinstance(error, Refused):
        return error.status
    code = getattr(error, "code", None)
    if isinstance(code, int):
        return int(code)
    status = getattr(getattr(error, "response", None), "status_code", None)  # InvalidResponse of uploads
    return status if isinstance(status, int) else None


def classify(error: Exception) -> Classified | None:
    """What ``error`` means; None when it is neither Google's nor of the connection to it."""
    if isinstance(error, Refused):
        return _answered(error.status, error.code_name, error.said)
    module, name = type(error).__module__, type(error).__name__
    if module.startswith("google.auth.") and getattr(error, "retryable", False):
        return Classified(Unavailable, "no access token can be had just now", code=name, retryable=True)
    if name == "RefreshError" and _SKEW in str(error):
        return Classified(
            ClockSkew, "the token service finds this machine's clock wrong", code=name, hint="set the clock"
        )
    if module.startswith("google.auth."):
        kind, hint = _AUTH.get(name, (BlobkitError, None))
        return Classified(kind, f"authentication failed: {name}", code=name, hint=hint)
    if module.startswith(("google.api_core.", "google.cloud.", "google.resumable_media.")):
        status = status_of(error)
        if status is not None:
            return _answered(status, _reason(error), str(getattr(error, "message", error)))
        if name == "RetryError":
            cause = getattr(error, "cause", None)
            known = classify(cause) if isinstance(cause, Exception) else None
            return known or Classified(Unavailable, "the service kept failing", code=name)
        if name == "DataCorruption":
            return Classified(ConnectionFailed, "the answer was damaged on its way", code=name, retryable=True)
    if module.startswith(("requests.", "urllib3.")):
        trusted = "SSL" not in name
        return Classified(
            ConnectionFailed,
            f"the service cannot be reached: {name}",
            code=name,
            retryable=trusted,
            hint=None if trusted else _CERTIFICATE,
        )
    return None


def _reason(error: Exception) -> str | None:
    """The JSON API's reason (``conditionNotMet``)."""
    errors = getattr(error, "errors", None)
    first = errors[0] if isinstance(errors, list) and errors else None
    reason = first.get("reason") if isinstance(first, dict) else None
    return str(reason) if reason else None


def _answered(status: int, code: str | None, said: str) -> Classified:
    kind = _STATUSES.get(status, Unavailable if status >= 500 else BlobkitError)
    if status == 404 and (code == "NoSuchBucket" or "bucket does not exist" in said):
        kind = BucketNotFound
    if status == 403 and code == "rateLimitExceeded":
        kind = Throttled
    return Classified(kind, f"the service answered {status}", code=code, http_status=status, hint=_HINTS.get(status))
