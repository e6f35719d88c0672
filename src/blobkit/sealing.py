"""Sealed tokens: what a service hands to clients instead of keeping state, opaque and tamper-evident.

A token is ``version ‖ key id ‖ nonce ‖ AES-256-GCM(content)``, base64url without padding. The key id and version are
authenticated as associated data; purpose, provider, bucket, key and owner are inside, and compared after opening, so that a
token of another store is told apart from a forged one.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from blobkit.errors import ConfigError, InvalidArgument, InvalidToken, SealingKeyMissing
from blobkit.redaction import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["ENV", "MAX_TOKEN", "Keyring", "SealingKey"]

ENV: Final = "BLOBKIT_SEALING_KEYS"
MAX_TOKEN: Final = 4096
_VERSION: Final = 1
_NONCE: Final = 12
_KID: Final = re.compile(r"[A-Za-z0-9_.\-]{1,32}\Z")


@dataclass(frozen=True, slots=True, repr=False)
class SealingKey:
    """One AES-256 key and its public id (1 to 32 characters ``A-Za-z0-9_.-``)."""

    kid: str
    key: bytes

    def __post_init__(self) -> None:
        if not _KID.match(self.kid):
            raise ConfigError("a sealing key's id has 1 to 32 characters A-Za-z0-9_.-")
        if len(self.key) != 32:
            raise ConfigError(f"sealing key {self.kid!r} must have 32 bytes", hint="openssl rand -base64 32")

    def __repr__(self) -> str:
        return f"SealingKey({self.kid!r}, ***)"


class Keyring:
    """The keys that seal and open tokens. The first seals; all open, so keys rotate by putting a new one in front.

    Raises:
        ConfigError: No key, or one id twice.
    """

    __slots__ = ("_keys", "_opened")

    def __init__(self, keys: Sequence[SealingKey]) -> None:
        if not keys or not all(isinstance(key, SealingKey) for key in keys):
            raise ConfigError("a keyring needs SealingKeys, one at least")
        self._keys = {key.kid: key for key in keys}
        if len(self._keys) != len(keys):
            raise ConfigError("a keyring has one id twice")
        self._opened: dict[str, AESGCM] = {}

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._keys)})"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """From ``kid:base64[,older…]``, as in ``BLOBKIT_SEALING_KEYS``. Raises ConfigError; never prints the keys."""
        if not isinstance(text, str):
            raise ConfigError(f"{ENV} is a text, not {type(text).__name__}")
        keys = []
        for entry in text.split(","):
            kid, colon, encoded = entry.strip().partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except binascii.Error as error:
                raise ConfigError(f"{ENV}: not base64 after the key id", hint="kid:base64[,older…]") from error
            if not colon:
                raise ConfigError(f"{ENV}: an entry has no key id", hint="kid:base64[,older…]")
            keys.append(SealingKey(kid, key))
        return cls(keys)

    @classmethod
    def generate(cls, kid: str = "k1") -> Self:
        """A ring of one fresh random key. It opens nothing after this process: for tests and throw-away stores."""
        return cls([SealingKey(kid, os.urandom(32))])

    def _cipher(self, kid: str) -> AESGCM:
        if kid not in self._opened:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # lazily: many services never seal

            self._opened[kid] = AESGCM(self._keys[kid].key)
        return self._opened[kid]

    def seal(self, content: Mapping[str, object]) -> Secret:
        """Seal JSON values into a token of at most 4,096 characters.

        Raises:
            InvalidArgument: The content does not fit.
        """
        kid = next(iter(self._keys))
        head = bytes([_VERSION, len(kid)]) + kid.encode("ascii")
        nonce = os.urandom(_NONCE)
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
        token = base64.urlsafe_b64encode(head + nonce + self._cipher(kid).encrypt(nonce, text, head)).rstrip(b"=")
        if len(token) > MAX_TOKEN:
            raise InvalidArgument(
                f"the session token would have {len(token)} characters; the limit is {MAX_TOKEN}",
                hint="a shorter key or less metadata",
            )
        return Secret(token.decode("ascii"))

    def open(self, token: str | Secret) -> dict[str, Any]:
        """What was sealed. A token of the version before this one opens too.

        Raises:
            InvalidToken: ``newer`` for a later version, ``tampered`` for everything that no key of this ring sealed.
        """
        from cryptography.exceptions import InvalidTag

        text = token.reveal() if isinstance(token, Secret) else token
        if not isinstance(text, str) or not 0 < len(text) <= MAX_TOKEN:
            raise InvalidToken("tampered")
        try:
            raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
            if base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") != text:
                raise ValueError("another spelling of the same bytes")
            version, size = raw[0], raw[1]
            head, nonce, sealed = raw[: 2 + size], raw[2 + size : 2 + size + _NONCE], raw[2 + size + _NONCE :]
            kid = head[2:].decode("ascii")
        except (ValueError, IndexError) as error:
            raise InvalidToken("tampered") from error
        if version > _VERSION:
            raise InvalidToken(
                "newer", hint="upgrade blobkit everywhere before tokens of the new version are handed out"
            )
        if kid not in self._keys or version < max(1, _VERSION - 1):
            raise InvalidToken("tampered", hint=f"is its key still in {ENV}?")
        try:
            content = json.loads(self._cipher(kid).decrypt(nonce, sealed, head))
        except (InvalidTag, ValueError) as error:
            raise InvalidToken("tampered") from error
        if not isinstance(content, dict):
            raise InvalidToken("tampered")
        return content


def missing() -> SealingKeyMissing:
    """The error for a token without a key, with the way out."""
    return SealingKeyMissing(
        "there is no key to seal session tokens with",
        hint=f'set {ENV}="k1:$(openssl rand -base64 32)", the same for every process, or pass sealing=Keyring(…)',
    )
