"""The texts of signatures, read strictly: exactly one text for each value, so that no changed byte goes unnoticed."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from typing import Final

from blobkit.cdn.model import Refusal, Refused

__all__ = ["padded", "read_base64", "read_base64url", "read_hex", "read_number", "unpadded"]

_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


def padded(value: bytes) -> str:
    """base64url with padding."""
    return binascii.b2a_base64(value, newline=False).translate(_URL_SAFE).decode("ascii")


def unpadded(value: bytes) -> str:
    """base64url without padding."""
    return binascii.b2a_base64(value, newline=False).translate(_URL_SAFE, b"=").decode("ascii")


def read_base64url(text: str, *, padding: bool | None = None) -> bytes:
    """base64url, with or without padding; ``None``: either. Raises Refused."""
    bare = text.rstrip("=")
    try:
        value = b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        value = b""
    forms = {True: (padded(value),), False: (unpadded(value),), None: (padded(value), unpadded(value))}
    if not value or text not in forms[padding]:
        raise Refused(Refusal.MALFORMED, "the signature is not base64url")
    return value


def read_base64(text: str) -> bytes:
    """The standard base64. Raises Refused."""
    try:
        value = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if not value or b64encode(value).decode("ascii") != text:
        raise Refused(Refusal.MALFORMED, "the signature is not base64")
    return value


def read_hex(text: str) -> bytes:
    """Hexadecimal in lower case. Raises Refused."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if not value or value.hex() != text:
        raise Refused(Refusal.MALFORMED, "the signature is not hexadecimal")
    return value


def read_number(text: str, name: str) -> int:
    """A number of seconds. Raises Refused."""
    if not text.isascii() or not text.isdecimal() or len(text) > 12 or (text[0] == "0" and text != "0"):
        raise Refused(Refusal.MALFORMED, f"{name} is not a number")
    return int(text)
