"""What S3 says, as blobkit errors: one table by code, and one by HTTP status for answers without a code.

https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html. HEAD answers have no body, so botocore gives their status
as the code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

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
    InvalidKey,
    ObjectLocked,
    PermissionDenied,
    PluginMissing,
    PreconditionFailed,
    SessionNotFound,
    SigningUnavailable,
    SourceChanged,
    Throttled,
    Unavailable,
    Unsupported,
)

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

__all__ = ["already_exists", "classify", "code_of", "retried"]


class _Row(NamedTuple):
    error: type[BlobkitError]
    hint: str | None = None
    retryable: bool | None = None


_REGION: Final = _Row(ConfigError, "the bucket is in another region: set ?region=")
_EXPIRED: Final = _Row(CredentialsExpired, "get new temporary credentials")
_KEY: Final = _Row(PermissionDenied, "the server does not know these keys, or they do not belong together")
_DOWN: Final = _Row(Unavailable)
_SLOW: Final = _Row(Throttled)

_CODES: Final[dict[str, _Row]] = {
    "NoSuchKey": _Row(BlobNotFound),
    "NoSuchVersion": _Row(BlobNotFound),
    "NoSuchBucket": _Row(BucketNotFound, "check the bucket's name, its region and the endpoint"),
    "NoSuchUpload": _Row(SessionNotFound),
    "AccessDenied": _Row(PermissionDenied, "check the policies of the key and of the bucket"),
    "AllAccessDisabled": _Row(PermissionDenied),
    "AccountProblem": _Row(PermissionDenied),
    "InvalidAccessKeyId": _KEY,
    "SignatureDoesNotMatch": _KEY,
    "InvalidToken": _KEY,
    "InvalidClientTokenId": _KEY,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": _Row(ClockSkew, "set this machine's clock (NTP): S3 allows 15 minutes"),
    "RequestExpired": _Row(ClockSkew, "set this machine's clock (NTP)"),
    "PreconditionFailed": _Row(PreconditionFailed),
    "ConditionalRequestConflict": _Row(
        PreconditionFailed, "another request for this key was under way: start over, in a new session if it was one"
    ),
    "OperationAborted": _Row(Unavailable, "a conflicting operation is under way"),
    "EntityTooLarge": _Row(InvalidArgument, "more than the service takes in one request: start_upload()"),
    "EntityTooSmall": _Row(ChunkMismatch, "every part but the last has at least 5 MiB"),
    "InvalidPart": _Row(ChunkMismatch),
    "InvalidPartOrder": _Row(ChunkMismatch),
    "BadDigest": _Row(ChecksumMismatch),
    "InvalidDigest": _Row(ChecksumMismatch),
    "XAmzContentChecksumMismatch": _Row(ChecksumMismatch),
    "XAmzContentSHA256Mismatch": _Row(ChecksumMismatch),
    "IncompleteBody": _Row(SourceChanged, "fewer bytes came than were announced"),
    "KeyTooLongError": _Row(InvalidKey),
    "KeyTooLong": _Row(InvalidKey),
    "InvalidObjectName": _Row(InvalidKey),
    "InvalidBucketName": _Row(ConfigError, "not a bucket's name"),
    "MetadataTooLarge": _Row(InvalidArgument),
    "InvalidStorageClass": _Row(InvalidArgument),
    "InvalidArgument": _Row(InvalidArgument),
    "InvalidTag": _Row(InvalidArgument),
    "InvalidRange": _Row(InvalidArgument),
    "InvalidObjectState": _Row(PermissionDenied, "the object is archived: restore it first"),
    "ObjectLocked": _Row(ObjectLocked),
    "AccessPointNotFound": _Row(BucketNotFound),
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _Row(Unavailable, "the bucket is new: its name is still spreading"),
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "NotImplemented": _Row(Unsupported, "this service does not have that: is ?profile= right?"),
    "MethodNotAllowed": _Row(Unsupported, "this service does not allow that"),
    "SlowDown": _SLOW,
    "SlowDownRead": _SLOW,
    "SlowDownWrite": _SLOW,
    "Throttling": _SLOW,
    "ThrottlingException": _SLOW,
    "TooManyRequests": _SLOW,
    "RequestLimitExceeded": _SLOW,
    "BandwidthLimitExceeded": _SLOW,
    "InternalError": _DOWN,
    "ServiceUnavailable": _DOWN,
    "RequestTimeout": _DOWN,
}
_STATUSES: Final[dict[int, _Row]] = {
    301: _REGION,
    400: _Row(InvalidArgument, "S3 gave no reason"),
    401: _Row(PermissionDenied),
    403: _CODES["AccessDenied"],
    404: _CODES["NoSuchKey"],
    405: _CODES["MethodNotAllowed"],
    409: _CODES["ConditionalRequestConflict"],
    411: _Row(InvalidArgument),
    412: _CODES["PreconditionFailed"],
    416: _CODES["InvalidRange"],
    429: _SLOW,
    500: _DOWN,
    501: _CODES["NotImplemented"],
    502: _DOWN,
    503: _SLOW,
    504: _DOWN,
}
# By the name of a botocore exception, the most derived first.
_LOCAL: Final[dict[str, _Row]] = {
    "NoCredentialsError": _Row(CredentialsMissing, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"),
    "PartialCredentialsError": _Row(CredentialsMissing, "an access key and its secret go together"),
    "ProfileNotFound": _Row(CredentialsMissing, "the name of a profile in ~/.aws/config"),
    "CredentialRetrievalError": _Row(SigningUnavailable),
    "MetadataRetrievalError": _Row(SigningUnavailable),
    "RefreshWithMFAUnsupportedError": _Row(SigningUnavailable),
    "TokenRetrievalError": _Row(SigningUnavailable, "aws sso login"),
    "SSOTokenLoadError": _Row(SigningUnavailable, "aws sso login"),
    "UnauthorizedSSOTokenError": _Row(SigningUnavailable, "aws sso login"),
    "NoRegionError": _Row(ConfigError, "?region="),
    "InvalidRegionError": _Row(ConfigError, "?region="),
    "ParamValidationError": _Row(InvalidArgument),
    "ReadTimeoutError": _Row(ConnectionFailed),
    "ConnectTimeoutError": _Row(ConnectionFailed),
    "EndpointConnectionError": _Row(ConnectionFailed, "is the endpoint right, and reachable from here?"),
    "ConnectionClosedError": _Row(ConnectionFailed),
    "ProxyConnectionError": _Row(ConnectionFailed, "is the proxy right?"),
    "SSLError": _Row(ConnectionFailed, "the server's certificate was refused", False),
    "ConnectionError": _Row(ConnectionFailed),
    "ResponseStreamingError": _Row(ConnectionFailed),
    "IncompleteReadError": _Row(ConnectionFailed),
    "MissingDependencyException": _Row(PluginMissing, 'pip install "boto3[crt]"'),
    "HTTPClientError": _Row(ConnectionFailed),
}


def code_of(error: Exception) -> str:
    """The provider's code of an SDK error, or its status as text; empty for other exceptions."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def retried(error: ClientError) -> bool:
    """Whether the SDK had sent the request before: the first answer may have been lost."""
    return int(error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)) > 0


