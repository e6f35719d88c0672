"""Many signatures that differ in the blob's name alone.

All but the name is the same for thousands of SAS, so it is computed once, in a :class:`Presigner`: the query around the
signature, and the two halves of HMAC after they have taken the key, the inner one with all of the text that comes before
the name.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from blobkit_azure.signing.sas import AccountKey, DelegationKey, Grant, canonical, query_of, string_to_sign

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

__all__ = ["Halves", "Presigner", "encode_key", "halves"]

_SPECIAL: Final = re.compile(r"[^A-Za-z0-9\-._~/]").search
_SAFE: Final = "/-._~"
_IPAD: Final = bytes(byte ^ 0x36 for byte in range(256))
_OPAD: Final = bytes(byte ^ 0x5C for byte in range(256))
_BLOCK: Final = 64
_NAME: Final = "\0"  # stands for the blob's name; no key has it

Halves = tuple["Hash", "Hash"]
"""The inner and the outer hash of HMAC-SHA256, which have taken the key."""


def encode_key(key: str) -> str:
    """The blob's name as a URL path: UTF-8, everything but ``A-Za-z0-9-._~/`` percent-encoded."""
    return quote(key, safe=_SAFE) if _SPECIAL(key) else key


def halves(key: bytes) -> Halves:
    """``HMAC(K, m) = H((K ^ opad) || H((K ^ ipad) || m))``, K padded to the block of the hash (RFC 2104)."""
    padded = (key if len(key) <= _BLOCK else sha256(key).digest()).ljust(_BLOCK, b"\0")
    return sha256(padded.translate(_IPAD)), sha256(padded.translate(_OPAD))


class Presigner:
    """The signed URLs of one grant, but for the blob's name.

    Args:
        grant: What is allowed.
        key: What signs.
        container: The container's name.
        base: What the encoded name is appended to.
        made: The halves of HMAC with this key.
        more: Parameters of the request that no SAS covers (``versionid=…``), encoded.
    """

    __slots__ = ("_base", "_inner", "_outer", "_query", "_tail")

    def __init__(
        self, grant: Grant, key: AccountKey | DelegationKey, container: str, base: str, made: Halves, more: str = ""
    ) -> None:
        head, _, self._tail = string_to_sign(grant, canonical(key.account, container, _NAME), key).partition(_NAME)
        self._base = base
        self._query = f"?{more}{query_of(grant, key)}&sig="
        self._inner = made[0].copy()
        self._inner.update(head.encode("utf-8"))
        self._outer = made[1]

    def url(self, key: str) -> str:
        """The signed URL of a blob."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(f"{key}{self._tail}".encode())
        outer.update(inner.digest())
        # 32 bytes are 43 characters, a "=" and the line feed that is added. A "/" stays, as the SDK leaves it.
        signature = b2a_base64(outer.digest())[:-2].decode().replace("+", "%2B")
        return f"{self._base}{quote(key, safe=_SAFE) if _SPECIAL(key) else key}{self._query}{signature}%3D"

    def urls(self, keys: Iterable[str]) -> Iterator[str]:
        """The same for many: what each takes from the object is taken once."""
        base, query, tail, special, base64 = self._base, self._query, self._tail, _SPECIAL, b2a_base64
        begin, finish = self._inner.copy, self._outer.copy
        for key in keys:
            inner, outer = begin(), finish()
            inner.update(f"{key}{tail}".encode())
            outer.update(inner.digest())
            signature = base64(outer.digest())[:-2].decode().replace("+", "%2B")
            yield f"{base}{quote(key, safe=_SAFE) if special(key) else key}{query}{signature}%3D"
