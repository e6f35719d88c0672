"""Who may sign and who may call: a service account with its key, an HMAC key, access tokens, signBlob.

The token endpoint checks the assertion of https://developers.google.com/identity/protocols/oauth2/service-account; signBlob is
that of https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from blobkit_gcs.testing.failures import Failure

__all__ = ["Identity", "ServiceAccount"]

_LIFETIME: Final = 3600
_AUDIENCE: Final = "https://oauth2.googleapis.com/token"  # what google-auth writes, whatever the token's URI
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@cache
def _private_key() -> rsa.RSAPrivateKey:
    """One for the process: making it takes a tenth of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account that the server knows.

    Attributes:
        email: Its name.
        private_key_pem: PKCS#8.
        token_uri: Where assertions become access tokens.
    """

    email: str
    private_key_pem: str = field(repr=False)
    token_uri: str

    @property
    def info(self) -> dict[str, str]:
        """The JSON key file, decoded."""
        return {
            "type": "service_account",
            "project_id": "strict-project",
            "private_key_id": "strict-key-1",
            "private_key": self.private_key_pem,
            "client_email": self.email,
            "client_id": "100000000000000000001",
            "token_uri": self.token_uri,
        }


class Identity:
    """What the server knows of those who call it.

    Attributes:
        may_sign_blob: Whether the account has ``iam.serviceAccounts.signBlob``.
        token_requests, sign_requests: How often tokens and signatures were asked for.
    """

    def __init__(self, endpoint: str, now: Callable[[], float]) -> None:
        pem = _private_key().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.account = ServiceAccount(
            "uploader@strict-project.iam.gserviceaccount.com", pem.decode("ascii"), f"{endpoint}/token"
        )
        self.hmac = ("GOOG1ESTRICT" + secrets.token_hex(16).upper(), secrets.token_urlsafe(30))
        self.may_sign_blob = True
        self.token_requests = self.sign_requests = 0
        self._now = now
        self._tokens: dict[str, float] = {}

    def public_key(self, email: str) -> rsa.RSAPublicKey | None:
        """The account's key; None for an account that is not known."""
        return _private_key().public_key() if email == self.account.email else None

    def hmac_secret(self, access_id: str) -> str | None:
        """The secret of an HMAC key; None for one that is not known."""
        return self.hmac[1] if hmac.compare_digest(access_id, self.hmac[0]) else None

    # --- access tokens ---

    def issue(self) -> str:
        """An access token for the API."""
        token = f"ya29.{secrets.token_urlsafe(40)}"
        self._tokens[token] = self._now() + _LIFETIME
        return token

    def revoke_tokens(self) -> None:
        """Every token issued so far is refused from now on."""
        self._tokens.clear()

    def check_token(self, authorization: str | None) -> None:
        """Raise 401 unless the header carries a token that was issued and has not ended."""
        kind, _, token = (authorization or "").partition(" ")
        ends = self._tokens.get(token.strip())
        if kind.lower() != "bearer" or ends is None or ends < self._now():
            raise Failure(
                401,
                "authError",
                "Invalid Credentials",
                xml_code="AuthenticationRequired",
                headers={"www-authenticate": 'Bearer realm="https://accounts.google.com/"'},
            )

    def token(self, grant_type: str | None, assertion: str | None) -> dict[str, object]:
        """Trade a signed assertion for an access token. Raises 400."""
        self.token_requests += 1
        if grant_type != _GRANT or not assertion:
            raise Failure(400, "invalid_request", "not a JWT bearer grant")
        try:
            head, claims, signature = assertion.split(".")
            _private_key().public_key().verify(
                _b64url(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
            said = json.loads(_b64url(claims))
        except (ValueError, InvalidSignature, binascii.Error) as error:
            raise Failure(400, "invalid_grant", "Invalid JWT Signature.") from error
        if said.get("iss") != self.account.email or said.get("aud") not in (_AUDIENCE, self.account.token_uri):
            raise Failure(400, "invalid_grant", "Invalid JWT: issuer or audience")
        if not said.get("iat", 0) - 60 <= self._now() <= said.get("exp", 0):
            raise Failure(400, "invalid_grant", "Invalid JWT: Token must be a short-lived token")
        return {"access_token": self.issue(), "expires_in": _LIFETIME, "token_type": "Bearer"}

    # --- signBlob ---

    def sign_blob(self, email: str, payload: str, delegates: Sequence[str] = ()) -> dict[str, str]:
        """Sign with the key that the account's holder never sees. Raises 403, 404, 400."""
        self.sign_requests += 1
        if not all(isinstance(name, str) and name.startswith("projects/-/serviceAccounts/") for name in delegates):
            raise Failure(400, "invalid", "delegates are projects/-/serviceAccounts/NAME")
        if email != self.account.email:
            raise Failure(404, "notFound", f"Unknown service account: {email}")
        if not self.may_sign_blob:
            raise Failure(
                403,
                "forbidden",
                "Permission 'iam.serviceAccounts.signBlob' denied on resource (or it may not exist).",
            )
        try:
            data = base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Failure(400, "invalid", "payload is not base64") from error
        signature = _private_key().sign(data, padding.PKCS1v15(), hashes.SHA256())
        return {"keyId": "strict-system-key", "signedBlob": base64.b64encode(signature).decode("ascii")}


def _b64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
