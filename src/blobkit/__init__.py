"""blobkit: let clients move large files straight to and from object storage, whichever cloud stands behind it.

Names are resolved when they are first used: ``import blobkit`` costs a few milliseconds and loads no SDK.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from blobkit import aio as aio
    from blobkit import errors as errors
    from blobkit.backend import Backend, Capabilities, Feature, Limits, Signer
    from blobkit.blobs import AbortResult, BlobInfo, Checksum, DeleteResult, PendingUpload, Pin, Prefix
    from blobkit.cdn.base import Cdn
    from blobkit.cdn.grants import PrefixGrant
    from blobkit.cdn.model import CdnCapabilities, Refusal, Restrictions, SignedCookie, Verdict
    from blobkit.cdn.opening import open_cdn
    from blobkit.chunking import Chunk, ChunkPlan
    from blobkit.errors import (
        AlreadyExists,
        BlobkitError,
        BlobNotFound,
        BucketNotFound,
        ChecksumMismatch,
        ChunkMismatch,
        ClockSkew,
        ClosedError,
        ConfigError,
        ConnectionFailed,
        ConstraintViolated,
        CredentialsExpired,
        CredentialsMissing,
        EventError,
        InvalidArgument,
        InvalidChunk,
        InvalidExpiry,
        InvalidKey,
        InvalidToken,
        MalformedEvent,
        NotFound,
        ObjectLocked,
        PermissionDenied,
        PluginMissing,
        PreconditionFailed,
        SealingKeyMissing,
        SessionExpired,
        SessionMismatch,
        SessionNotFound,
        SigningUnavailable,
        SourceChanged,
        Throttled,
        TransientError,
        Unavailable,
        UnenforceableConstraint,
        UnknownOption,
        UnknownScheme,
        Unsupported,
        UntrustedEvent,
    )
    from blobkit.events.model import BlobEvent, EventKind
    from blobkit.events.parse import ParsedEvents, parse_events
    from blobkit.events.sources import Delivery, Source, open_events
    from blobkit.keys import KeyTemplate
    from blobkit.kit import Kit, load
    from blobkit.opening import open_store
    from blobkit.plans import PlanLinks, UploadPlan
    from blobkit.plugins.spec import Observer
    from blobkit.redaction import RedactingFilter, Secret
    from blobkit.sealing import Keyring, SealingKey
    from blobkit.session import SessionStatus, UploadSession
    from blobkit.signed import SignedChunk, SignedRequest, SignedUrl
    from blobkit.spec import Constraint, Enforcement, GiB, KiB, MiB, Route, TiB, UploadSpec
    from blobkit.store import Store

_HOMES: Final[dict[str, tuple[str, ...]]] = {
    "backend": ("Backend", "Capabilities", "Feature", "Limits", "Signer"),
    "blobs": ("AbortResult", "BlobInfo", "Checksum", "DeleteResult", "PendingUpload", "Pin", "Prefix"),
    "cdn.base": ("Cdn",),
    "cdn.grants": ("PrefixGrant",),
    "cdn.model": ("CdnCapabilities", "Refusal", "Restrictions", "SignedCookie", "Verdict"),
    "cdn.opening": ("open_cdn",),
    "chunking": ("Chunk", "ChunkPlan"),
    "errors": (
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
    ),
    "events.model": ("BlobEvent", "EventKind"),
    "events.parse": ("ParsedEvents", "parse_events"),
    "events.sources": ("Delivery", "Source", "open_events"),
    "keys": ("KeyTemplate",),
    "kit": ("Kit", "load"),
    "plans": ("PlanLinks", "UploadPlan"),
    "plugins.spec": ("Observer",),
    "redaction": ("RedactingFilter", "Secret"),
    "sealing": ("Keyring", "SealingKey"),
    "session": ("SessionStatus", "UploadSession"),
    "signed": ("SignedChunk", "SignedRequest", "SignedUrl"),
    "spec": ("Constraint", "Enforcement", "GiB", "KiB", "MiB", "Route", "TiB", "UploadSpec"),
    "opening": ("open_store",),
    "store": ("Store",),
}
_MODULES: Final = ("aio", "errors")
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}

__version__: Final = "0.1.0"
__all__ = [
    "AbortResult",
    "AlreadyExists",
    "Backend",
    "BlobEvent",
    "BlobInfo",
    "BlobNotFound",
    "BlobkitError",
    "BucketNotFound",
    "Capabilities",
    "Cdn",
    "CdnCapabilities",
    "Checksum",
    "ChecksumMismatch",
    "Chunk",
    "ChunkMismatch",
    "ChunkPlan",
    "ClockSkew",
    "ClosedError",
    "ConfigError",
    "ConnectionFailed",
    "Constraint",
    "ConstraintViolated",
    "CredentialsExpired",
    "CredentialsMissing",
    "DeleteResult",
    "Delivery",
    "Enforcement",
    "EventError",
    "EventKind",
    "Feature",
    "GiB",
    "InvalidArgument",
    "InvalidChunk",
    "InvalidExpiry",
    "InvalidKey",
    "InvalidToken",
    "KeyTemplate",
    "Keyring",
    "KiB",
    "Kit",
    "Limits",
    "MalformedEvent",
    "MiB",
    "NotFound",
    "ObjectLocked",
    "Observer",
    "ParsedEvents",
    "PendingUpload",
    "PermissionDenied",
    "Pin",
    "PlanLinks",
    "PluginMissing",
    "PreconditionFailed",
    "Prefix",
    "PrefixGrant",
    "RedactingFilter",
    "Refusal",
    "Restrictions",
    "Route",
    "SealingKey",
    "SealingKeyMissing",
    "Secret",
    "SessionExpired",
    "SessionMismatch",
    "SessionNotFound",
    "SessionStatus",
    "SignedChunk",
    "SignedCookie",
    "SignedRequest",
    "SignedUrl",
    "Signer",
    "SigningUnavailable",
    "Source",
    "SourceChanged",
    "Store",
    "Throttled",
    "TiB",
    "TransientError",
    "Unavailable",
    "UnenforceableConstraint",
    "UnknownOption",
    "UnknownScheme",
    "Unsupported",
    "UntrustedEvent",
    "UploadPlan",
    "UploadSession",
    "UploadSpec",
    "Verdict",
    "__version__",
    "aio",
    "errors",
    "load",
    "open_cdn",
    "open_events",
    "open_store",
    "parse_events",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        value: object = importlib.import_module(f"blobkit.{name}")
    elif name in _HOME_OF:
        value = getattr(importlib.import_module(f"blobkit.{_HOME_OF[name]}"), name)
    else:
        raise AttributeError(f"module 'blobkit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
