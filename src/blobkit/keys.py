"""Which keys are allowed, how they are encoded in URLs, and :class:`KeyTemplate`, which makes keys that clients cannot steer.

The rules refuse only what cannot work everywhere: HTTP clients rewrite dot segments before the request leaves, providers
differ on control characters, and S3 and GCS end at 1,024 bytes. Everything else is kept byte for byte; nothing is normalised.
"""

from __future__ import annotations

import os
import re
import string
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from blobkit.errors import ConfigError, InvalidArgument, InvalidKey

__all__ = ["MAX_KEY_BYTES", "RESERVED", "KeyTemplate", "check_key", "check_prefix", "quote_key", "uuid7"]

MAX_KEY_BYTES: Final = 1024
RESERVED: Final = ".blobkit/"
"""Keys below this, at the root of a store, are blobkit's own (private staging keys); listings leave them out."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SAFE: Final = "-_.~"


def check_key(key: str) -> str:
    """Return ``key`` if it is allowed.

    Raises:
        InvalidKey: It is empty, has a ``.`` or ``..`` segment, a control character, text that is not UTF-8, is longer than
            1,024 bytes, or lies in blobkit's own ``.blobkit/``.
    """
    if not isinstance(key, str):
        raise InvalidKey(f"a key is a text, not {type(key).__name__}")
    # Almost every key is printable ASCII without a segment that begins with a dot: that needs no closer reading.
    if key.isascii() and key.isprintable() and "/." not in key and 0 < len(key) <= MAX_KEY_BYTES and key[0] != ".":
        return key
    _check_text(key)
    if key.startswith(RESERVED):
        raise InvalidKey("keys below .blobkit/ are blobkit's own", key=key)
    return key


def check_prefix(prefix: str) -> str:
    """Return ``prefix`` if it is empty, or ends in ``/``, does not start with one, and is otherwise allowed as a key.

    Raises:
        ConfigError: It is not.
    """
    if not isinstance(prefix, str):
        raise ConfigError(f"a prefix is a text, not {type(prefix).__name__}")
    if prefix == "":
        return prefix
    if prefix.startswith("/") or not prefix.endswith("/"):
        raise ConfigError(f"a prefix ends in '/' and does not start with one: {prefix!r}")
    try:
        _check_text(prefix)
    except InvalidKey as error:
        raise ConfigError(f"not a prefix: {error.message}") from error
    return prefix


def _check_text(key: str) -> None:
    if not key:
        raise InvalidKey("a key cannot be empty", key=key)
    try:
        size = len(key.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise InvalidKey("a key must be UTF-8 text: it has a lone surrogate") from error
    if size > MAX_KEY_BYTES:
        raise InvalidKey(f"the key has {size} bytes in UTF-8; the limit is {MAX_KEY_BYTES}", key=key[:64] + "…")
    if found := _CONTROL.search(key):
        raise InvalidKey(f"the key has the control character U+{ord(found.group()):04X}", key=repr(key))
    for segment in key.split("/"):
        if segment in (".", ".."):
            raise InvalidKey(
                "the key has a '.' or '..' segment: HTTP clients rewrite it before the request leaves", key=key
            )


def quote_key(key: str) -> str:
    """The key as a URL path: every byte but ``A-Za-z0-9-_.~/`` percent-encoded, upper-case hex (RFC 3986 section 2.3).

    This is the form that no HTTP client rewrites.
    """
    return quote(key, safe="/" + _SAFE)


def uuid7(now: datetime | None = None) -> uuid.UUID:
    """A UUID version 7 (RFC 9562 section 5.7): 48 bits of milliseconds, 74 random bits from the operating system."""
    millis = time.time_ns() // 1_000_000 if now is None else int(now.timestamp() * 1000)
    random = int.from_bytes(os.urandom(10), "big")
    value = (
        (millis & (1 << 48) - 1) << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    )
    return uuid.UUID(int=value)


class KeyTemplate:
    """Makes keys on the server's terms: ``KeyTemplate("uploads/{owner}/{date:%Y/%m/%d}/{uuid7}{ext}")``.

    Fields: ``{uuid7}`` or ``{uuid4}`` (one of them is required: a key must not be guessable), ``{date:strftime}``,
    ``{ext}`` (the extension of the client's file name, lower-case ASCII letters and digits, at most 10, else nothing), and
    any other name, which the service fills in ``render``. A value is one segment: it cannot contain ``/``, be a dot
    segment, or be longer than 128 bytes, so that neither owner nor file name can steer where the object goes.

    Raises:
        ConfigError: The template is not one: an unknown syntax, no unguessable field, or a key that could never be valid.
    """

    __slots__ = ("_parts", "names", "text")

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise ConfigError(f"a key template is a text, not {type(text).__name__}")
        self.text = text
        try:
            self._parts = [
                (literal, field, spec or "")
                for literal, field, spec, conversion in string.Formatter().parse(text)
                if not conversion or _no_conversion(conversion)
            ]
        except ValueError as error:
            raise ConfigError(f"not a key template: {text!r}: {error}") from error
        fields = [field for _, field, _ in self._parts if field is not None]
        if bad := [field for field in fields if not re.fullmatch(r"[a-z][a-z0-9_]*", field)]:
            raise ConfigError(f"not a field of a key template: {bad[0]!r}")
        if bad := [field for _, field, spec in self._parts if field is not None and spec and field != "date"]:
            raise ConfigError(f"only {{date:…}} takes a format, not {bad[0]!r}")
        if not {"uuid7", "uuid4"} & set(fields):
            raise ConfigError("a key template needs {uuid7} or {uuid4}: keys must not be guessable")
        self.names = frozenset(fields) - {"uuid7", "uuid4", "date", "ext"}
        self.render(filename="a.b", values=dict.fromkeys(self.names, "x"))

    def __repr__(self) -> str:
        return f"KeyTemplate({self.text!r})"

    def render(
        self,
        *,
        owner: str = "",
        filename: str = "",
        values: Mapping[str, str] | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> str:
        """A fresh key.

        Args:
            owner: Fills ``{owner}``.
            filename: The client's name for the file; only its extension is used.
            values: Fills every other field.
            clock: Gives the time for ``{date}`` and ``{uuid7}``.

        Raises:
            InvalidArgument: A field is missing, or has a value that is not one plain segment.
        """
        now = clock() if clock else datetime.now(UTC)
        if now.tzinfo is None:
            raise InvalidArgument("clock must give an aware datetime", hint="lambda: datetime.now(UTC)")
        if not isinstance(filename, str):
            raise InvalidArgument("filename must be a text")
        given = {**(values or {}), **({"owner": owner} if owner else {})}
        out: list[str] = []
        for literal, field, spec in self._parts:
            out.append(literal)
            if field is None:
                continue
            match field:
                case "uuid7":
                    out.append(str(uuid7(now)))
                case "uuid4":
                    out.append(str(uuid.uuid4()))
                case "date":
                    out.append(now.strftime(spec or "%Y-%m-%d"))
                case "ext":
                    out.append(_extension(filename))
                case _:
                    if field not in given:
                        raise InvalidArgument(f"the key template needs a value for {{{field}}}")
                    out.append(_segment(field, given[field]))
        return check_key("".join(out))


def _no_conversion(conversion: str) -> bool:
    raise ValueError(f"!{conversion} is not allowed")


def _segment(name: str, value: str) -> str:
    if (
        not isinstance(value, str)
        or not value
        or "/" in value
        or "\\" in value
        or value in (".", "..")
        or len(value.encode("utf-8", "replace")) > 128
    ):
        raise InvalidArgument(f"the value of {{{name}}} must be one plain path segment of at most 128 bytes")
    return value


def _extension(filename: str) -> str:
    name = filename.replace("\\", "/").rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    if dot and stem and re.fullmatch(r"[A-Za-z0-9]{1,10}", extension):
        return "." + extension.lower()
    return ""
