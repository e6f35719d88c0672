"""Presigned URLs of Multi-Region Access Points: Signature Version 4A, ECDSA on P-256, valid in a set of regions.

The key pair is derived from the secret key (NIST SP 800-108 in counter mode), the scope has no region, and
``X-Amz-Region-Set`` says where the signature is valid. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
Signatures are deterministic (RFC 6979), so that the same request has the same URL.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from blobkit_aws.signing.encoding import encode_query
from blobkit_aws.signing.sigv4 import SESSION_TOKEN, UNSIGNED_PAYLOAD, Credentials, SignedHeaders, moment

__all__ = ["ALGORITHM", "AsymmetricPresigner", "AsymmetricSigner", "derive_private_key", "string_to_sign"]

ALGORITHM: Final = "AWS4-ECDSA-P256-SHA256"
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (FIPS 186-4, D.1.2.3)


def derive_private_key(access_key: str, secret_key: str) -> ec.EllipticCurvePrivateKey:
    """The private key that belongs to a secret key.

    For a counter from 1: ``k = HMAC-SHA256("AWS4A" + secret, 0x00000001 || algorithm || 0x00 || access key || counter ||
    0x00000100)``; the first k that is at most n - 2 gives the private number k + 1.
    """
    for counter in range(1, 255):
        message = b"".join(
            (
                b"\x00\x00\x00\x01",
                ALGORITHM.encode(),
                b"\x00",
                access_key.encode(),
                bytes([counter]),
                b"\x00\x00\x01\x00",
            )
        )
        candidate = int.from_bytes(hmac.digest(f"AWS4A{secret_key}".encode(), message, "sha256"), "big")
        if candidate <= _ORDER - 2:
            return ec.derive_private_key(candidate + 1, ec.SECP256R1())
    raise ValueError("no key can be derived from this secret")  # one in 2**8000


def string_to_sign(stamp: str, canonical_request: str) -> str:
    """The text that is signed; its scope has no region."""
    return f"{ALGORITHM}\n{stamp}\n{stamp[:8]}/s3/aws4_request\n{sha256(canonical_request.encode()).hexdigest()}"


class AsymmetricPresigner:
    """A presigned URL but for one part of it, as :class:`blobkit_aws.signing.sigv4.Presigner`."""

    __slots__ = ("_base", "_headers", "_key", "_method", "_origin", "_parameters", "_part_name", "_stamp")

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        origin: str,
        method: str,
        base: str,
        headers: SignedHeaders,
        parameters: Sequence[tuple[str, str]],
        stamp: str,
        part_name: str | None = None,
    ) -> None:
        self._key = key
        self._origin = origin
        self._method = method
        self._base = base
        self._headers = headers
        self._parameters = parameters
        self._stamp = stamp
        self._part_name = part_name

    def url(self, part: str | int, lines: str = "") -> str:
        """The signed URL; a text is encoded already. ``lines`` are the canonical headers that were not known before."""
        path, parameters = self._base, [*self._parameters]
        if self._part_name is None:
            path = f"{path}{part}"
        else:
            parameters.insert(0, (self._part_name, str(part)))
        query = "&".join(sorted((encode_query([pair]) for pair in parameters), key=lambda pair: pair.split("=", 1)))
        known, names = self._headers
        canonical = f"{self._method}\n{path}\n{query}\n{known}{lines}\n{names}\n{UNSIGNED_PAYLOAD}"
        text = string_to_sign(self._stamp, canonical)
        signature = self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        return f"{self._origin}{path}?{encode_query(parameters)}&X-Amz-Signature={signature.hex()}"

    def urls(self, parts: Iterable[str | int], lines: str = "") -> Iterator[str]:
        """:meth:`url` of each."""
        return (self.url(part, lines) for part in parts)


class AsymmetricSigner:
    """Presigns for one host with one set of credentials; see :class:`blobkit_aws.signing.sigv4.QuerySigner`.

    Args:
        credentials: The keys; temporary ones must come from a regional STS endpoint.
        origin: ``https://host``.
        host: The Host header.
        regions: Where the signature is valid: ``*``, or a comma-separated list.
    """

    def __init__(self, credentials: Credentials, *, origin: str, host: str, regions: str = "*") -> None:
        self.credentials = credentials
        self.origin = origin
        self._only_host = SignedHeaders(f"host:{host}\n", "host")
        self._regions = regions
        self._key = derive_private_key(credentials.access_key, credentials.secret_key)

    def __repr__(self) -> str:
        return f"AsymmetricSigner({self.credentials.access_key}, {self.origin})"

    def of_path(
        self,
        method: str,
        start: int,
        lifetime: int,
        *,
        base: str = "/",
        headers: SignedHeaders | None = None,
        query: Sequence[tuple[str, str]] = (),
    ) -> AsymmetricPresigner:
        """URLs that differ in what follows ``base`` in the path."""
        headers = headers or self._only_host
        stamp, parameters = self._parameters(start, lifetime, headers.names)
        return AsymmetricPresigner(self._key, self.origin, method, base, headers, [*query, *parameters], stamp)

    def of_part(
        self, path: str, upload_id: str, start: int, lifetime: int, *, headers: SignedHeaders | None = None
    ) -> AsymmetricPresigner:
        """URLs of UploadPart that differ in the part's number. ``path`` is whole and encoded."""
        headers = headers or self._only_host
        stamp, parameters = self._parameters(start, lifetime, headers.names)
        return AsymmetricPresigner(
            self._key, self.origin, "PUT", path, headers, [("uploadId", upload_id), *parameters], stamp, "partNumber"
        )

    def _parameters(self, start: int, lifetime: int, names: str) -> tuple[str, list[tuple[str, str]]]:
        at = moment(start)
        parameters = [
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", f"{self.credentials.access_key}/{at.date}/s3/aws4_request"),
            ("X-Amz-Date", at.stamp),
            ("X-Amz-Expires", str(lifetime)),
            ("X-Amz-Region-Set", self._regions),
            ("X-Amz-SignedHeaders", names),
        ]
        if self.credentials.token is not None:
            parameters.append((SESSION_TOKEN, self.credentials.token))
        return at.stamp, parameters
