"""What the shared-secret schemes have in common: a key that signs, an older one that is still honoured, and texts in URLs."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from blobkit.cdn.keys import Key, SigningKey, hmac_key, secret_bytes
from blobkit.cdn.model import Refusal, Refused
from blobkit.cdn.opening import CdnContext
from blobkit.config import Kind, Option, StoreConfig
from blobkit.errors import ConfigError
from blobkit.redaction import Secret

__all__ = ["KEY_OPTIONS", "Keys", "keys_of", "mac_keys"]

KEY_OPTIONS: Final = (
    Option("key", Kind.SECRET, "The shared secret."),
    Option("previous_key", Kind.SECRET, "The one before, which is still honoured."),
)

Keys = Key | Sequence[Key]
"""One key, or several: the first signs, all are honoured."""


def keys_of(config: StoreConfig, context: CdnContext) -> list[Key]:
    """The keys of the options ``key`` and ``previous_key``. Raises CredentialsMissing."""
    keys: list[Key] = [context.signing_key(config, "key")]
    if (older := config.secret("previous_key")) is not None:
        keys.append(older)
    return keys


def mac_keys(
    keys: Keys, digest: str, decode: Callable[[bytes | str | Secret], bytes] = secret_bytes
) -> list[SigningKey]:
    """HMAC keys. Raises ConfigError for one that cannot be read, or for none."""
    return [hmac_key(key if callable(key) else decode(key), digest) for key in several(keys)]


def several(keys: Keys) -> Sequence[Key]:
    """Always a sequence, and not empty."""
    found: Sequence[Key] = [keys] if isinstance(keys, bytes | str | Secret) or callable(keys) else keys
    return found or [b""]  # whoever reads it says that it is empty


def secrets_of(keys: Keys) -> list[bytes]:
    """The secrets of a scheme that digests the secret itself. Raises ConfigError for a callable, or for none."""
    if any(callable(key) for key in several(keys)):
        raise ConfigError("this scheme digests the secret itself: a callable cannot sign for it")
    return [secret_bytes(key) for key in several(keys) if not callable(key)]


def md5(text: bytes) -> bytes:
    """MD5, where a scheme has nothing better."""
    return hashlib.md5(text, usedforsecurity=False).digest()


def any_equal(right: Iterable[bytes], presented: bytes, expires: int | None) -> None:
    """Raise Refused unless what was presented is one of the right ones. Constant time for each."""
    if not any(hmac.compare_digest(one, presented) for one in right):
        raise Refused(Refusal.SIGNATURE, "the signature is not of this URL, or of another key", expires)


def any_fits(keys: Sequence[SigningKey], message: bytes, presented: bytes, expires: int | None) -> None:
    """Raise Refused unless the presented signature is of one of the keys."""
    any_equal([key.sign(message) for key in keys], presented, expires)
