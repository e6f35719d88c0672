"""What every argument must be, whatever the store holds: one clear error each, before anything is signed or sent. Pure.

Expiries are in :mod:`blobkit.ops`, keys in :mod:`blobkit.keys`, constraints in :mod:`blobkit.spec`, chunk numbers and sizes in
:mod:`blobkit.chunking`; here is the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from blobkit.blobs import Checksum, Pin
from blobkit.errors import InvalidArgument, InvalidChunk

__all__ = [
    "age",
    "byte_range",
    "checksums",
    "items",
    "listing_text",
    "now_of",
    "number",
    "of_type",
    "optional",
    "pin",
    "receipts",
]

T = TypeVar("T")


def of_type(name: str, value: object, kind: type[T], hint: str | None = None) -> T:
    """The value, if it is of this type. Raises InvalidArgument."""
    if not isinstance(value, kind):
        raise InvalidArgument(f"{name} must be a {kind.__name__}, not {type(value).__name__}", hint=hint)
    return value


def optional(name: str, value: object, kind: type[T]) -> T | None:
    """The value, if it is None or of this type. Raises InvalidArgument."""
    return None if value is None else of_type(name, value, kind)


def pin(value: object, name: str = "pin") -> Pin | None:
    """The pin, or None. Raises InvalidArgument for an etag or version alone, which pins nothing by itself."""
    if value is not None and not isinstance(value, Pin):
        raise InvalidArgument(f"{name} must be a Pin, not {type(value).__name__}", hint="BlobInfo.pin, or Pin(etag=…)")
    return value


def number(name: str, value: object, *, least: int = 0) -> int:
    """A whole number that is not too small. Raises InvalidArgument."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidArgument(f"{name} must be a whole number, {least} or more")
    return value


def byte_range(start: object, end: object) -> None:
    """Raises InvalidArgument unless ``0 <= start <= end``; an ``end`` of None is the object's own."""
    first = number("start", start)
    if end is not None and number("end", end) < first:
        raise InvalidArgument("a range is 0 <= start <= end")


def items(name: str, values: Iterable[T]) -> Iterable[T]:
    """A collection that is no text: a key alone would be taken for its letters. Raises InvalidArgument."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InvalidArgument(f"{name} must be a collection, not {type(values).__name__}", hint="[one] for one")
    return values


def age(name: str, value: object) -> timedelta:
    """A duration that is not negative. Raises InvalidArgument."""
    if not isinstance(value, timedelta) or value < timedelta(0):
        raise InvalidArgument(f"{name} must be a timedelta, 0 or more", hint="timedelta(days=1)")
    return value


def listing_text(name: str, value: object) -> str:
    """The start of a key, a key to go on after, or a delimiter: UTF-8 text without control characters.

    Raises:
        InvalidArgument: It is not.
    """
    if not isinstance(value, str) or any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in value):
        raise InvalidArgument(f"a listing's {name} is UTF-8 text without control characters")
    return value


def checksums(given: object, numbers: Iterable[int]) -> Mapping[int, Checksum]:
    """Checksums by chunk number, each of a chunk that is being signed: one that is not would be dropped in silence.

    Raises:
        InvalidChunk: A checksum of a chunk that is not among them.
        InvalidArgument: Not a mapping of numbers to checksums of whole chunks.
    """
    if not given:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidArgument("checksums must be Checksums by chunk number")
    if foreign := set(given) - set(numbers):
        raise InvalidChunk(f"a checksum is given for chunk {next(iter(foreign))!r}, which is not being signed")
    for checksum in given.values():
        if not isinstance(checksum, Checksum) or checksum.composite:
            raise InvalidArgument(
                "checksums must be Checksums by chunk number", hint='{1: Checksum.of("crc32c", data)}'
            )
    return given


def receipts(given: object) -> Mapping[int, str] | None:
    """Receipts by chunk number, or None. Raises InvalidArgument."""
    if given is None:
        return None
    if not isinstance(given, Mapping) or not all(
        isinstance(key, int) and isinstance(value, str) for key, value in given.items()
    ):
        raise InvalidArgument("receipts must be texts by chunk number", hint="{1: etag, 2: etag}")
    return given


def now_of(clock: object) -> None:
    """Raises InvalidArgument unless calling the clock gives an aware datetime: another would be taken for local time."""
    now = clock() if callable(clock) else None
    if not isinstance(now, datetime) or now.tzinfo is None:
        raise InvalidArgument("clock must be a function that gives an aware datetime", hint="lambda: datetime.now(UTC)")
