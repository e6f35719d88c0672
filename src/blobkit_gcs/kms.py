"""A signing key in Google Cloud KMS, for CDN links: the private key never leaves it.

    key = KmsKey(google.cloud.kms.KeyManagementServiceClient(), "projects/…/cryptoKeys/cdn/cryptoKeyVersions/1")
    cdn = MediaCdn("media.example", {"cdn": key})

Each signature is a call of the network, some milliseconds long and paid for: sign prefixes or cookies rather than single links.
Media CDN takes EC_SIGN_ED25519; CloudFront RSA_SIGN_PKCS1_2048_SHA256 and EC_SIGN_P256_SHA256. What is sent and received is
checked with CRC32C, as Google asks its callers to: https://cloud.google.com/kms/docs/data-integrity-guidelines.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Protocol

from blobkit.errors import ConfigError, PluginMissing, SigningUnavailable

__all__ = ["KmsClient", "KmsKey"]

_DIGESTED: Final = {"RSA_SIGN_PKCS1_2048_SHA256", "EC_SIGN_P256_SHA256"}
_RAW: Final = {"EC_SIGN_ED25519"}


class _Named(Protocol):
    @property
    def name(self) -> str: ...


class Signature(Protocol):
    """What is used of ``AsymmetricSignResponse``."""

    @property
    def signature(self) -> bytes:
        """DER for ECDSA."""
        ...

    @property
    def signature_crc32c(self) -> int:
        """Of the signature."""
        ...

    @property
    def verified_digest_crc32c(self) -> bool:
        """The digest arrived as it was sent."""
        ...

    @property
    def verified_data_crc32c(self) -> bool:
        """The data arrived as they were sent."""
        ...


class PublicKey(Protocol):
    """What is used of ``PublicKey``."""

    @property
    def pem(self) -> str:
        """The key."""
        ...

    @property
    def algorithm(self) -> _Named:
        """Its algorithm, an enum."""
        ...


class KmsClient(Protocol):
    """What is used of ``google.cloud.kms.KeyManagementServiceClient``."""

    def asymmetric_sign(self, request: Mapping[str, object]) -> Signature:
        """https://cloud.google.com/kms/docs/reference/rpc/google.cloud.kms.v1#asymmetricsignrequest"""
        ...

    def get_public_key(self, request: Mapping[str, object]) -> PublicKey:
        """The public key of a version."""
        ...


class KmsKey:
    """One key version of Cloud KMS. Calling it signs; :meth:`public_key` lets links be verified without a call.

    Args:
        client: A KeyManagementServiceClient.
        name: ``projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V``.

    Raises:
        PluginMissing: google-crc32c is not installed.
    """

    def __init__(self, client: KmsClient, name: str) -> None:
        try:
            import google_crc32c
        except ImportError as error:
            raise PluginMissing("Cloud KMS needs google-crc32c", hint='pip install "blobkit[gcs]"') from error
        self._crc32c = google_crc32c.value
        self._client = client
        self._name = name
        self._lock = threading.Lock()
        self._known: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return f"KmsKey({self._name})"

    def __call__(self, message: bytes) -> bytes:
        """The signature of a message.

        Raises:
            SigningUnavailable: KMS refused, cannot be reached, or the bytes were damaged on their way.
        """
        algorithm, _ = self._described()
        digest = sha256(message).digest()
        if algorithm in _RAW:
            request: dict[str, object] = {"name": self._name, "data": message, "data_crc32c": self._crc32c(message)}
        else:
            request = {"name": self._name, "digest": {"sha256": digest}, "digest_crc32c": self._crc32c(digest)}
        try:
            answer = self._client.asymmetric_sign(request=request)
        except Exception as error:
            raise _unavailable(self._name, error) from error
        arrived = answer.verified_data_crc32c if algorithm in _RAW else answer.verified_digest_crc32c
        signature = bytes(answer.signature)
        if not arrived or self._crc32c(signature) != int(answer.signature_crc32c):
            raise SigningUnavailable(
                "bytes to or from Cloud KMS were damaged on their way", provider="gcs", retryable=True
            )
        return signature

    def public_key(self) -> str:
        """The public key, PEM. Asked for once. Raises SigningUnavailable, ConfigError."""
        return self._described()[1]

    def _described(self) -> tuple[str, str]:
        with self._lock:
            if self._known is None:
                try:
                    answer = self._client.get_public_key(request={"name": self._name})
                except Exception as error:
                    raise _unavailable(self._name, error) from error
                algorithm = answer.algorithm.name
                if algorithm not in _DIGESTED | _RAW:
                    raise ConfigError(
                        f"a key of {algorithm}, which no CDN takes", hint=", ".join(sorted(_DIGESTED | _RAW))
                    )
                self._known = (algorithm, answer.pem)
            return self._known


def _unavailable(name: str, error: Exception) -> SigningUnavailable:
    return SigningUnavailable(
        f"Cloud KMS did not sign with {name}: {type(error).__name__}",
        provider="gcs",
        hint="cloudkms.cryptoKeyVersions.useToSign and .viewPublicKey",
    )
