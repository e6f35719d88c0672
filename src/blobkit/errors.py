"""Every error that blobkit raises, in one tree.

::

    BlobkitError                      provider · operation · key · code · http_status · request_id · retryable · hint
    ├── ConfigError                   the configuration cannot work; nothing was contacted
    │   ├── UnknownScheme             no installed plugin has this URL scheme
    │   ├── UnknownOption             the provider has no such option
    │   ├── PluginMissing             the plugin is known, what it needs is not installed
    │   ├── CredentialsMissing        no credentials were found where the provider looks for them
    │   └── SealingKeyMissing         a session token was asked for and no key seals it
    ├── ClosedError                   the store, kit or session was closed
    ├── InvalidArgument (ValueError)  the call is wrong, whatever the store holds
    │   ├── InvalidKey · InvalidExpiry · InvalidChunk
    ├── Unsupported                   this store cannot do this (also what ``require=`` raises)
    │   └── UnenforceableConstraint   a constraint that nobody would enforce
    ├── InvalidToken                  reason: tampered | foreign | expired | newer
    ├── SigningUnavailable · CredentialsExpired · ClockSkew
    ├── NotFound
    │   ├── BlobNotFound (FileNotFoundError) · BucketNotFound · SessionNotFound · SessionExpired
    ├── AlreadyExists (FileExistsError) · PreconditionFailed · PermissionDenied · ObjectLocked
    ├── ConstraintViolated · ChunkMismatch · SessionMismatch · ChecksumMismatch · SourceChanged
    ├── TransientError                retryable
    │   ├── Throttled · Unavailable · ConnectionFailed
    └── EventError
        ├── MalformedEvent · UntrustedEvent

The same cause has the same class on every provider. Every class pickles with its attributes; the SDK's own error, when
there is one, is ``__cause__``. Builtin parents are exactly those shown in brackets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal, Self

__all__ = [
    "AlreadyExists",
    "BlobNotFound",
    "BlobkitError",
    "BucketNotFound",
    "ChecksumMismatch",
    "ChunkMismatch",
    "ClockSkew",
    "ClosedError",
    "ConfigError",
    "ConnectionFailed",
    "ConstraintViolated",
    "CredentialsExpired",
    "CredentialsMissing",
    "EventError",
    "InvalidArgument",
    "InvalidChunk",
    "InvalidExpiry",
    "InvalidKey",
    "InvalidToken",
    "MalformedEvent",
    "NotFound",
    "ObjectLocked",
    "PermissionDenied",
    "PluginMissing",
    "PreconditionFailed",
    "SealingKeyMissing",
    "SessionExpired",
    "SessionMismatch",
    "SessionNotFound",
    "SigningUnavailable",
    "SourceChanged",
    "Throttled",
    "TransientError",
    "Unavailable",
    "UnenforceableConstraint",
    "UnknownOption",
    "UnknownScheme",
    "Unsupported",
    "UntrustedEvent",
]

TokenReason = Literal["tampered", "foreign", "expired", "newer"]


class BlobkitError(Exception):
    """The parent of every error of this library.

    Attributes:
        message: What went wrong, in one sentence, without secrets.
        provider: ``s3 | gcs | azure | local | memory``, or None before a provider is known.
        operation: The verb that failed, as it is named in the API (``"sign_upload"``).
        key: The key concerned, relative to the store's prefix.
        code: The provider's own error code, verbatim (``"NoSuchUpload"``).
        http_status: The provider's HTTP status.
        request_id: The provider's request id, for its support.
        retryable: Whether the same call may succeed later without a change by the caller.
        hint: What to do about it, in one sentence.
    """

    retryable: bool = False

    def __init__(
        self,
        message: str = "",
        *,
        provider: str | None = None,
        operation: str | None = None,
        key: str | None = None,
        code: str | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
        retryable: bool | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.operation = operation
        self.key = key
        self.code = code
        self.http_status = http_status
        self.request_id = request_id
        if retryable is not None:
            self.retryable = retryable
        self.hint = hint

    def __str__(self) -> str:
        """The message, then what is known of the provider's answer, then the hint."""
        known = [
            f"{name}={value}"
            for name, value in (
                ("provider", self.provider),
                ("operation", self.operation),
                ("key", None if self.key is None else repr(self.key)),
                ("code", self.code),
                ("http_status", self.http_status),
                ("request_id", self.request_id),
            )
            if value is not None
        ]
        text = self.message or type(self).__name__
        if known:
            text += f" ({', '.join(known)})"
        if self.hint:
            text += f". Hint: {self.hint}"
        return text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        # Exceptions pickle by calling cls(*args), which would lose every keyword; OSError parents have rules of their own.
        return _rebuild, (type(self), dict(self.__dict__))

    def located(self, *, provider: str | None = None, operation: str | None = None, key: str | None = None) -> Self:
        """Fill in where it happened, without overwriting what is known already; return self."""
        if self.provider is None:
            self.provider = provider
        if self.operation is None:
            self.operation = operation
        if self.key is None:
            self.key = key
        return self


