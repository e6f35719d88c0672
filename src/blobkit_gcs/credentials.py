"""What signs, and what the control client logs in with.

A service account's key and an HMAC key sign here, without the SDK. Any other credential (workload identity, Cloud Run,
impersonation) signs through IAM's signBlob, see :mod:`blobkit_gcs.signblob`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from blobkit.errors import PluginMissing, SigningUnavailable
from blobkit_gcs.calls import Reply
from blobkit_gcs.config import GcsConfig
from blobkit_gcs.signing import HmacKey, RsaKey, SigningKey

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

__all__ = ["SCOPES", "Identity", "Tokens"]

_TOKEN_URI: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - where tokens come from, not one
SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)


class Identity:
    """Who the store is. Thread-safe; nothing is loaded before it is needed.

    Attributes:
        local: The key that signs here; None where signBlob must.
    """

    def __init__(self, config: GcsConfig, timeout: float, retries: int) -> None:
        self._config = config
        self._retries = retries
        self._timeout = timeout
        self._lock = threading.Lock()
        self._login: Any = None
        self._tokens: Tokens | None = None
        self.local: SigningKey | None = None
        if config.hmac is not None:
            self.local = HmacKey(config.hmac[0], config.hmac[1].reveal())
        elif config.key is not None:
            self.local = RsaKey(config.key["client_email"], config.key["private_key"])

    def signing_key(self) -> SigningKey:
        """What signs. Raises SigningUnavailable where nothing can."""
        if self.local is not None:
            return self.local
        from blobkit_gcs.signblob import SignBlobKey

        login = self.login()
        tokens = Tokens(login)
        email = self._config.signer_email or tokens.email()
        source, delegates = _impersonator(login, email)
        if source is not login:
            tokens = Tokens(source)
        self._tokens = tokens
        return SignBlobKey(
            tokens,
            email,
            self._config.iam_endpoint,
            delegates=delegates,
            timeout=self._timeout,
            retries=self._retries,
        )

    def close(self) -> None:
        """Close the connections to signBlob. Idempotent."""
        if self._tokens is not None:
            self._tokens.close()

    def login(self) -> Credentials:
        """What the control client logs in with. Raises what google-auth raises."""
        with self._lock:
            if self._login is None:
                self._login = self._find()
            found: Credentials = self._login
            return found

    def _with_key(self, key: Mapping[str, str], credentials: Callable[..., object]) -> object:
        """google-auth's credentials of a service account's key, with the key that is parsed already."""
        return credentials(
            _Signer(key),
            key["client_email"],
            key.get("token_uri", _TOKEN_URI),
            scopes=list(SCOPES),
            project_id=key.get("project_id"),
            universe_domain=self._config.universe_domain,
        )

    def _find(self) -> object:
        try:
            import google.auth
            from google.oauth2 import service_account
        except ImportError as error:
            raise PluginMissing(
                "Cloud Storage needs google-cloud-storage", provider="gcs", hint='pip install "blobkit[gcs]"'
            ) from error
        if self._config.key is not None:
            return self._with_key(self._config.key, service_account.Credentials)
        credentials, _ = google.auth.default(scopes=list(SCOPES))
        return credentials


class _Signer:
    """A service account's key, as google-auth asks for it (``google.auth.crypt.Signer``)."""

    def __init__(self, key: Mapping[str, str]) -> None:
        self._key = RsaKey(key["client_email"], key["private_key"])
        self.key_id = key.get("private_key_id")

    def sign(self, message: str | bytes) -> bytes:
        """The signature."""
        return self._key.sign_bytes(message.encode("utf-8") if isinstance(message, str) else message)


def _impersonator(login: Credentials, email: str) -> tuple[Credentials, Sequence[str]]:
    """Who signs for an account that ``login`` impersonates: whoever impersonates it, through the same delegates.

    They have the role on the account already; the account itself seldom has it on itself. google-auth signs so, too.
    """
    from google.auth import impersonated_credentials

    if not isinstance(login, impersonated_credentials.Credentials) or login.service_account_email != email:
        return login, ()
    return login._source_credentials, tuple(login._delegates or ())


class Tokens:
    """Calls with the access tokens of one login, which google-auth keeps and renews. Thread-safe."""

    def __init__(self, login: Credentials) -> None:
        self._login: Any = login
        self._lock = threading.Lock()
        self._session: Any = None

    def email(self) -> str:
        """The service account behind the credentials.

        Raises:
            SigningUnavailable: They are a user's, or do not say.
        """
        login = self._login
        email = getattr(login, "service_account_email", None)
        if email == "default":  # the metadata server has not been asked yet
            from google.auth.transport.requests import Request

            with self._lock:
                login.refresh(Request())
            email = getattr(login, "service_account_email", None)
        if not email or email == "default":
            raise SigningUnavailable(
                "these credentials belong to no service account, and nobody else can sign",
                provider="gcs",
                hint="signer_email=NAME@PROJECT.iam.gserviceaccount.com signs as one; so does a JSON or an HMAC key",
            )
        return str(email)

    def post(self, url: str, body: object, *, timeout: float) -> Reply:
        """POST JSON with a token; one refresh, however many threads wait for it."""
        with self._lock:
            if self._session is None:
                from google.auth.transport.requests import AuthorizedSession

                self._session = AuthorizedSession(self._login)  # type: ignore[no-untyped-call]
            session = self._session
            if not self._login.valid:
                from google.auth.transport.requests import Request

                self._login.refresh(Request())
        answer: Reply = session.post(url, json=body, timeout=timeout, allow_redirects=False)
        return answer

    def close(self) -> None:
        """Close the connections. Idempotent."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()
