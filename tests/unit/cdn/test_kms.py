"""Keys in a KMS: AWS's as moto plays it, Google's by its own client's request and response types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import boto3
import google_crc32c
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from moto import mock_aws

from blobkit import errors
from blobkit_aws.cdn import CloudFront
from blobkit_aws.kms import KmsKey as AwsKey
from blobkit_gcs.cdn import MediaCdn
from blobkit_gcs.kms import KmsKey as GoogleKey

from .every import SITE
from .keys import ec_key, ed_key, public_pem, rsa_key

NAME = "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    with mock_aws():
        yield boto3.client("kms", region_name="eu-west-1")


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256"])
def test_cloudfront_signs_with_a_key_of_aws_kms(kms: Any, spec: str) -> None:
    key_id = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec=spec)["KeyMetadata"]["KeyId"]
    key = AwsKey(kms, key_id)
    cdn = CloudFront(SITE, {"K1": key})
    assert cdn.capabilities.verifiable
    link = cdn.sign_url("/a")
    assert cdn.verify(link)
    assert CloudFront(SITE, {"K1": key.public_key()}).verify(link), "its public key alone verifies"
    assert key_id in repr(key)


def test_a_long_message_is_digested_here() -> None:
    """moto digests a digest once more, so this is shown without it."""

    class Client:
        def sign(self, **given: Any) -> Mapping[str, object]:
            assert given["MessageType"] == "DIGEST"
            hashed = Prehashed(hashes.SHA256())
            return {"Signature": ec_key().sign(given["Message"], ec.ECDSA(hashed))}

        def get_public_key(self, *, KeyId: str) -> Mapping[str, object]:  # noqa: N803 - boto3's name
            der = load_pem_public_key(public_pem(ec_key()).encode()).public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            )
            return {"PublicKey": der, "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}

    cdn = CloudFront(SITE, {"K1": AwsKey(Client(), "k")})
    assert cdn.verify(cdn.sign_url("/" + "a" * 5000))


def test_a_key_of_aws_kms_that_cannot_sign_says_so(kms: Any) -> None:
    wrong = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="RSA_4096")["KeyMetadata"]["KeyId"]
    with pytest.raises(errors.ConfigError, match="RSA_2048"):
        CloudFront(SITE, {"K1": AwsKey(kms, wrong)})
    with pytest.raises(errors.SigningUnavailable, match="NotFound"):
        CloudFront(SITE, {"K1": AwsKey(kms, "00000000-0000-0000-0000-000000000000")})


class Google:
    """Answers as Cloud KMS does, in the types of its own client where that is installed."""

    def __init__(self, key: Any, algorithm: str) -> None:
        self.key = key
        self.algorithm = algorithm
        self.damage = 0
        self.calls = 0

    def get_public_key(self, request: Mapping[str, object]) -> Any:
        assert request == {"name": NAME}
        self.calls += 1
        return SimpleNamespace(pem=public_pem(self.key), algorithm=SimpleNamespace(name=self.algorithm))

    def asymmetric_sign(self, request: Mapping[str, Any]) -> Any:
        assert request["name"] == NAME
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            assert request["data_crc32c"] == google_crc32c.value(request["data"])
            signature = self.key.sign(request["data"])
        else:
            digest = request["digest"]["sha256"]
            assert request["digest_crc32c"] == google_crc32c.value(digest)
            hashed = Prehashed(hashes.SHA256())
            if isinstance(self.key, rsa.RSAPrivateKey):
                signature = self.key.sign(digest, padding.PKCS1v15(), hashed)
            else:
                signature = self.key.sign(digest, ec.ECDSA(hashed))
        return SimpleNamespace(
            signature=signature,
            signature_crc32c=google_crc32c.value(signature) ^ self.damage,
            verified_digest_crc32c="digest" in request,
            verified_data_crc32c="data" in request,
        )


def test_google_kms_signs_for_media_cdn_and_cloudfront() -> None:
    client = Google(ed_key(), "EC_SIGN_ED25519")
    key = GoogleKey(client, NAME)
    media = MediaCdn(SITE, {"k": key})
    assert media.verify(media.sign_url("/a"))
    assert media.sign_url("/a") == MediaCdn(SITE, {"k": ed_key().sign}).sign_url("/a")
    assert client.calls == 1
    for other, algorithm in ((rsa_key(), "RSA_SIGN_PKCS1_2048_SHA256"), (ec_key(), "EC_SIGN_P256_SHA256")):
        front = CloudFront(SITE, {"K1": GoogleKey(Google(other, algorithm), NAME)})
        assert front.verify(front.sign_url("/a"))


def test_damaged_bytes_and_foreign_algorithms_of_google_kms_are_refused() -> None:
    client = Google(ed_key(), "EC_SIGN_ED25519")
    media = MediaCdn(SITE, {"k": GoogleKey(client, NAME)})
    client.damage = 1
    with pytest.raises(errors.SigningUnavailable, match="damaged"):
        media.sign_url("/a")
    with pytest.raises(errors.ConfigError, match="RSA_SIGN_PSS"):
        CloudFront(SITE, {"K1": GoogleKey(Google(rsa_key(), "RSA_SIGN_PSS_2048_SHA256"), NAME)})


def test_googles_own_types_take_the_requests() -> None:
    kms_v1 = pytest.importorskip("google.cloud.kms_v1", reason="google-cloud-kms is not installed")
    digest = kms_v1.AsymmetricSignRequest({"name": NAME, "digest": {"sha256": b"d" * 32}, "digest_crc32c": 7})
    raw = kms_v1.AsymmetricSignRequest({"name": NAME, "data": b"m", "data_crc32c": 7})
    assert (digest.digest.sha256, digest.digest_crc32c) == (b"d" * 32, 7)
    assert (raw.data, raw.data_crc32c) == (b"m", 7)
    assert kms_v1.PublicKey(algorithm="EC_SIGN_ED25519").algorithm.name == "EC_SIGN_ED25519"
    assert {"signature", "signature_crc32c", "verified_digest_crc32c", "verified_data_crc32c"} <= set(
        kms_v1.AsymmetricSignResponse.meta.fields
    )
