"""What signs: shared secrets, PEM keys, or a callable ``sign(bytes) -> bytes`` that asks a KMS or an HSM.

Every loader gives a :class:`SigningKey`; a wrong kind or size of key shows when it is loaded, as ConfigError. Nothing here
prints a key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from typing import Final, Literal

from blobkit.errors import ConfigError, SigningUnavailable
from blobkit.redaction import Secret

__all__ = ["Hash", "Key", "SigningKey", "decode_base64url", "ed25519_key", "hmac_key", "public_pem_key", "secret_bytes"]

Key = bytes | str | Secret | Callable[[bytes], bytes]
"""A key: bytes, a text (PEM, or the provider's own encoding), a Secret of such a text, or what signs."""

Hash = Literal["SHA1", "SHA256"]

_MIN_SECRET: Final = 1
_MAX_SECRET: Final = 64 * 1024


class SigningKey:
    """A key that signs, verifies, or both. Prints nothing of itself.

    Args:
        sign: Message to signature; None for a key that only verifies.
        verify: Message and signature to whether they fit, in constant time; None for a key that only signs.
    """

    __slots__ = ("_sign", "sign", "verify")

    def __init__(
        self, sign: Callable[[bytes], bytes] | None, verify: Callable[[bytes, bytes], bool] | None = None
    ) -> None:
        self.sign: Callable[[bytes], bytes] = sign or _cannot_sign
        self.verify = verify
        self._sign = sign is not None

    @property
    def signs(self) -> bool:
        """Whether it can sign."""
        return self._sign

    def __repr__(self) -> str:
        return "SigningKey(***)"


def _cannot_sign(message: bytes) -> bytes:
    raise SigningUnavailable("this is a public key: it verifies and cannot sign")


def secret_bytes(key: bytes | str | Secret) -> bytes:
    """The bytes of a shared secret; texts as UTF-8. Raises ConfigError when there are none, or too many."""
    text = key.reveal() if isinstance(key, Secret) else key
    value = text.encode("utf-8") if isinstance(text, str) else bytes(text)
    if not _MIN_SECRET <= len(value) <= _MAX_SECRET:
        raise ConfigError("the signing key is empty" if not value else "the signing key is too long for one")
    return value


def decode_base64url(key: bytes | str | Secret, what: str) -> bytes:
    """The bytes of a key in base64url, padded or not; bytes are taken as they are. Raises ConfigError."""
    if isinstance(key, bytes):
        return key
    text = (key.reveal() if isinstance(key, Secret) else key).strip()
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"{what} is not base64url") from None


