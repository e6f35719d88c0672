"""Reading single fields of records: what cannot be read is None, or a MalformedEvent where an event cannot do without it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from blobkit.errors import MalformedEvent

__all__ = ["decode_base64", "mapping", "name", "number", "text", "time", "unquoted"]

_EMPTY: Final[Mapping[str, object]] = MappingProxyType({})
_MAX: Final = 2**63 - 1


def text(value: object) -> str | None:
    """A text that is not empty, or None."""
    return value if isinstance(value, str) and value else None


def unquoted(value: object) -> str | None:
    """An etag without its quotes, or None."""
    return (value.strip('"') or None) if isinstance(value, str) else None


def mapping(value: object) -> Mapping[str, object]:
    """A JSON object, or an empty one."""
    return value if isinstance(value, dict) else _EMPTY


def number(value: object) -> int | None:
    """A whole number from 0 on. Some providers write it as a text of digits. None for anything else."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit()) or len(value) > 19:
            return None
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX:
        return None
    return value


def time(value: object) -> datetime | None:
    """An RFC 3339 time as aware UTC, cut to microseconds; one without a zone is UTC (Azure writes some so). Or None."""
    if not isinstance(value, str):
        return None
    try:
        read = datetime.fromisoformat(value)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def name(value: object, what: str) -> str:
    """A bucket, key or type: a text that is not empty and is Unicode.

    Raises:
        MalformedEvent: It is not; without it there is no event.
    """
    if not isinstance(value, str) or not value:
        raise MalformedEvent(f"the record has no {what}")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise MalformedEvent(f"the {what} is not Unicode") from error
    return value


def decode_base64(value: str) -> bytes | None:
    """The bytes, or None when it is not standard base64. Line breaks are allowed: some clients wrap lines."""
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
