"""What signs, and what the control client logs in with.

A service account's key and an HMAC key sign here, without the SDK. Any other credential (workload identity, Cloud Run,
impersonation) signs through IAM's signBlob, see :mod:`blobkit_gcs.signblob`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from blobkit.errors import PluginMissing, SigningUnavailable
from blobkit_gcs.calls import Reply
from blobkit_gcs.config import GcsConfig
from blobkit_gcs.signing import HmacKey, RsaKey, SigningKey

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

__all__ = ["SCOPES", "Identity", "Tokens"]

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
        self._remote: SigningKey | None = None
        self.local: SigningKey | None = None
        if config.hmac is not None:
            self.local = HmacKey(config.hmac[0], config.hmac[1].reveal())
        elif config.key is not None:
            self.local = RsaKey(config.key["client_email"], config.key["private_key"])

    def signing_key(self) -> SigningKey:
        """What signs. Raises SigningUnavailable where nothing can."""
        if self.local is not None:
            return self.local
        tokens = Tokens(self.login)
        email = self._config.signer_email or tokens.email()
        with self._lock:
            if self._remote is None:
                from blobkit_gcs.signblob import SignBlobKey

                self._remote = SignBlobKey(
                    tokens, email, self._config.iam_endpoint, timeout=self._timeout, retries=self._retries
                )
            return self._remote

    def login(self) -> Credentials:
        """What the control client logs in with. Raises what google-auth raises."""
        with self._lock:
            if self._login is None:
                self._login = self._find()
            found: Credentials = self._login
            return found

    def _find(self) -> object:
        try:
            import google.auth
            from google.oauth2 import service_account
        except ImportError as error:
            raise PluginMissing(
                "Cloud Storage needs google-cloud-storage", provider="gcs", hint='pip install "blobkit[gcs]"'
            ) from error
        if self._config.key is not None:
            found: object = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
                dict(self._config.key), scopes=list(SCOPES)
            )
            return found
        credentials, _ = google.auth.default(scopes=list(SCOPES))
        return credentials


class Tokens:
    """Calls with the access tokens of one login, which google-auth keeps and renews. Thread-safe.

    Args:
        login: Gives google-auth's credentials.
    """

    def __init__(self, login: Callable[[], Credentials]) -> None:
        self._login = login
        self._lock = threading.Lock()
        self._session: Any = None

    def email(self) -> str:
        """The service account behind the credentials.

        Raises:
            SigningUnavailable: They are a user's, or do not say.
        """
        login = self._login()
        email = getattr(login, "service_account_email", None)
        if email == "default":  # the metadata server has not been asked yet
            from google.auth.transport.requests import Request

            with self._lock:
                login.refresh(Request())  # type: ignore[no-untyped-call]
            email = getattr(login, "service_account_email", None)
        if not email or email == "default":
            raise SigningUnavailable(
                "these credentials belong to no service account, and nobody else can sign",
                provider="gcs",
                hint="signer_email=NAME@PROJECT.iam.gserviceaccount.com signs as one; so does a JSON or an HMAC key",
            )
        return str(email)

    def post(self, url: str, body: Mapping[str, str], *, timeout: float) -> Reply:
        """POST JSON with a token; one refresh, however many threads wait for it."""
        with self._lock:
            if self._session is None:
                from google.auth.transport.requests import AuthorizedSession

                self._session = AuthorizedSession(self._login())  # type: ignore[no-untyped-call]
            session, login = self._session, self._login()
            if not login.valid:
                from google.auth.transport.requests import Request

                login.refresh(Request())  # type: ignore[no-untyped-call]
        answer: Reply = session.post(url, json=dict(body), timeout=timeout, allow_redirects=False)
        return answer
