"""Whether a signed URL or a form is what its signer signed. The canonical strings are put together with google-cloud-storage's
own helpers, so that a mistake of blobkit's signer cannot hide here.

https://cloud.google.com/storage/docs/authentication/signatures and …/canonical-requests.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from google.cloud.storage import _signing

from blobkit_gcs.testing.checks import Checks
from blobkit_gcs.testing.failures import Failure
from blobkit_gcs.testing.identity import Identity

__all__ = ["Call", "Verifier"]

_LONGEST: Final = 604_800
_SKEW: Final = timedelta(minutes=15)
_HASHED: Final = {"GOOG4-RSA-SHA256", "GOOG4-HMAC-SHA256"}
_FORM_ONLY: Final = frozenset({"policy", "x-goog-signature", "file", "bucket"})


@dataclass(frozen=True, slots=True)
class Call:
    """What arrived: the path as it stood in the request line, query pairs decoded, header names in lower case.

    Attributes:
        bucket: The bucket that the host names, where it does; else the path does.
    """

    method: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Sequence[tuple[str, str]]
    bucket: str | None = None

    def header(self, name: str) -> str | None:
        """The value of one header."""
        return next((value for found, value in self.headers if found == name), None)

    def parameter(self, name: str) -> str | None:
        """The value of one query parameter."""
        return next((value for found, value in self.query if found == name), None)


class Verifier:
    """Checks V4 signatures of URLs and of POST policies."""

    def __init__(self, identity: Identity, checks: Checks) -> None:
        self._identity = identity
        self._checks = checks

    # --- URLs ---

    def url(self, call: Call, now: datetime) -> None:
        """Raise 400 or 403 unless the URL's signature is right, alive, and covers what it must."""
        given = _single(call.query)
        algorithm, credential = _needed(given, "X-Goog-Algorithm"), _needed(given, "X-Goog-Credential")
        stamp, signature = _needed(given, "X-Goog-Date"), _needed(given, "X-Goog-Signature")
        signed = _needed(given, "X-Goog-SignedHeaders").split(";")
        begins = self._begins(stamp)
        lifetime = _number(_needed(given, "X-Goog-Expires"))
        if not 0 < lifetime <= _LONGEST:
            raise Failure(
                400, "invalid", "X-Goog-Expires is out of range", xml_code="AuthorizationQueryParametersError"
            )
        if self._checks.expiry and now > begins + timedelta(seconds=lifetime):
            raise Failure(
                400,
                "expired",
                "The provided token has expired.",
                xml_code="ExpiredToken",
                details="Request signature expired",
            )
        if self._checks.not_before and now + _SKEW < begins:
            raise Failure(403, "notYetValid", "The request is not valid yet.", xml_code="AccessDenied")
        headers = self._signed_headers(call, signed)
        scope = self._scope(credential, stamp)
        texts = [
            f"{algorithm}\n{stamp}\n{scope}\n{_digest(call, headers, host)}".encode()
            for host in _hosts(call.header("host") or "")
        ]
        self._signature(algorithm, credential, texts, signature)

    def _signed_headers(self, call: Call, signed: Sequence[str]) -> list[tuple[str, str]]:
        if "host" not in signed:
            raise Failure(400, "invalid", "host must be signed", xml_code="MalformedSecurityHeader")
        headers: list[tuple[str, str]] = []
        for name in signed:
            values = [
                value for found, value in call.headers if found == name
            ]  # all: one that is sent twice counts twice
            if not values and self._checks.signed_headers:
                raise Failure(
                    400,
                    "invalid",
                    f"Header was included in signedheaders, but not in the request: {name}",
                    xml_code="MalformedSecurityHeader",
                )
            headers += [(name, value) for value in values]
        for name, _ in call.headers:
            if name.startswith("x-goog-") and name not in signed and self._checks.unsigned_headers:
                raise Failure(
                    400,
                    "invalid",
                    f"Header was included in the request, but not in signedheaders: {name}",
                    xml_code="MalformedSecurityHeader",
                )
        return headers

    # --- forms ---

    def form(self, bucket: str, fields: Mapping[str, str], size: int, now: datetime) -> None:
        """Raise 400 or 403 unless the policy is signed, alive, and allows exactly these fields and this many bytes."""
        lower = {name.lower(): value for name, value in fields.items()}
        policy, signature = lower.get("policy"), lower.get("x-goog-signature")
        if policy is None or signature is None:
            raise Failure(403, "forbidden", "Anonymous caller does not have storage.objects.create access")
        algorithm, credential = _needed(lower, "x-goog-algorithm"), _needed(lower, "x-goog-credential")
        stamp = _needed(lower, "x-goog-date")
        self._begins(stamp)
        self._scope(credential, stamp)
        self._signature(algorithm, credential, [policy.encode()], signature)
        try:
            said = json.loads(b64decode(policy, validate=True))
            ends = datetime.fromisoformat(said["expiration"])
            conditions = said["conditions"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Failure(400, "invalid", "The policy is malformed", xml_code="InvalidPolicyDocument") from error
        if self._checks.form_expiry and now > ends:
            raise _policy("the policy has expired", status=400, code="ExpiredToken")
        self._conditions(bucket, lower, conditions, size)

    def _conditions(self, bucket: str, fields: Mapping[str, str], conditions: Iterable[object], size: int) -> None:
        values = {**fields, "bucket": bucket}
        covered: set[str] = set(_FORM_ONLY)
        for condition in conditions:
            kind, name, value = _condition(condition)
            if kind == "content-length-range":
                low, high = _number(name), _number(value)
                if self._checks.form_size and not low <= size <= high:
                    code = "EntityTooLarge" if size > high else "EntityTooSmall"
                    raise Failure(400, "invalid", "Your proposed upload is of another size.", xml_code=code)
                continue
            covered.add(name)
            found = values.get(name, "")
            held = found.startswith(value) if kind == "starts-with" else found == value
            if self._checks.form_conditions and not held:
                raise _policy(f"the field {name} is not what the policy says")
        for name in fields:
            if name not in covered and not name.startswith("x-ignore-") and self._checks.form_fields:
                raise _policy(f"the policy says nothing of the field {name}")

    # --- all of them ---

    def _begins(self, stamp: str) -> datetime:
        try:
            return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError as error:
            raise Failure(400, "invalid", "X-Goog-Date is malformed", xml_code="MalformedSecurityHeader") from error

    def _scope(self, credential: str, stamp: str) -> str:
        parts = credential.split("/")
        if len(parts) != 5 or parts[1] != stamp[:8] or parts[3:] != ["storage", "goog4_request"]:
            raise Failure(400, "invalid", "The credential's scope is malformed", xml_code="MalformedSecurityHeader")
        return "/".join(parts[1:])

    def _signature(self, algorithm: str, credential: str, texts: Sequence[bytes], signature: str) -> None:
        if algorithm not in _HASHED:
            raise Failure(400, "invalid", "Unknown algorithm", xml_code="MalformedSecurityHeader")
        right = self._rsa if algorithm == "GOOG4-RSA-SHA256" else self._hmac
        if self._checks.signature and not any(right(credential, text, signature) for text in texts):
            raise Failure(
                403,
                "signatureDoesNotMatch",
                "Access denied. The request signature we calculated does not match the signature you provided.",
                xml_code="SignatureDoesNotMatch",
                details=texts[0].decode("utf-8", "replace"),
            )

    def _rsa(self, credential: str, text: bytes, signature: str) -> bool:
        key = self._identity.public_key(credential.partition("/")[0])
        try:
            if key is not None:
                key.verify(bytes.fromhex(signature), text, padding.PKCS1v15(), hashes.SHA256())
                return True
        except (ValueError, InvalidSignature):
            pass
        return False

    def _hmac(self, credential: str, text: bytes, signature: str) -> bool:
        access_id, date, location, service, request = credential.split("/")
        secret = self._identity.hmac_secret(access_id)
        if secret is None:
            return False
        key = f"GOOG4{secret}".encode()
        for part in (date, location, service, request):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.compare_digest(hmac.digest(key, text, "sha256").hex(), signature)


def _digest(call: Call, headers: Sequence[tuple[str, str]], host: str) -> str:
    """SHA-256 of the canonical request."""
    lines, ordered = _signing.get_canonical_headers(
        [(name, host if name == "host" else value) for name, value in headers]
    )
    canonical = "\n".join(
        (
            call.method,
            call.path,
            _signing._url_encode({name: value for name, value in call.query if name != "X-Goog-Signature"}),
            *lines,
            "",
            ";".join(name for name, _ in ordered),
            call.header("x-goog-content-sha256") or "UNSIGNED-PAYLOAD",
        )
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def _hosts(host: str) -> tuple[str, ...]:
    """Google is never called with a port; of a server that is, some signers sign the port and some do not."""
    bare = host.partition(":")[0]
    return (host,) if bare == host else (host, bare)


def _single(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The parameters, each given once: which of two would have been signed?"""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Failure(400, "invalid", "A parameter is given twice", xml_code="InvalidArgument")
    return found


def _needed(found: Mapping[str, str], name: str) -> str:
    value = found.get(name)
    if not value:
        raise Failure(400, "invalid", f"{name} is missing", xml_code="MalformedSecurityHeader")
    return value


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise Failure(400, "invalid", f"not a number: {text[:40]}")
    return int(text)


def _condition(condition: object) -> tuple[str, str, str]:
    """``{field: value}``, ``[op, $field, value]`` or ``["content-length-range", low, high]``."""
    if isinstance(condition, dict) and len(condition) == 1:
        [(name, value)] = condition.items()
        return "eq", str(name).lower(), str(value)
    if isinstance(condition, list) and len(condition) == 3:
        kind, name, value = (str(part) for part in condition)
        if kind == "content-length-range":
            return kind, name, value
        if kind in ("eq", "starts-with") and name.startswith("$"):
            return kind, name[1:].lower(), value
    raise Failure(400, "invalid", "The policy has a condition of no known form", xml_code="InvalidPolicyDocument")


def _policy(why: str, *, status: int = 400, code: str = "InvalidPolicyDocument") -> Failure:
    return Failure(
        status, "invalid", "The content of the form does not meet the conditions specified in the policy document.",
        xml_code=code, details=why,
    )  # fmt: skip
