"""Block ids. Pure.

All uncommitted blocks of a blob must have ids of one length, at most 64 bytes before base64
(https://learn.microsoft.com/rest/api/storageservices/put-block). Ours have 36: 26 of the session's nonce, a letter, and nine
more characters::

    NONCE c 000000001     a chunk: its number
    NONCE s 0692a1b2c     the mark of an open session: when it was started, hexadecimal seconds since the epoch

The mark is the session: Azure has no call that starts an upload, and without a mark nobody could tell a session that has no
block yet from one that was aborted.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import Final, NamedTuple

__all__ = [
    "ID_LENGTH",
    "NONCE_LENGTH",
    "Block",
    "chunk_id",
    "mark_id",
    "nonce_of",
    "parse_id",
    "query_prefix",
    "query_suffix",
]

NONCE_LENGTH: Final = 26
ID_LENGTH: Final = 36
_CHUNK: Final = "c"
_MARK: Final = "s"


class Block(NamedTuple):
    """What an id of ours says: whose block it is, and its number; the mark has number 0, and a start."""

    nonce: str
    number: int
    started: int | None = None


def nonce_of(upload_id: str) -> str:
    """The nonce of an upload: the first 104 of its 128 random bits."""
    return upload_id[:NONCE_LENGTH]


def chunk_id(nonce: str, number: int) -> str:
    """The id of a chunk, before base64."""
    return f"{nonce}{_CHUNK}{number:09d}"


def mark_id(nonce: str, started: int) -> str:
    """The id of a session's mark, before base64."""
    return f"{nonce}{_MARK}{started:09x}"


def parse_id(text: str) -> Block | None:
    """What an id says; None when it is not one of ours."""
    nonce, kind, rest = text[:NONCE_LENGTH], text[NONCE_LENGTH : NONCE_LENGTH + 1], text[NONCE_LENGTH + 1 :]
    if len(text) != ID_LENGTH or not _hexadecimal(nonce):
        return None
    if kind == _CHUNK and rest.isascii() and rest.isdigit():
        return Block(nonce, int(rest))
    if kind == _MARK and _hexadecimal(rest):
        return Block(nonce, 0, int(rest, 16))
    return None


def _hexadecimal(text: str) -> bool:
    return all(letter in "0123456789abcdef" for letter in text)


def query_prefix(nonce: str) -> str:
    """What the encoded ids of a session's chunks start with. 27 bytes are nine groups of base64: there is nothing to escape."""
    return b2a_base64(f"{nonce}{_CHUNK}".encode("ascii"), newline=False).decode("ascii")


def query_suffix(number: int) -> str:
    """What the encoded id of this chunk ends with."""
    return b2a_base64(b"%09d" % number, newline=False).decode("ascii")