def hmac_key(key: bytes | Callable[[bytes], bytes], digest: str) -> SigningKey:
    """HMAC with a shared secret, or with a callable that has it."""
    sign = checked(key) if callable(key) else _hmac(key, digest)

    def verify(message: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(sign(message), signature)

    return SigningKey(sign, verify)


def _hmac(secret: bytes, digest: str) -> Callable[[bytes], bytes]:
    """HMAC (RFC 2104 section 2) from the states after the two padded keys: half the time of one that starts anew."""
    block = hashlib.new(digest).block_size
    key = (secret if len(secret) <= block else hashlib.new(digest, secret).digest()).ljust(block, b"\0")
    inner = hashlib.new(digest, bytes(byte ^ 0x36 for byte in key))
    outer = hashlib.new(digest, bytes(byte ^ 0x5C for byte in key))

    def sign(message: bytes) -> bytes:
        first, second = inner.copy(), outer.copy()
        first.update(message)
        second.update(first.digest())
        return second.digest()

    return sign


def checked(call: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """A caller's own ``sign``, whose answer is looked at."""

    def sign(message: bytes) -> bytes:
        signature = call(message)
        if not isinstance(signature, bytes) or not 16 <= len(signature) <= 1024:
            raise SigningUnavailable("the signing callable gave no signature", hint="sign(bytes) -> bytes")
        return signature

    return sign


def public_pem_key(key: Key, hash_name: Hash) -> SigningKey:
    """RSA-2048 (PKCS#1 v1.5) or ECDSA P-256 (ASN.1 DER), as CloudFront takes them.

    Args:
        key: A private or a public key in PEM, or what signs. A callable that also has ``public_key()`` (PEM) verifies.
        hash_name: The digest that is signed.

    Raises:
        ConfigError: Not a key in PEM, or another kind or size.
    """
    if callable(key):
        public = _public_half(key)
        return SigningKey(checked(key), None if public is None else _asymmetric(public, hash_name).verify)
    return _asymmetric(secret_bytes(key), hash_name)


def _asymmetric(pem: bytes | str, hash_name: Hash) -> SigningKey:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    found = _load_pem(pem.encode("utf-8") if isinstance(pem, str) else pem)
    public = found if isinstance(found, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) else None
    private = found if isinstance(found, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) else None
    if public is None and private is not None:
        public = private.public_key()
    digest: hashes.HashAlgorithm = hashes.SHA256() if hash_name == "SHA256" else hashes.SHA1()  # noqa: S303
    if isinstance(public, rsa.RSAPublicKey):
        if public.key_size != 2048:
            raise ConfigError(f"an RSA key of {public.key_size} bits; CloudFront takes 2048")
        rsa_public, pkcs1 = public, padding.PKCS1v15()

        def fits(message: bytes, signature: bytes) -> None:
            rsa_public.verify(signature, message, pkcs1, digest)

        rsa_private = private if isinstance(private, rsa.RSAPrivateKey) else None
        sign = None if rsa_private is None else lambda message: rsa_private.sign(message, pkcs1, digest)
    elif isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1):
        ec_public, ecdsa = public, ec.ECDSA(digest)

        def fits(message: bytes, signature: bytes) -> None:
            ec_public.verify(signature, message, ecdsa)

        ec_private = private if isinstance(private, ec.EllipticCurvePrivateKey) else None
        sign = None if ec_private is None else lambda message: ec_private.sign(message, ecdsa)
    else:
        raise ConfigError("neither an RSA-2048 key nor an ECDSA P-256 key")

    def verify(message: bytes, signature: bytes) -> bool:
        try:
            fits(message, signature)
        except InvalidSignature:
            return False
        return True

    return SigningKey(sign, verify)


def ed25519_key(key: Key) -> SigningKey:
    """Ed25519: a 32-byte seed (bytes, or base64url as Media CDN shows it), a PEM, a raw public key, or what signs.

    A private key is a seed of 32 bytes, or 64 bytes: seed and public key. A public key is given as PEM.

    Raises:
        ConfigError: None of these.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ed25519

    private: ed25519.Ed25519PrivateKey | None = None
    if callable(key):
        public_half = _public_half(key)
        if public_half is None:
            return SigningKey(checked(key))
        found = _load_pem(_bytes(public_half))
        sign: Callable[[bytes], bytes] | None = checked(key)
    else:
        raw = key.reveal() if isinstance(key, Secret) else key
        if b"-----BEGIN" in _bytes(raw):
            found = _load_pem(_bytes(raw))
        else:
            seed = decode_base64url(key, "the Ed25519 key")
            if len(seed) not in (32, 64):
                raise ConfigError(f"an Ed25519 key of {len(seed)} bytes; a seed has 32")
            found = ed25519.Ed25519PrivateKey.from_private_bytes(seed[:32])
        private = found if isinstance(found, ed25519.Ed25519PrivateKey) else None
        sign = None if private is None else private.sign
    public = private.public_key() if private is not None else found
    if not isinstance(public, ed25519.Ed25519PublicKey):
        raise ConfigError("not an Ed25519 key")

    def verify(message: bytes, signature: bytes) -> bool:
        try:
            public.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return SigningKey(sign, verify)


def _public_half(key: Callable[[bytes], bytes]) -> bytes | str | None:
    """What the ``public_key()`` of a signing callable gives, if it has one. Raises ConfigError when that is no PEM."""
    found = getattr(key, "public_key", None)
    pem = found() if callable(found) else None
    if pem is not None and not isinstance(pem, bytes | str):
        raise ConfigError("public_key() of the signing callable gives no PEM")
    return pem


def _bytes(text: bytes | str) -> bytes:
    return text.encode("utf-8") if isinstance(text, str) else text


def _load_pem(pem: bytes) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

    try:
        if b"PRIVATE KEY-----" in pem:
            return load_pem_private_key(pem, password=None)
        return load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError("the signing key cannot be read", hint="an unencrypted PEM") from None