def _rebuild(cls: type[BlobkitError], state: dict[str, object]) -> BlobkitError:
    error = cls.__new__(cls)
    error.__dict__.update(state)
    error.args = (state.get("message", ""),)
    return error


# --- configuration --------------------------------------------------------------------------------------------------


class ConfigError(BlobkitError):
    """The configuration cannot work. Raised before anything is contacted."""


class UnknownScheme(ConfigError):
    """No installed plugin has this URL scheme; the message lists those that are installed."""


class UnknownOption(ConfigError):
    """The provider has no such option; the message names the nearest one."""


class PluginMissing(ConfigError):
    """The plugin is known, but a package that it needs is not installed; the hint is the ``pip install`` that helps."""


class CredentialsMissing(ConfigError):
    """No credentials were found in any of the places where the provider looks for them."""


class SealingKeyMissing(ConfigError):
    """A session token was asked for, and there is no key to seal it with."""


class ClosedError(BlobkitError):
    """The store, kit, CDN or session has been closed."""


# --- the caller's fault ---------------------------------------------------------------------------------------------


class InvalidArgument(BlobkitError, ValueError):
    """The call is wrong whatever the store holds. Raised before any I/O."""


class InvalidKey(InvalidArgument):
    """The key breaks a rule of :mod:`blobkit.keys`, or of the provider."""


class InvalidExpiry(InvalidArgument):
    """The expiry is missing, doubled, in the past, too long, or longer than the credentials live."""


class InvalidChunk(InvalidArgument):
    """No such chunk in this plan, or a chunk size that the provider's limits do not allow."""


