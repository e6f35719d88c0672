"""Answers, and the parts of them that both APIs share: properties from headers, ranges, conditional reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import format_datetime
from typing import Final

from blobkit_gcs.testing.engine import Preconditions, Properties, Stored
from blobkit_gcs.testing.failures import Failure
from blobkit_gcs.testing.verification import Call

__all__ = ["META", "Answer", "content", "header_conditions", "header_properties", "made", "number"]

META: Final = "x-goog-meta-"
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")


@dataclass(slots=True)
class Answer:
    """One answer."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def number(text: str | None) -> int | None:
    """A whole number, or None when there is none. Raises 400."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise Failure(400, "invalid", f"not a number: {text[:40]}")
    return int(text)


def header_properties(call: Call) -> Properties:
    """What the XML API stores of a request's headers."""
    return Properties(
        content_type=call.header("content-type"),
        cache_control=call.header("cache-control"),
        content_disposition=call.header("content-disposition"),
        content_encoding=call.header("content-encoding"),
        content_language=call.header("content-language"),
        storage_class=call.header("x-goog-storage-class") or "STANDARD",
        metadata={name.removeprefix(META): value for name, value in call.headers if name.startswith(META)},
    )


def header_conditions(call: Call) -> Preconditions:
    """``x-goog-if-*``."""
    return Preconditions(
        generation=number(call.header("x-goog-if-generation-match")),
        metageneration=number(call.header("x-goog-if-metageneration-match")),
    )


def made(stored: Stored) -> Answer:
    """What the XML API says of an object that was just stored."""
    return Answer(
        200,
        {
            "etag": f'"{stored.xml_etag}"',
            "x-goog-generation": str(stored.generation),
            "x-goog-metageneration": "1",
            "x-goog-hash": f"crc32c={stored.crc32c},md5={stored.md5}",
            "x-goog-stored-content-length": str(stored.size),
        },
    )


def content(call: Call, stored: Stored, overrides: Mapping[str, str]) -> Answer:
    """GET or HEAD of an object: the whole, or a range of it (RFC 9110 sections 13 and 14)."""
    etag = f'"{stored.xml_etag}"'
    headers = {
        "content-type": stored.properties.content_type or "application/octet-stream",
        "etag": etag,
        "last-modified": format_datetime(stored.updated or stored.created, usegmt=True),
        "accept-ranges": "bytes",
        "x-goog-generation": str(stored.generation),
        "x-goog-metageneration": str(stored.metageneration),
        "x-goog-storage-class": stored.properties.storage_class,
        "x-goog-stored-content-length": str(stored.size),
        "x-goog-stored-content-encoding": stored.properties.content_encoding or "identity",
        "x-goog-hash": f"crc32c={stored.crc32c}" + (f",md5={stored.md5}" if stored.md5 else ""),
        **{META + name: value for name, value in stored.properties.metadata.items()},
    }
    optional = {
        "cache-control": stored.properties.cache_control,
        "content-disposition": stored.properties.content_disposition,
        "content-encoding": stored.properties.content_encoding,
        "content-language": stored.properties.content_language,
        **overrides,
    }
    headers.update({name: value for name, value in optional.items() if value is not None})
    if _matches(call.header("if-none-match"), etag):
        return Answer(304, headers)
    if (wanted := call.header("if-match")) is not None and not _matches(wanted, etag):
        raise Failure(412, "conditionNotMet", "If-Match does not hold.")
    if call.header("if-range") in (None, etag) and (asked := call.header("range")) is not None:
        return _part(asked, stored, headers)
    return Answer(200, headers, stored.data)


def _part(asked: str, stored: Stored, headers: dict[str, str]) -> Answer:
    found = _RANGE.match(asked.strip())
    if found is None or found[0] == "bytes=-":
        return Answer(200, headers, stored.data)  # several ranges, or nonsense: the whole
    if not found[1]:
        first, last = max(0, stored.size - int(found[2])), stored.size - 1
    else:
        first, last = int(found[1]), min(stored.size - 1, int(found[2] or stored.size))
    if first > last:
        raise Failure(
            416,
            "requestedRangeNotSatisfiable",
            "The requested range cannot be satisfied.",
            headers={"content-range": f"bytes */{stored.size}"},
        )
    headers["content-range"] = f"bytes {first}-{last}/{stored.size}"
    return Answer(206, headers, stored.data[first : last + 1])


def _matches(header: str | None, etag: str) -> bool:
    return header is not None and (header.strip() == "*" or etag in [part.strip() for part in header.split(",")])
