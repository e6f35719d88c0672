"""Proof that a push comes from your subscription: :class:`PushVerifier`.

Source: https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions. A genuine Google token says only that some Google
service account asked for it, so the account's e-mail and the subscription are checked too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final

from blobkit.errors import InvalidArgument, MalformedEvent, UntrustedEvent
from blobkit.events.auth import Proof, Request
from blobkit.events.fetching import Fetch, https_fetch
from blobkit.events.jsontext import loads
from blobkit.events.jwt import JwtVerifier, KeySet

__all__ = ["GOOGLE_KEYS", "PushVerifier"]

GOOGLE_KEYS: Final = "https://www.googleapis.com/oauth2/v3/certs"
_ISSUERS: Final = frozenset({"https://accounts.google.com", "accounts.google.com"})


class PushVerifier:
    """Verifies the OIDC token of Pub/Sub pushes and of Eventarc deliveries.

    Args:
        audience: The subscription's audience (by default its push URL); for Eventarc the service's URL.
        service_accounts: The e-mail addresses that may push.
        subscriptions: The full names (``projects/p/subscriptions/s``) that may push. None accepts any subscription of
            those accounts: needed for Eventarc, whose deliveries name none.
        fetch: How to get Google's keys.
        now: Seconds since the epoch.

    Raises:
        InvalidArgument: An empty audience or list.
    """

    challenge: Final = "Bearer"

    def __init__(
        self,
        audience: str | Collection[str],
        *,
        service_accounts: Collection[str],
        subscriptions: Collection[str] | None,
        fetch: Fetch = https_fetch,
        now: Callable[[], float] = time.time,
    ) -> None:
        audiences = frozenset({audience} if isinstance(audience, str) else audience)
        if not audiences or not all(audiences):
            raise InvalidArgument("an audience is needed")
        if isinstance(service_accounts, str) or not service_accounts:
            raise InvalidArgument("service_accounts is a collection of e-mail addresses, and not empty")
        if subscriptions is not None and (isinstance(subscriptions, str) or not subscriptions):
            raise InvalidArgument("subscriptions is a collection of names and not empty, or None")
        self._accounts = frozenset(service_accounts)
        self._subscriptions = None if subscriptions is None else frozenset(subscriptions)
        self._tokens = JwtVerifier(KeySet(GOOGLE_KEYS, fetch), issuers=_ISSUERS, audiences=audiences, now=now)

    def authenticate(self, request: Request) -> Proof:
        """See :class:`blobkit.events.auth.Authenticator`.

        Raises:
            UntrustedEvent: Not one of your service accounts, not for this audience, or of another subscription.
            TransientError: Google's keys could not be fetched.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise UntrustedEvent("the push has no token", code="missing")
        claims = self._tokens.claims(token.strip())
        email = claims.get("email")
        if not isinstance(email, str) or email not in self._accounts or claims.get("email_verified") is not True:
            raise UntrustedEvent("the token is of another account")
        if self._subscriptions is not None and _subscription(request) not in self._subscriptions:
            raise UntrustedEvent("the push is of another subscription")
        return Proof("oidc", email)


def _subscription(request: Request) -> str | None:
    """In the body of a wrapped push, in a header of an unwrapped one with metadata."""
    named = request.headers.get("x-goog-pubsub-subscription-name")
    try:
        body = loads(request.body)
    except MalformedEvent:
        return named
    found = body.get("subscription") if isinstance(body, dict) and "message" in body else None
    if found is None:
        return named
    if not isinstance(found, str) or (named is not None and named != found):
        return None
    return found