class Unsupported(BlobkitError):
    """This store cannot do this. ``features`` names what lacks."""

    features: tuple[str, ...] = ()

    def __init__(
        self,
        message: str = "",
        *,
        features: Iterable[str] = (),
        provider: str | None = None,
        operation: str | None = None,
        key: str | None = None,
        code: str | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
        retryable: bool | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(
            message,
            provider=provider,
            operation=operation,
            key=key,
            code=code,
            http_status=http_status,
            request_id=request_id,
            retryable=retryable,
            hint=hint,
        )
        self.features = tuple(features)


class UnenforceableConstraint(Unsupported):
    """A constraint that nobody would enforce; nothing was signed.

    Attributes:
        constraint: The constraint's name (``"max_size"``).
        alternatives: What would work instead, one sentence each.
    """

    def __init__(self, constraint: str, *, provider: str, alternatives: Collection[str] = (), why: str = "") -> None:
        text = f"{provider} cannot enforce {constraint} on this request"
        if why:
            text += f": {why}"
        super().__init__(
            text,
            features=(constraint,),
            provider=provider,
            hint="; or ".join(alternatives) or None,
        )
        self.constraint = constraint
        self.alternatives = tuple(alternatives)


class InvalidToken(BlobkitError):
    """A session token was refused.

    Attributes:
        reason: ``tampered`` (not sealed by any key of the ring, or changed), ``foreign`` (another store, key, owner or
            purpose), ``expired``, or ``newer`` (sealed by a later version of the library).
    """

    def __init__(self, reason: TokenReason, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message or f"the token is {reason}", hint=hint)
        self.reason: TokenReason = reason


# --- credentials ----------------------------------------------------------------------------------------------------


class SigningUnavailable(BlobkitError):
    """These credentials cannot sign (no private key and no right to ask for a signature); the hint is the remedy."""


class CredentialsExpired(BlobkitError):
    """The provider refused expired credentials, or they end before anything useful could be signed."""


class ClockSkew(BlobkitError):
    """The provider refused the request because the clocks differ."""


# --- what the store holds -------------------------------------------------------------------------------------------


class NotFound(BlobkitError):
    """What the call names does not exist."""


class BlobNotFound(NotFound, FileNotFoundError):
    """No object at this key (or not this version of it)."""


class BucketNotFound(NotFound):
    """No such bucket or container, or these credentials may not know of it."""


class SessionNotFound(NotFound):
    """The chunked session was aborted, or another upload took its key, or it never was."""


class SessionExpired(NotFound):
    """The provider has dropped the chunked session because it grew too old."""


class AlreadyExists(BlobkitError, FileExistsError):
    """``if_absent`` was asked for, and another object is there. Never raised for an object that is our own."""


class PreconditionFailed(BlobkitError):
    """The object is not, or no longer, the one that was named by its pin, etag or version."""


class PermissionDenied(BlobkitError):
    """The provider refused these credentials, or this signed request."""


class ObjectLocked(BlobkitError):
    """A retention rule or legal hold forbids the change."""


class ConstraintViolated(BlobkitError):
    """The object breaks a constraint that was to be verified at completion.

    Attributes:
        constraint: The constraint's name.
        expected: What was asked for, as text.
        actual: What the provider holds, as text.
    """

    constraint: str = ""
    expected: str = ""
    actual: str = ""

    def __init__(
        self, constraint: str, *, expected: object, actual: object, key: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(f"{constraint} is {actual}, not {expected}", key=key, hint=hint)
        self.constraint = constraint
        self.expected = str(expected)
        self.actual = str(actual)


class ChunkMismatch(BlobkitError):
    """The provider's list of chunks is not the plan's. ``missing`` and ``wrong`` name chunk numbers."""

    missing: tuple[int, ...] = ()
    wrong: tuple[int, ...] = ()

    def __init__(
        self,
        message: str = "",
        *,
        missing: Iterable[int] = (),
        wrong: Iterable[int] = (),
        key: str | None = None,
        code: str | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
        retryable: bool | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(
            message,
            key=key,
            code=code,
            http_status=http_status,
            request_id=request_id,
            retryable=retryable,
            hint=hint,
        )
        self.missing = tuple(missing)
        self.wrong = tuple(wrong)


class SessionMismatch(BlobkitError):
    """The session and what it is used for do not belong together (another size, another key, a lost race)."""


class ChecksumMismatch(BlobkitError):
    """The bytes are not those that the checksum promises."""


class SourceChanged(BlobkitError):
    """The source was changed while it was read."""


# --- the network and the provider -----------------------------------------------------------------------------------


class TransientError(BlobkitError):
    """Try again later: nothing is known to be wrong with the call."""

    retryable = True


class Throttled(TransientError):
    """Too many requests."""


class Unavailable(TransientError):
    """The provider answered that it cannot answer now (5xx)."""


class ConnectionFailed(TransientError):
    """No connection, no reply in time, or a reply that broke off."""


class EventError(BlobkitError):
    """A storage event could not be used."""


class MalformedEvent(EventError):
    """Not an event that any dialect knows, or one with a field that cannot be read."""


class UntrustedEvent(EventError):
    """An event whose origin could not be proven."""
