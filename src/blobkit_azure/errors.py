"""What Blob Storage, Entra and their SDKs say, as blobkit errors: one table by code, one by HTTP status for answers without.

https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes and …/common-rest-api-error-codes
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from blobkit.backend import Classified
from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    BlobNotFound,
    BucketNotFound,
    ChecksumMismatch,
    ChunkMismatch,
    ClockSkew,
    ConfigError,
    ConnectionFailed,
    CredentialsExpired,
    CredentialsMissing,
    InvalidArgument,
    InvalidChunk,
    InvalidKey,
    ObjectLocked,
    PermissionDenied,
    PreconditionFailed,
    SessionMismatch,
    SourceChanged,
    Throttled,
    Unavailable,
    Unsupported,
)

__all__ = ["classify", "code_of", "status_of"]


class _Row(NamedTuple):
    error: type[BlobkitError]
    hint: str | None = None
    retryable: bool | None = None


_LEASE: Final = _Row(ObjectLocked, "somebody holds a lease on the blob: it has to be released, or broken, first")
_POLICY: Final = _Row(ObjectLocked, "an immutability policy or a legal hold keeps the blob as it is")
_KEY: Final = _Row(PermissionDenied, "the key or the signature is not this account's, or was changed on its way")
_ROLE: Final = _Row(
    PermissionDenied, "the identity needs Storage Blob Data Contributor, and Storage Blob Delegator to sign"
)
_ARCHIVED: Final = _Row(PermissionDenied, "the blob is in the archive tier: rehydrate it first")
_TYPE: Final = _Row(
    SessionMismatch,
    "the blob at this key is a page or append blob; blobkit works with block blobs: delete it, or another key",
)
_IDS: Final = _Row(
    SessionMismatch,
    "another program has uncommitted blocks at this key, with ids of another length: another key, or staging=True, or wait a"
    " week",
)
_BLOCKS: Final = _Row(
    SessionMismatch, "100,000 uncommitted blocks are at this key: another key; these lapse a week after the last one"
)
_SLOW: Final = _Row(Throttled)
_DOWN: Final = _Row(Unavailable)
_METADATA: Final = _Row(InvalidArgument)

_CODES: Final[dict[str, _Row]] = {
    "BlobNotFound": _Row(BlobNotFound),
    "ResourceNotFound": _Row(BlobNotFound),
    "CannotVerifyCopySource": _Row(BlobNotFound, "the source of the copy is gone, or may not be read"),
    "ContainerNotFound": _Row(BucketNotFound, "check the names of account and container"),
    "ContainerBeingDeleted": _Row(BucketNotFound, "the container is being deleted"),
    "ContainerDisabled": _Row(PermissionDenied),
    "BlobAlreadyExists": _Row(AlreadyExists),
    "ResourceAlreadyExists": _Row(AlreadyExists),
    "UnauthorizedBlobOverwrite": _Row(AlreadyExists),
    "ConditionNotMet": _Row(PreconditionFailed),
    "SourceConditionNotMet": _Row(PreconditionFailed),
    "TargetConditionNotMet": _Row(PreconditionFailed),
    "BlobOverwritten": _Row(PreconditionFailed),
    "SnapshotsPresent": _Row(
        ObjectLocked, "the blob has snapshots, which a delete would take along: purge_versions=True"
    ),
    "BlobImmutableDueToPolicy": _POLICY,
    "BlobImmutableDueToLegalHold": _POLICY,
    "LeaseIdMissing": _LEASE,
    "LeaseIdMismatchWithBlobOperation": _LEASE,
    "LeaseIdMismatchWithContainerOperation": _LEASE,
    "LeaseLost": _LEASE,
    "LeaseNotPresentWithBlobOperation": _LEASE,
    "LeaseAlreadyPresent": _LEASE,
    "InvalidBlobType": _TYPE,
    "ResourceTypeMismatch": _TYPE,
    "InvalidBlobOrBlock": _IDS,
    "InvalidBlockId": _IDS,
    "BlockCountExceedsLimit": _BLOCKS,
    "RequestEntityTooLargeBlockCountExceedsLimit": _BLOCKS,
    "InvalidBlockList": _Row(
        ChunkMismatch, "blocks of the list are not there: they lapsed, or another upload took the key"
    ),
    "BlockListTooLong": _Row(InvalidChunk, "at most 50,000 blocks make a blob"),
    "RequestBodyTooLarge": _Row(InvalidArgument, "4,000 MiB for a block, 5,000 MiB for a blob in one request"),
    "Md5Mismatch": _Row(ChecksumMismatch),
    "Crc64Mismatch": _Row(ChecksumMismatch),
    "InvalidMd5": _Row(ChecksumMismatch),
    "IncompleteBody": _Row(SourceChanged, "fewer bytes came than were announced"),
    "AuthenticationFailed": _KEY,
    "InvalidAuthenticationInfo": _Row(PermissionDenied, "the token is of another tenant, or not for storage"),
    "NoAuthenticationInformation": _KEY,
    "AuthorizationFailure": _Row(PermissionDenied, "the account's firewall, or the signature, does not allow this"),
    "AuthorizationPermissionMismatch": _ROLE,
    "AuthorizationResourceTypeMismatch": _Row(PermissionDenied, "the signature is for another kind of resource"),
    "AuthorizationServiceMismatch": _Row(PermissionDenied, "the signature is for another service"),
    "AuthorizationProtocolMismatch": _Row(PermissionDenied, "the signature is for https alone"),
    "AuthorizationSourceIPMismatch": _Row(PermissionDenied, "the signature is for other addresses"),
    "KeyBasedAuthenticationNotPermitted": _Row(
        PermissionDenied, "the account refuses keys: leave the key out, and let an Entra identity sign"
    ),
    "InsufficientAccountPermissions": _Row(PermissionDenied),
    "AccountIsDisabled": _Row(PermissionDenied, "the account is disabled"),
    "PublicAccessNotPermitted": _Row(PermissionDenied),
    "BlobArchived": _ARCHIVED,
    "BlobBeingRehydrated": _ARCHIVED,
    "BlobNotArchived": _METADATA,
    "InvalidBlobTier": _Row(InvalidArgument, "the account has no such access tier"),
    "InvalidRange": _Row(InvalidArgument),
    "InvalidResourceName": _Row(InvalidKey),
    "OutOfRangeInput": _Row(InvalidKey, "names of blobs have at most 1,024 characters"),
    "InvalidUri": _Row(InvalidKey),
    "InvalidMetadata": _METADATA,
    "EmptyMetadataKey": _METADATA,
    "MetadataTooLarge": _METADATA,
    "InvalidHeaderValue": _METADATA,
    "InvalidInput": _METADATA,
    "InvalidQueryParameterValue": _METADATA,
    "UnsupportedHeader": _Row(Unsupported, "the service does not know this header, with this version"),
    "UnsupportedQueryParameter": _Row(Unsupported),
    "UnsupportedHttpVerb": _Row(Unsupported),
    "FeatureVersionMismatch": _Row(Unsupported, "the blob needs a newer version of the service's API"),
    "NotImplemented": _Row(Unsupported, "an emulator lacks what Azure has"),
    "PendingCopyOperation": _Row(Unavailable, "a copy to this blob is under way"),
    "CopyIdMismatch": _Row(PreconditionFailed),
    "NoPendingCopyOperation": _Row(PreconditionFailed),
    "ServerBusy": _SLOW,
    "TooManyRequests": _SLOW,
    "IngressExceedsAccountLimit": _SLOW,
    "EgressExceedsAccountLimit": _SLOW,
    "AccountLimitExceeded": _SLOW,
    "OperationTimedOut": _DOWN,
    "InternalError": _DOWN,
}
_STATUSES: Final[dict[int, _Row]] = {
    400: _METADATA,
    401: _CODES["InvalidAuthenticationInfo"],
    403: _CODES["AuthenticationFailed"],
    404: _CODES["BlobNotFound"],
    408: _DOWN,
    409: _Row(SessionMismatch),
    411: _METADATA,
    412: _CODES["ConditionNotMet"],
    413: _CODES["RequestBodyTooLarge"],
    416: _CODES["InvalidRange"],
    429: _SLOW,
    501: _CODES["NotImplemented"],
    503: _SLOW,
}
# Entra's own codes: https://learn.microsoft.com/entra/identity-platform/reference-error-codes
_AADSTS: Final = re.compile(r"AADSTS(\d{4,7})").search
_TENANT: Final = _Row(PermissionDenied, "Entra does not know this tenant, or the application is not in it")
_SECRET: Final = _Row(PermissionDenied, "Entra does not know this client, or its secret is wrong or too old")
_ENTRA: Final[dict[str, _Row]] = {
    "90002": _TENANT,
    "900023": _TENANT,
    "50020": _TENANT,
    "700016": _TENANT,
    "7000215": _SECRET,
    "7000222": _SECRET,
    "700027": _SECRET,
    "50034": _SECRET,
    "50126": _SECRET,
    "700082": _Row(CredentialsExpired, "log in again"),
    "70043": _Row(CredentialsExpired, "log in again"),
    "50173": _Row(CredentialsExpired, "log in again"),
}
_PLAIN_HTTP: Final = "not permitted for non-TLS"


def status_of(error: BaseException) -> int | None:
    """The HTTP status of the answer that an exception carries."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def code_of(error: BaseException) -> str:
    """Azure's own code of an answer; empty for anything else."""
    code = getattr(error, "error_code", None)
    if code is not None:
        return str(getattr(code, "value", code))
    headers = getattr(getattr(error, "response", None), "headers", None)
    return str(headers.get("x-ms-error-code") or "") if headers is not None else ""


