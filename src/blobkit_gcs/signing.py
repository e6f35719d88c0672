"""V4 signatures of Cloud Storage: pure functions of key, clock and request, without any SDK.

Signed URLs: https://cloud.google.com/storage/docs/authentication/signatures and …/canonical-requests. POST policies:
https://cloud.google.com/storage/docs/authentication/signatures#policy-document. The tests hold every byte equal to what
google-cloud-storage signs.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

from blobkit.errors import ConfigError
from blobkit_gcs.hosts import Site

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

__all__ = ["HmacKey", "RsaKey", "Shape", "SigningKey", "Window", "policy_fields", "sign_url", "window"]

_REQUEST: Final = "auto/storage/goog4_request"
_REMEMBERED: Final = 1024
_BLOCK: Final = 64  # bytes that SHA-256 reads at a time
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


class SigningKey(Protocol):
    """What signs: a key, or a service that has one.

    Attributes:
        algorithm: ``GOOG4-RSA-SHA256`` or ``GOOG4-HMAC-SHA256``.
        identity: The account's e-mail, or the access id of the HMAC key.
    """

    @property
    def algorithm(self) -> str:
        """As it stands in signatures."""
        ...

    @property
    def identity(self) -> str:
        """Who signs."""
        ...

    def sign(self, text: bytes, date: str) -> str:
        """The signature in lower-case hexadecimal; ``date`` is ``YYYYMMDD``."""
        ...


@lru_cache(maxsize=8)
def _parsed(pem: str) -> RSAPrivateKey:
    """The key, parsed and validated once for the process: that takes as long as some thirty signatures."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode("ascii"), password=None)
    except (ValueError, TypeError):
        raise ConfigError("the service account's private key cannot be read", hint="make a new JSON key") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigError("the service account's private key is not an RSA key")
    return key


class RsaKey:
    """A service account's private key. Prints no key.

    Raises:
        ConfigError: The text is not an RSA private key in PEM.
    """

    __slots__ = ("_hash", "_key", "_padding", "identity")

    @property
    def algorithm(self) -> str:
        """As it stands in signatures."""
        return "GOOG4-RSA-SHA256"

    def __init__(self, email: str, pem: str) -> None:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        self._key = _parsed(pem)
        self._padding = padding.PKCS1v15()
        self._hash = hashes.SHA256()
        self.identity = email

    def __repr__(self) -> str:
        return f"RsaKey({self.identity})"

    def sign(self, text: bytes, date: str) -> str:
        """RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 section 8.2). Releases the GIL."""
        return self.sign_bytes(text).hex()

    def sign_bytes(self, text: bytes) -> bytes:
        """The same, not in hexadecimal."""
        return self._key.sign(text, self._padding, self._hash)


class HmacKey:
    """An HMAC key of a service account. Prints no secret."""

    __slots__ = ("_states", "identity")

    @property
    def algorithm(self) -> str:
        """As it stands in signatures."""
        return "GOOG4-HMAC-SHA256"

    def __init__(self, access_id: str, secret: str) -> None:
        self.identity = access_id

        @lru_cache(maxsize=8)  # one a day
        def states(date: str) -> tuple[Hash, Hash]:
            key = b"GOOG4" + secret.encode("utf-8")
            for part in (date, "auto", "storage", "goog4_request"):
                key = hmac.digest(key, part.encode("ascii"), "sha256")
            block = key.ljust(_BLOCK, b"\0")
            return sha256(block.translate(_INNER)), sha256(block.translate(_OUTER))

        self._states = states

    def __repr__(self) -> str:
        return f"HmacKey({self.identity})"

    def sign(self, text: bytes, date: str) -> str:
        """HMAC-SHA256 under the day's key (RFC 2104), from where its two hashes stand when they have read the key."""
        inner, outer = self._states(date)
        first = inner.copy()
        first.update(text)
        second = outer.copy()
        second.update(first.digest())
        return second.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What all signatures of one kind of request share.

    Attributes:
        method: The method.
        headers: Canonical headers with ``host``, each line ended.
        signed: Their names, joined by ``;``.
        query: Encoded parameters beside those of the signature, sorted, each started by ``&``. Their names sort after
            ``X-Goog-…``: they are in lower case.
    """

    method: str
    headers: str
    signed: str
    query: str
    payload: str = "UNSIGNED-PAYLOAD"

    @classmethod
    def of(
        cls, method: str, site: Site, headers: Mapping[str, str] | None = None, query: Mapping[str, str] | None = None
    ) -> Shape:
        """From plain header fields and parameters. Names of parameters must be in lower case."""
        canonical = sorted(
            {"host": site.host, **{n.lower(): " ".join(v.split()) for n, v in (headers or {}).items()}}.items()
        )
        pairs = sorted(f"&{quote(n, safe='~')}={quote(v, safe='~')}" for n, v in (query or {}).items())
        return cls(
            method,
            "".join(f"{name}:{value}\n" for name, value in canonical),
            ";".join(name for name, _ in canonical),
            "".join(pairs),
            dict(canonical).get("x-goog-content-sha256", "UNSIGNED-PAYLOAD"),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The time in a signature: everything that depends on start, end and signer, made once.

    Attributes:
        date: ``YYYYMMDD``.
        head: What the signed text starts with.
        query: The signature's own parameters up to the signed headers' names.
    """

    date: str
    head: str
    query: str
    shapes: dict[Shape, tuple[str, str, str]] = field(default_factory=dict)


