"""URLs in the one form that no HTTP client rewrites: what is signed is then what the edge sees.

urllib3, httpx, aiohttp, curl and browsers each "repair" URLs their own way: some encode characters that others leave, and
yarl (aiohttp) decodes what need not be encoded. One form passes through all of them: unreserved characters and the
sub-delimiters literal, everything else percent-encoded in upper case. An input is brought to it, without encoding twice; what
an edge could take for something else is refused: fragments, dot segments, control characters, a ``%`` that starts no escape.

``+`` and ``%2B`` differ (S3 reads ``+`` as a space) and stay as they are, like ``%2F``, and in a query ``%26 %3B %3D``.
The apostrophe in a query has no form that survives everywhere: browsers encode it, aiohttp decodes it; ``%27`` is used.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from blobkit.errors import InvalidArgument

__all__ = ["MAX_URL", "PLAIN_PATH", "check_host", "query_names", "quote_path", "split_url", "wire_path", "wire_query"]

MAX_URL: Final = 8192
"""The longest URL that CloudFront takes, and longer than most servers do."""

_PATH_LITERAL: Final = "-._~!$&'()*,:;=@"
_QUERY_LITERAL: Final = "-._~!$()*,:@/?"
PLAIN_PATH: Final = re.compile(r"/(?!/)[A-Za-z0-9\-._~!$&'()*,:;=@/+]*\Z").match
"""A path that is in its form already, but for dot segments: those have ``/.`` in them."""

_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:.]+\])"
    r"(?::[0-9]{1,5})?\Z"
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PIECE: Final = re.compile(r"%([0-9A-Fa-f]{2})|(%)|([^%]+)")


def check_host(host: str) -> str:
    """The host, with its port if it has one, in lower case.

    Raises:
        InvalidArgument: It is not one, or not in ASCII.
    """
    if not _HOST.match(host):
        raise InvalidArgument(
            f"not a host: {host!r}", hint="HOST or HOST:PORT; international names in punycode (xn--…)"
        )
    return host.lower()


def split_url(url: str) -> tuple[str, str, str | None]:
    """``https://host``, path and query (None without a ``?``) of an absolute URL, as they are written.

    Raises:
        InvalidArgument: No absolute http(s) URL, or one with a fragment or user information.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise InvalidArgument("not an http or https URL", hint="https://cdn.example/videos/42.mp4, or /videos/42.mp4")
    if "#" in rest:
        raise InvalidArgument("a signed URL has no fragment", hint="write '#' as %23")
    rest, question, query = rest.partition("?")
    host, slash, path = rest.partition("/")
    if "@" in host:
        raise InvalidArgument("a signed URL carries no user or password")
    return f"{scheme.lower()}://{check_host(host)}", slash + path, query if question else None


def wire_path(path: str, *, star: bool = True) -> str:
    """A path, which starts with ``/``, in the form that no client rewrites. See this module.

    Args:
        path: As a URL has it: ``%XX`` is an escape.
        star: Leave ``*`` literal; else it becomes ``%2A``, where it would be taken for a wildcard.

    Raises:
        InvalidArgument: It cannot be in such a form.
    """
    if path.startswith("//"):
        raise InvalidArgument("a path does not start with '//': clients take what follows for a host")
    out = _wire(path, _PATH_LITERAL if star else _PATH_LITERAL.replace("*", ""), "/+", "path")
    if "/." in out and any(segment in (".", "..") for segment in out.split("/")):
        raise InvalidArgument("a path with a '.' or '..' segment: clients rewrite it before the request leaves")
    return out


def wire_query(query: str, reserved: Collection[str]) -> str:
    """A query in the form that no client rewrites.

    Args:
        query: As a URL has it, without the ``?``.
        reserved: Names that the CDN keeps for its signature.

    Raises:
        InvalidArgument: It cannot be, or it has a reserved name.
    """
    out = _wire(query, _QUERY_LITERAL, "&=;+", "query")
    if taken := [name for name in query_names(out) if name in reserved]:
        raise InvalidArgument(f"the URL has a parameter {taken[0]!r}, which this CDN keeps for its signature")
    return out


def query_names(query: str) -> list[str]:
    """The names in a query, decoded."""
    return [
        unquote_to_bytes(pair.partition("=")[0].replace("+", " ")).decode("utf-8", "replace")
        for pair in re.split("[&;]", query)
    ]


def quote_path(key: str) -> str:
    """A key as part of a path, in the form that no client rewrites: ``+`` becomes ``%2B``, ``?`` ``%3F``, ``%`` ``%25``."""
    return quote(key, safe="/" + _PATH_LITERAL)


def _wire(text: str, literal: str, kept: str, what: str) -> str:
    """``literal``: characters with one form, decoded. ``kept``: characters that mean something else when encoded."""
    if found := _CONTROL.search(text):
        raise InvalidArgument(f"the {what} has the control character U+{ord(found.group()):04X}")
    out: list[str] = []
    try:
        for escape, lonely, rest in _PIECE.findall(text):
            if rest:
                out.append(quote(rest, safe=literal + kept))
            elif lonely:
                raise InvalidArgument(f"the {what} has a '%' that starts no escape", hint="write '%' as %25")
            else:
                out.append(_escaped(int(escape, 16), literal, what))
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"the {what} must be UTF-8 text: it has a lone surrogate") from error
    return "".join(out)


def _escaped(byte: int, literal: str, what: str) -> str:
    if byte < 0x20 or byte == 0x7F:
        raise InvalidArgument(f"the {what} has the control character U+{byte:04X}")
    char = chr(byte)
    return char if byte < 0x80 and (char.isalnum() or char in literal) else f"%{byte:02X}"
