"""Percent-encoding as Signature Version 4 wants it: everything but ``A-Za-z0-9-._~``, UTF-8, upper-case hex.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html (UriEncode). Keys are encoded once, segment by
segment, and never normalised: ``a//b`` and ``a/`` stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

__all__ = ["encode_key", "encode_query", "encode_value"]

_SPECIAL: Final = re.compile(r"[^A-Za-z0-9\-._~/]").search


def encode_key(key: str) -> str:
    """The key as a URL path, slashes kept."""
    return quote(key, safe="/-._~") if _SPECIAL(key) else key


def encode_value(text: str) -> str:
    """A query parameter's name or value, slashes encoded."""
    return quote(text, safe="-._~")


def encode_query(parameters: Iterable[tuple[str, str]]) -> str:
    """``name=value&…`` in the order given; an empty value keeps its ``=``."""
    return "&".join(f"{encode_value(name)}={encode_value(value)}" for name, value in parameters)