def window(key: SigningKey, start: int, end: int) -> Window:
    """The window of signatures that begin at ``start`` and end at ``end``, seconds since the epoch."""
    stamp = datetime.fromtimestamp(start, UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{_REQUEST}"
    return Window(
        stamp[:8],
        f"{key.algorithm}\n{stamp}\n{scope}\n",
        f"X-Goog-Algorithm={key.algorithm}&X-Goog-Credential={quote(f'{key.identity}/{scope}', safe='~')}"
        f"&X-Goog-Date={stamp}&X-Goog-Expires={end - start}&X-Goog-SignedHeaders=",
    )


def sign_url(key: SigningKey, site: Site, path: str, shape: Shape, when: Window) -> str:
    """The signed URL of the object whose encoded key is ``path``."""
    known = when.shapes.get(shape)
    if known is None:
        if len(when.shapes) >= _REMEMBERED:  # a window may last for a day, and each file name has a shape of its own
            when.shapes.clear()
        query = f"{when.query}{quote(shape.signed, safe='~')}{shape.query}"
        tail = f"\n{query}\n{shape.headers}\n{shape.signed}\n{shape.payload}"
        known = when.shapes[shape] = (f"{shape.method}\n{site.path}", tail, f"?{query}&X-Goog-Signature=")
    start, tail, query = known
    digest = sha256(f"{start}{path}{tail}".encode("ascii")).hexdigest()
    return f"{site.origin}{site.path}{path}{query}{key.sign(f'{when.head}{digest}'.encode('ascii'), when.date)}"


def policy_fields(
    key: SigningKey,
    bucket: str,
    object_key: str,
    start: int,
    end: int,
    *,
    fields: Mapping[str, str] | None = None,
    conditions: Sequence[object] = (),
) -> dict[str, str]:
    """The form fields of a V4 POST policy, in the order to send them.

    Args:
        key: What signs.
        bucket: The bucket.
        object_key: The object's key.
        start: When it begins, seconds since the epoch.
        end: When it ends.
        fields: Fields that the form must have with these very values.
        conditions: More conditions, such as ``["content-length-range", 0, 10]``.
    """
    stamp = datetime.fromtimestamp(start, UTC).strftime("%Y%m%dT%H%M%SZ")
    credential = f"{key.identity}/{stamp[:8]}/{_REQUEST}"
    bound = {name: value for name, value in sorted((fields or {}).items()) if not name.startswith("x-ignore-")}
    wanted: list[object] = [
        *conditions,
        *({name: value} for name, value in bound.items()),
        {"bucket": bucket},
        {"key": object_key},
        {"x-goog-date": stamp},
        {"x-goog-credential": credential},
        {"x-goog-algorithm": key.algorithm},
    ]
    ends = datetime.fromtimestamp(end, UTC).replace(tzinfo=None).isoformat() + "Z"
    document = json.dumps({"conditions": wanted, "expiration": ends}, separators=(",", ":"))
    policy = base64.b64encode(document.encode("utf-8"))
    return {
        **bound,
        "key": object_key,
        "x-goog-algorithm": key.algorithm,
        "x-goog-credential": credential,
        "x-goog-date": stamp,
        "x-goog-signature": key.sign(policy, stamp[:8]),
        "policy": policy.decode("ascii"),
    }
