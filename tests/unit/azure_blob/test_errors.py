"""Each thing that goes wrong has a type of its own, with Azure's code, its request id and a way out."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.identity import CredentialUnavailableError

from blobkit import errors
from blobkit_azure.errors import classify


class Response:
    """As much of an answer as an error of the SDK reads."""

    def __init__(self, status: int) -> None:
        self.status_code = status
        self.reason = "reason"
        self.headers = {"x-ms-request-id": "id-1"}


def answered(status: int, code: str | None, message: str = "said\nRequestId:1") -> HttpResponseError:
    response: Any = Response(status)
    error: Any = HttpResponseError(message=message, response=response)
    if code is not None:
        error.error_code = code
    return error  # type: ignore[no-any-return]


ROWS: list[tuple[int, str | None, type[errors.BlobkitError], bool]] = [
    (404, "BlobNotFound", errors.BlobNotFound, False),
    (404, "ContainerNotFound", errors.BucketNotFound, True),
    (409, "ContainerBeingDeleted", errors.BucketNotFound, True),
    (409, "BlobAlreadyExists", errors.AlreadyExists, False),
    (403, "UnauthorizedBlobOverwrite", errors.AlreadyExists, False),
    (412, "ConditionNotMet", errors.PreconditionFailed, False),
    (412, "LeaseIdMissing", errors.ObjectLocked, True),
    (409, "BlobImmutableDueToPolicy", errors.ObjectLocked, True),
    (409, "SnapshotsPresent", errors.ObjectLocked, True),
    (409, "InvalidBlobType", errors.SessionMismatch, True),
    (400, "InvalidBlobOrBlock", errors.SessionMismatch, True),
    (400, "InvalidBlockId", errors.SessionMismatch, True),
    (409, "BlockCountExceedsLimit", errors.SessionMismatch, True),
    (400, "InvalidBlockList", errors.ChunkMismatch, True),
    (413, "RequestBodyTooLarge", errors.InvalidArgument, True),
    (400, "Md5Mismatch", errors.ChecksumMismatch, False),
    (403, "AuthenticationFailed", errors.PermissionDenied, True),
    (401, "InvalidAuthenticationInfo", errors.PermissionDenied, True),
    (403, "AuthorizationPermissionMismatch", errors.PermissionDenied, True),
    (403, "KeyBasedAuthenticationNotPermitted", errors.PermissionDenied, True),
    (503, "ServerBusy", errors.Throttled, False),
    (500, "OperationTimedOut", errors.Unavailable, False),
    (409, "PendingCopyOperation", errors.Unavailable, True),
    (501, "NotImplemented", errors.Unsupported, True),
    (429, None, errors.Throttled, False),
    (502, None, errors.Unavailable, False),
    (418, None, errors.InvalidArgument, False),
]


@pytest.mark.parametrize(("status", "code", "kind", "hint"), ROWS, ids=str)
def test_an_answer_becomes_its_own_error(
    status: int, code: str | None, kind: type[errors.BlobkitError], hint: bool
) -> None:
    found = classify(answered(status, code))
    assert found is not None
    error = found.as_error()
    assert type(error) is kind
    assert (error.code, error.http_status, error.request_id) == (code, status, "id-1")
    assert error.message == "said", "what the service said, without its footer"
    assert error.hint or not hint
    assert error.retryable is (kind in (errors.Throttled, errors.Unavailable))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Lifetime validation failed. The token is expired.", errors.CredentialsExpired),
        ("Signature not valid in the specified time frame: Start [...]", errors.CredentialsExpired),
        ("Request date header too old", errors.ClockSkew),
    ],
)
def test_a_refusal_that_is_a_matter_of_time(said: str, kind: type[errors.BlobkitError]) -> None:
    found = classify(answered(403, "AuthenticationFailed", said))
    assert found is not None
    assert found.error is kind
    assert found.hint


@pytest.mark.parametrize(
    ("error", "kind", "code", "retryable"),
    [
        (
            CredentialUnavailableError("nobody is logged in"),
            errors.CredentialsMissing,
            "CredentialUnavailableError",
            False,
        ),
        (ClientAuthenticationError("AADSTS90002: Tenant not found"), errors.PermissionDenied, "AADSTS90002", False),
        (ClientAuthenticationError("AADSTS7000215: Invalid secret"), errors.PermissionDenied, "AADSTS7000215", False),
        (ClientAuthenticationError("AADSTS700082: too old"), errors.CredentialsExpired, "AADSTS700082", False),
        (ServiceRequestError("name or service not known"), errors.ConnectionFailed, "ServiceRequestError", True),
        (ServiceResponseError("read timed out"), errors.ConnectionFailed, "ServiceResponseError", True),
        (IncompleteReadError("broke off"), errors.ConnectionFailed, "IncompleteReadError", True),
        (ServiceRequestError("certificate verify failed"), errors.ConnectionFailed, "ServiceRequestError", False),
    ],
)
def test_what_never_came_to_an_answer(
    error: Exception, kind: type[errors.BlobkitError], code: str, retryable: bool
) -> None:
    found = classify(error)
    assert found is not None
    made = found.as_error()
    assert (type(made), made.code, made.retryable) == (kind, code, retryable)


def test_an_error_of_somebody_else_is_none_of_azures() -> None:
    assert classify(ValueError("x")) is None
