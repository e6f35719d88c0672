"""JSON Web Tokens as Google and Microsoft sign them: RS256 and nothing else.

RFC 7515 (signatures), 7517 (keys), 7519 (claims), 8725 (what to refuse).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final

from blobkit.errors import MalformedEvent, TransientError, Unavailable, UntrustedEvent
from blobkit.events.fetching import Fetch
from blobkit.events.jsontext import loads

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

__all__ = ["JwtVerifier", "KeySet"]

_MAX_TOKEN: Final = 16 * 1024
_SKEW: Final = 60
_REMEMBERED: Final = 1024


class KeySet:
    """The public keys at a JWKS address, by key id: cached, fetched again when they are old or a new id appears.

    An unknown id causes at most one fetch per ``pause``: otherwise anyone could make this service call the key server with
    every request. Old keys stay in use while the key server is down, for up to ``max_age``.

    Args:
        url: The JWKS.
        fetch: How to get it.
        fresh: Seconds after which it is fetched again.
        max_age: Seconds after which old keys are no longer believed.
        pause: Seconds between two fetches for unknown ids, or after a failed one.
        monotonic: The clock of all this.
    """

    def __init__(
        self,
        url: str,
        fetch: Fetch,
        *,
        fresh: float = 3600,
        max_age: float = 86400,
        pause: float = 30,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._fetch, self._now = url, fetch, monotonic
        self._fresh, self._max_age, self._pause = fresh, max_age, pause
        self._lock = threading.Lock()
        self._keys: Mapping[str, RSAPublicKey] = {}
        self._fetched: float | None = None
        self._tried: float | None = None
        self._failure: TransientError | None = None

    def key(self, kid: str) -> RSAPublicKey | None:
        """The key of that id, or None when the key server does not have it.

        Raises:
            TransientError: The key is not known here, and the key server could not be asked.
        """
        with self._lock:  # single flight: a burst of requests makes one fetch
            now = self._now()
            age = None if self._fetched is None else now - self._fetched
            if age is not None and age > self._max_age:
                self._keys = {}
            found = self._keys.get(kid)
            if found is not None and age is not None and age < self._fresh:
                return found
            if self._tried is not None and now - self._tried < self._pause:
                if found is None and self._failure is not None:
                    raise Unavailable("the key server did not answer a moment ago") from self._failure
                return found
            self._tried = now
            try:
                self._keys = _read_keys(self._fetch(self._url))
                self._fetched, self._failure = now, None
            except (TransientError, UntrustedEvent, MalformedEvent, OSError) as error:
                # A key server that answers nonsense is as good as down: the token may be genuine.
                self._failure = error if isinstance(error, TransientError) else Unavailable(str(error))
                if found is not None:
                    return found
                raise Unavailable("the key server gave no keys") from error
            return self._keys.get(kid)


class JwtVerifier:
    """Verifies a token's signature and the claims that every issuer has. Tokens that were verified are remembered, by hash.

    Args:
        keys: Where the public keys are.
        issuers: The accepted ``iss``.
        audiences: The accepted ``aud``; one suffices.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        keys: KeySet,
        *,
        issuers: Collection[str],
        audiences: Collection[str],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys, self._now = keys, now
        self._issuers, self._audiences = frozenset(issuers), frozenset(audiences)
        self._known: OrderedDict[bytes, Mapping[str, object]] = OrderedDict()
        self._lock = threading.Lock()

    def claims(self, token: str) -> Mapping[str, object]:
        """The claims of a token that is genuine, for us, and of now.

        Raises:
            UntrustedEvent: It is not.
            TransientError: The key server could not be asked.
        """
        if len(token) > _MAX_TOKEN:
            raise UntrustedEvent("the token is too long")
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            claims = self._known.get(digest)
        if claims is None:
            claims = self._verified(token)
            with self._lock:
                self._known[digest] = claims
                while len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        self._check_times(claims)
        return claims

    def _verified(self, token: str) -> Mapping[str, object]:
        parts = token.split(".")
        if len(parts) != 3:
            raise UntrustedEvent("not a signed token")
        header, claims = _object(parts[0]), _object(parts[1])
        # The algorithm is ours to choose, not the token's: "none" and HS256 with the public key as secret are old attacks.
        if header.get("alg") != "RS256" or "crit" in header:
            raise UntrustedEvent("the token is not signed with RS256")
        kid = header.get("kid")
        if not isinstance(kid, str) or not 0 < len(kid) <= 256:
            raise UntrustedEvent("the token names no key")
        issuer = claims.get("iss")
        if not isinstance(issuer, str) or issuer not in self._issuers:
            raise UntrustedEvent("the token is of another issuer")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if not any(isinstance(item, str) and item in self._audiences for item in audiences):
            raise UntrustedEvent("the token is for another audience")
        self._check_times(claims)
        key = self._keys.key(kid)
        if key is None:
            raise UntrustedEvent("the token is signed with an unknown key")
        _check_signature(key, f"{parts[0]}.{parts[1]}".encode("ascii"), _decode(parts[2]))
        return claims

    def _check_times(self, claims: Mapping[str, object]) -> None:
        now = self._now()
        end, start, issued = (_seconds(claims, name) for name in ("exp", "nbf", "iat"))
        if end is None or now > end + _SKEW:
            raise UntrustedEvent("the token has expired")
        if (start is not None and now < start - _SKEW) or (issued is not None and now < issued - _SKEW):
            raise UntrustedEvent("the token is not valid yet")


def _seconds(claims: Mapping[str, object], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UntrustedEvent(f"{name} of the token is not a time")
    return value


def _decode(part: str) -> bytes:
    if not part.isascii() or "=" in part or any(c in part for c in "+/ \r\n\t"):
        raise UntrustedEvent("the token is not base64url")
    try:
        return base64.b64decode(part.translate(_URLSAFE) + "=" * (-len(part) % 4), validate=True)
    except binascii.Error as error:
        raise UntrustedEvent("the token is not base64url") from error


_URLSAFE: Final = str.maketrans("-_", "+/")


def _object(part: str) -> Mapping[str, object]:
    try:
        value = loads(_decode(part))
    except MalformedEvent as error:
        raise UntrustedEvent("the token is not JSON") from error
    if not isinstance(value, dict):
        raise UntrustedEvent("the token is not a JSON object")
    return value


def _check_signature(key: RSAPublicKey, data: bytes, signature: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    try:
        key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature as error:
        raise UntrustedEvent("the token's signature is wrong") from error


def _read_keys(body: bytes) -> Mapping[str, RSAPublicKey]:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    document = loads(body)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise MalformedEvent("not a JSON Web Key Set")
    keys: dict[str, RSAPublicKey] = {}
    for item in listed[:100]:
        if not isinstance(item, dict) or item.get("kty") != "RSA" or item.get("use", "sig") != "sig":
            continue
        kid, modulus, exponent = item.get("kid"), item.get("n"), item.get("e")
        if not (isinstance(kid, str) and isinstance(modulus, str) and isinstance(exponent, str)):
            continue
        try:
            numbers = RSAPublicNumbers(
                int.from_bytes(_decode(exponent.rstrip("=")), "big"),
                int.from_bytes(_decode(modulus.rstrip("=")), "big"),
            )
            key = numbers.public_key()
        except (ValueError, UntrustedEvent):
            continue  # one odd key does not take the others away
        if key.key_size >= 2048:
            keys[kid] = key
    if not keys:
        raise MalformedEvent("the key set has no RSA key")
    return keys