def classify(error: Exception) -> Classified | None:
    """What ``error`` means; None when it is neither Azure's nor of the connection to it."""
    module = type(error).__module__.partition(".")[0]
    if module in ("requests", "urllib3"):
        return _broken(error)
    if module != "azure":
        return None
    from azure.core.exceptions import (
        ClientAuthenticationError,
        HttpResponseError,
        ServiceRequestError,
        ServiceResponseError,
    )

    if isinstance(error, ClientAuthenticationError) and status_of(error) is None:
        return _entra(error)
    if isinstance(error, HttpResponseError) and status_of(error) is not None:
        return _answered(error)
    if isinstance(error, ServiceRequestError | ServiceResponseError) and _PLAIN_HTTP in str(error):
        return Classified(ConfigError, "an Entra token is never sent over plain http", hint="an https endpoint")
    if type(error).__name__ == "AzureSigningError":
        return Classified(ConfigError, "the account's key is none", hint="base64, as the portal shows it")
    return _broken(error)


def _answered(error: Exception) -> Classified:
    status, code = status_of(error) or 0, code_of(error)
    message = str(getattr(error, "message", "") or "")
    row = _CODES.get(code) or _STATUSES.get(status) or _Row(Unavailable if status >= 500 else InvalidArgument)
    if row.error is PermissionDenied:
        row = _refused(message, row)
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    return Classified(
        row.error,
        message.partition("\n")[0][:500] or f"Blob Storage answered {status}",
        code=code or None,
        http_status=status,
        request_id=headers.get("x-ms-request-id") or None,
        retryable=row.retryable,
        hint=row.hint,
    )