def classify(error: Exception) -> Classified | None:
    """What an exception of boto3 or urllib3 means; None for what is not theirs."""
    module = type(error).__module__.partition(".")[0]
    if module == "urllib3":  # a body that is read comes from urllib3 itself
        return Classified(ConnectionFailed, f"the connection broke: {type(error).__name__}")
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, ClientError):
        return _answered(error)
    if isinstance(error, BotoCoreError):
        return _local(error)
    return None


def _answered(error: ClientError) -> Classified:
    said = error.response.get("Error", {})
    meta = error.response.get("ResponseMetadata", {})
    status = meta.get("HTTPStatusCode")
    code, message = str(said.get("Code") or ""), str(said.get("Message") or "")
    row = _CODES.get(code)
    if row is None:
        row = _STATUSES.get(status or 0) or _Row(Unavailable if (status or 0) >= 500 else InvalidArgument)
    if row.error is PermissionDenied and ("object lock" in message.lower() or "worm" in message.lower()):
        row = _CODES["ObjectLocked"]
    return Classified(
        row.error,
        message or f"S3 answered {status or code}",
        code=code or None,
        http_status=status,
        request_id=meta.get("RequestId") or None,
        retryable=row.retryable,
        hint=row.hint,
    )


def _local(error: BotoCoreError) -> Classified:
    for kind in type(error).__mro__:
        row = _LOCAL.get(kind.__name__)
        if row is not None:
            return Classified(row.error, str(error), code=type(error).__name__, retryable=row.retryable, hint=row.hint)
    return Classified(Unavailable, str(error), code=type(error).__name__, retryable=False)


def already_exists(key: str) -> AlreadyExists:
    """The error for a create-only request that found an object."""
    return AlreadyExists("there is an object at this key already", code="PreconditionFailed", http_status=412, key=key)
