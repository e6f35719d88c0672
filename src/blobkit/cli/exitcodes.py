"""What the command's exit status says: one table, shown by ``blobkit --help``.

2 is also what a shell user expects of a wrong command line; 130 and 141 are what a shell reports of an interrupted program
and of one whose reader went away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from blobkit import errors

__all__ = [
    "FAILED",
    "INTERNAL",
    "INTERRUPTED",
    "OUTPUT_CLOSED",
    "REFUSED",
    "TABLE",
    "USAGE",
    "ExitCode",
    "code_of",
    "describe",
]

FAILED: Final = 1
REFUSED: Final = 6
USAGE: Final = 2
INTERNAL: Final = 70
INTERRUPTED: Final = 130
OUTPUT_CLOSED: Final = 141


@dataclass(frozen=True, slots=True)
class ExitCode:
    """One exit status: what it means to a script, and the errors that end with it (their subclasses too, unless listed)."""

    code: int
    meaning: str
    errors: tuple[type[BaseException], ...] = ()


TABLE: Final = (
    ExitCode(0, "success"),
    ExitCode(FAILED, "something that was to be shown did not hold (demo, conformance)", (AssertionError,)),
    ExitCode(USAGE, "the command line is wrong, or a key, size or expiry in it", (errors.InvalidArgument,)),
    ExitCode(3, "the configuration cannot work: URL, option, credentials, plugin", (errors.ConfigError,)),
    ExitCode(4, "not found: object, bucket, session", (errors.NotFound,)),
    ExitCode(
        5, "a condition failed: it exists already, or was replaced", (errors.AlreadyExists, errors.PreconditionFailed)
    ),
    ExitCode(
        REFUSED,
        "not allowed, a CDN link is refused, or the credentials cannot sign",
        (
            errors.PermissionDenied,
            errors.ObjectLocked,
            errors.SigningUnavailable,
            errors.CredentialsExpired,
            errors.ClockSkew,
            errors.InvalidToken,
            errors.UntrustedEvent,
        ),
    ),
    ExitCode(7, "this store cannot do that, or cannot enforce it", (errors.Unsupported,)),
    ExitCode(
        8,
        "the bytes or chunks are not what was promised",
        (
            errors.ConstraintViolated,
            errors.ChunkMismatch,
            errors.SessionMismatch,
            errors.ChecksumMismatch,
            errors.SourceChanged,
            errors.EventError,
        ),
    ),
    ExitCode(9, "the provider or the network cannot answer now: try again", (errors.TransientError,)),
    ExitCode(10, "a local file cannot be read or written", (OSError,)),
    ExitCode(11, "the provider refused, for a reason that is none of the above", (errors.BlobkitError,)),
    ExitCode(INTERNAL, "a fault of blobkit itself (--debug shows where)", (Exception, errors.ClosedError)),
    ExitCode(INTERRUPTED, "interrupted by Ctrl-C or SIGTERM", (KeyboardInterrupt,)),
    ExitCode(OUTPUT_CLOSED, "whoever read the output went away", (BrokenPipeError,)),
)
"""Every exit status, in order."""

_CODES: Final = {error: row.code for row in TABLE for error in row.errors}


def code_of(error: BaseException) -> int:
    """The exit status of an error: that of the nearest of its classes in the table."""
    if isinstance(error, errors.BlobkitError):  # its builtin parents (ValueError, FileNotFoundError) say less
        for kind in type(error).__mro__:
            if kind in _CODES and issubclass(kind, errors.BlobkitError):
                return _CODES[kind]
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), INTERNAL)


def describe() -> str:
    """The table as text, one line for each status."""
    return "\n".join(f"{row.code:>4}  {row.meaning}" for row in TABLE)