def _refused(message: str, row: _Row) -> _Row:
    """A refusal whose text says that it is a matter of time."""
    said = message.lower()
    if "lifetime validation failed" in said or "signature not valid in the specified time frame" in said:
        return _Row(CredentialsExpired, "the token or the signature has expired: a new one")
    if "date header" in said and ("too old" in said or "not valid" in said):
        return _Row(ClockSkew, "set this machine's clock (NTP): Azure allows 15 minutes")
    return row


def _entra(error: Exception) -> Classified:
    """What azure-identity raises: it has an answer of Entra's, or found nobody to ask."""
    found = _AADSTS(str(error))
    if found is not None:
        row = _ENTRA.get(found[1], _Row(PermissionDenied, "Entra refused the identity: its code says why"))
        return Classified(row.error, "Entra gave no token", code=f"AADSTS{found[1]}", hint=row.hint)
    if type(error).__name__ == "CredentialUnavailableError" or "failed to retrieve a token" in str(error):
        return Classified(
            CredentialsMissing,
            "no identity was found that could log in",
            code=type(error).__name__,
            hint="account_key_file=, connection_string_env=, sas_token_file=; the environment's AZURE_STORAGE_*; or an identity"
            " of azure-identity: AZURE_CLIENT_ID and its kin, workload or managed identity, az login",
        )
    return Classified(PermissionDenied, "no token could be had", code=type(error).__name__)


def _broken(error: Exception) -> Classified:
    trusted = "certificate verify failed" not in str(error).lower() and "SSL" not in type(error).__name__
    return Classified(
        ConnectionFailed,
        f"Blob Storage cannot be reached, or broke off: {type(error).__name__}",
        code=type(error).__name__,
        retryable=trusted,
        hint=None if trusted else "the server's certificate is not trusted here",
    )
