"""Conditional and ranged reads (RFC 9110 sections 13 and 14), pure: headers in, a decision out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

__all__ = ["Answer", "decide", "http_date"]

_RANGE: Final = re.compile(r"bytes=\s*(?:(\d{1,19})\s*-\s*(\d{0,19})|-\s*(\d{1,19}))\s*\Z", re.IGNORECASE)
_TAGS: Final = re.compile(r'\s*(?:W/)?("[^"]*"|\*)\s*(?:,|\Z)')


@dataclass(frozen=True, slots=True)
class Answer:
    """How to answer a GET or HEAD.

    Attributes:
        status: 200, 206, 304, 412 or 416.
        start, end: The bytes ``[start, end)`` to send with 200 and 206.
        content_range: The ``Content-Range`` header, for 206 and 416.
    """

    status: int
    start: int = 0
    end: int = 0
    content_range: str | None = None


def http_date(time: datetime) -> str:
    """IMF-fixdate (RFC 9110 section 5.6.7)."""
    return format_datetime(time.astimezone(UTC).replace(microsecond=0), usegmt=True)


def decide(headers: Mapping[str, str], *, etag: str, modified: datetime, size: int) -> Answer:
    """Evaluate preconditions in the order of RFC 9110 section 13.2.2, then the range.

    Args:
        headers: The request's, lower-case names.
        etag: The object's, without quotes.
        modified: Aware.
        size: Bytes.
    """
    precondition = _precondition(headers, etag, modified)
    if precondition is not None:
        return Answer(precondition)
    whole = Answer(200, 0, size)
    asked = headers.get("range")
    if asked is None or not _same_representation(headers.get("if-range"), etag, modified):
        return whole
    found = _RANGE.match(asked.strip())
    if found is None:
        return whole  # several ranges, another unit, or nonsense: a server may ignore Range (section 14.2)
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size
        satisfiable = int(suffix) > 0 and size > 0
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return whole  # an invalid range is ignored
        satisfiable = start < size
    if not satisfiable:
        return Answer(416, content_range=f"bytes */{size}")
    return Answer(206, start, end, f"bytes {start}-{end - 1}/{size}")


def _precondition(headers: Mapping[str, str], etag: str, modified: datetime) -> int | None:
    """412 or 304 when a precondition says so."""
    if (wanted := headers.get("if-match")) is not None:
        if not _names(wanted, etag, weak=False):
            return 412
    elif (since := _date(headers.get("if-unmodified-since"))) is not None and _second(modified) > since:
        return 412
    if (known := headers.get("if-none-match")) is not None:
        if _names(known, etag, weak=True):
            return 304
    elif (since := _date(headers.get("if-modified-since"))) is not None and _second(modified) <= since:
        return 304
    return None


def _same_representation(if_range: str | None, etag: str, modified: datetime) -> bool:
    """Whether If-Range, if there is one, names this very content (strongly; a date must match exactly)."""
    if if_range is None:
        return True
    if '"' in if_range:
        return if_range.strip() == f'"{etag}"'
    return _date(if_range) == _second(modified)


def _names(field: str, etag: str, *, weak: bool) -> bool:
    return any(
        tag[1] == "*" or (tag[1] == f'"{etag}"' and (weak or "W/" not in tag[0])) for tag in _TAGS.finditer(field)
    )


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = parsedate_to_datetime(text)
    except ValueError:
        return None  # an invalid date is ignored
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _second(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(microsecond=0)
