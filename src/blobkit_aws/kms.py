"""A signing key in AWS KMS, for CDN links: the private key never leaves it.

    key = KmsKey(boto3.client("kms"), "alias/cdn")
    cdn = CloudFront("d111111abcdef8.cloudfront.net", {"K2JCJMDEHXQW5F": key})

Each signature is a call of the network, some milliseconds long and paid for: sign prefixes or cookies rather than single links.
CloudFront takes RSA_2048 and ECC_NIST_P256, over SHA-256 (KMS signs no SHA-1). boto3's clients are thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Literal, Protocol

from blobkit.errors import ConfigError, SigningUnavailable

__all__ = ["KmsClient", "KmsKey"]

Algorithm = Literal["RSASSA_PKCS1_V1_5_SHA_256", "ECDSA_SHA_256"]
_SPECS: Final[Mapping[str, Algorithm]] = {"RSA_2048": "RSASSA_PKCS1_V1_5_SHA_256", "ECC_NIST_P256": "ECDSA_SHA_256"}

_LONGEST: Final = 4096  # bytes that KMS digests itself


class KmsClient(Protocol):
    """What is used of ``boto3.client("kms")``. https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html"""

    def sign(
        self,
        *,
        KeyId: str,  # noqa: N803 - boto3's names
        Message: bytes,  # noqa: N803
        MessageType: Literal["RAW", "DIGEST"],  # noqa: N803
        SigningAlgorithm: Algorithm,  # noqa: N803
    ) -> Mapping[str, object]:
        """``Signature``: DER for ECDSA, PKCS#1 for RSA."""
        ...

    def get_public_key(self, *, KeyId: str) -> Mapping[str, object]:  # noqa: N803
        """``PublicKey`` (DER), ``KeySpec``, ``KeyUsage``."""
        ...


class KmsKey:
    """One key of KMS. Calling it signs; :meth:`public_key` lets links be verified without a call.

    Args:
        client: ``boto3.client("kms")``.
        key_id: Key id, ARN or alias.
    """

    def __init__(self, client: KmsClient, key_id: str) -> None:
        self._client = client
        self._key_id = key_id
        self._lock = threading.Lock()
        self._known: tuple[Algorithm, str] | None = None

    def __repr__(self) -> str:
        return f"KmsKey({self._key_id})"

    def __call__(self, message: bytes) -> bytes:
        """The signature of a message.

        Raises:
            SigningUnavailable: KMS refused, or cannot be reached.
        """
        algorithm, _ = self._described()
        short = len(message) <= _LONGEST
        try:
            answer = self._client.sign(
                KeyId=self._key_id,
                Message=message if short else sha256(message).digest(),
                MessageType="RAW" if short else "DIGEST",
                SigningAlgorithm=algorithm,
            )
        except Exception as error:
            raise _unavailable(self._key_id, error) from error
        signature = answer["Signature"]
        if not isinstance(signature, bytes):
            raise SigningUnavailable("KMS gave no signature", provider="aws")
        return signature

    def public_key(self) -> str:
        """The public key, PEM. Asked for once. Raises SigningUnavailable, ConfigError."""
        return self._described()[1]

    def _described(self) -> tuple[Algorithm, str]:
        with self._lock:
            if self._known is None:
                from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

                try:
                    answer = self._client.get_public_key(KeyId=self._key_id)
                except Exception as error:
                    raise _unavailable(self._key_id, error) from error
                algorithm = _SPECS.get(str(answer.get("KeySpec") or answer.get("CustomerMasterKeySpec")))
                der = answer.get("PublicKey")
                if algorithm is None or answer.get("KeyUsage") != "SIGN_VERIFY" or not isinstance(der, bytes):
                    raise ConfigError(
                        "the KMS key is not one for signing with RSA_2048 or ECC_NIST_P256",
                        hint="aws kms create-key --key-usage SIGN_VERIFY --key-spec ECC_NIST_P256",
                    )
                public = load_der_public_key(der)
                pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
                self._known = (algorithm, pem.decode("ascii"))
            return self._known


def _unavailable(key_id: str, error: Exception) -> SigningUnavailable:
    return SigningUnavailable(
        f"KMS did not sign with {key_id}: {type(error).__name__}", provider="aws", hint="kms:Sign and kms:GetPublicKey"
    )
