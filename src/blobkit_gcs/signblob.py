"""Signing without a key: the IAM Credentials API signs with a key of the account that Google keeps.

https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob. Token and e-mail are asked
for once and kept; a text that was signed before is not signed again; only so many calls run at a time.
"""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from blobkit.errors import BlobkitError, PermissionDenied, SigningUnavailable, Throttled, Unavailable
from blobkit_gcs.retrying import Attempts

if TYPE_CHECKING:
    from blobkit_gcs.credentials import Tokens

__all__ = ["CONCURRENCY", "SignBlobKey"]

CONCURRENCY: Final = 8
"""Calls at a time."""
_REMEMBERED: Final = 1024
ROLE: Final = "roles/iam.serviceAccountTokenCreator"


class SignBlobKey:
    """A service account's key that Google keeps.

    Args:
        tokens: Whose access tokens are used.
        email: The account that signs.
        endpoint: ``https://iamcredentials.googleapis.com``, or that of another universe.
        delegates: Through which accounts the right to sign reaches the caller, in order.
        timeout: Of one call, seconds.
        retries: How often a call that failed for a moment is made again.
    """

    @property
    def algorithm(self) -> str:
        """As it stands in signatures."""
        return "GOOG4-RSA-SHA256"

    def __init__(
        self,
        tokens: Tokens,
        email: str,
        endpoint: str,
        *,
        delegates: Sequence[str] = (),
        timeout: float = 30.0,
        retries: int = 3,
    ) -> None:
        self.identity = email
        self._tokens = tokens
        self._url = f"{endpoint}/v1/projects/-/serviceAccounts/{email}:signBlob"
        self._timeout = timeout
        self._again = Attempts(retries)
        self._delegates = [f"projects/-/serviceAccounts/{name.rpartition('/')[2]}" for name in delegates]
        self._lock = threading.Lock()
        self._running = threading.BoundedSemaphore(CONCURRENCY)
        self._known: OrderedDict[bytes, str] = OrderedDict()

    def __repr__(self) -> str:
        return f"SignBlobKey({self.identity})"

    def sign(self, text: bytes, date: str) -> str:
        """Ask for the signature, unless it is known.

        Raises:
            PermissionDenied: The caller may not sign as this account.
            SigningUnavailable: There is no such account, or the answer is no signature.
            TransientError: The service did not answer, after some tries.
        """
        with self._lock:
            if (known := self._known.get(text)) is not None:
                self._known.move_to_end(text)
                return known
        with self._running:
            signature = self._again(self._ask)(text)
        with self._lock:
            self._known[text] = signature
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return signature

    def _ask(self, text: bytes) -> str:
        body: dict[str, object] = {"payload": base64.b64encode(text).decode("ascii")}
        if self._delegates:
            body["delegates"] = self._delegates
        answer = self._tokens.post(self._url, body, timeout=self._timeout)
        if answer.status_code != 200:
            raise self._failure(answer.status_code)
        try:
            return base64.b64decode(answer.json()["signedBlob"], validate=True).hex()
        except (ValueError, KeyError, TypeError) as error:
            raise SigningUnavailable("signBlob answered something that is no signature") from error

    def _failure(self, status: int) -> BlobkitError:
        if status in (401, 403):
            return PermissionDenied(
                f"the credentials may not sign as {self.identity}",
                http_status=status,
                hint=f"grant them {ROLE} on {self.identity}, and enable the IAM Service Account Credentials API",
            )
        if status == 429:
            return Throttled("signBlob answered that it is asked too often", http_status=status)
        if status == 408 or status >= 500:
            return Unavailable(f"signBlob answered {status}", http_status=status)
        return SigningUnavailable(
            f"signBlob answered {status} for {self.identity}",
            http_status=status,
            hint="check signer_email=, universe_domain= and iam_endpoint=",
        )
