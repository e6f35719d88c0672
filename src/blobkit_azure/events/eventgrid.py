"""Proof that a webhook request comes from your Event Grid subscription. Event Grid signs nothing, so there are two ways:

* :class:`EntraVerifier`: a Microsoft Entra token with every request
  (https://learn.microsoft.com/azure/event-grid/secure-webhook-delivery). The better one.
* :class:`blobkit.events.auth.SharedSecret`: a secret delivery attribute (a header), or a query parameter.

:class:`EventGridVerifier` takes either and adds the allow-list of storage accounts: neither proof says whose events they are.
The validation handshake proves your endpoint to Azure, nothing to you; it is answered only after all of this.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection
from typing import Final

from blobkit.errors import InvalidArgument, MalformedEvent, UntrustedEvent
from blobkit.events.auth import Authenticator, Proof, Request
from blobkit.events.controls import AccountSummary, Control, EventGridValidation, SubscriptionDeleted
from blobkit.events.fetching import Fetch, https_fetch
from blobkit.events.jwt import JwtVerifier, KeySet
from blobkit.events.parse import parse_events
from blobkit_azure.events.records import source_of

__all__ = ["EVENT_GRID_APP", "EVENT_GRID_APP_US_GOVERNMENT", "EVENT_GRID_ROLE", "EntraVerifier", "EventGridVerifier"]

EVENT_GRID_APP: Final = "4962773b-9cdb-44cf-a8bf-237846a00ab7"
"""The application id of Event Grid in the public cloud."""
EVENT_GRID_APP_US_GOVERNMENT: Final = "54316b56-3481-47f9-8f30-0300f5542a7b"
EVENT_GRID_ROLE: Final = "AzureEventGridSecureWebhookSubscriber"

_TENANT: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


class EntraVerifier:
    """Verifies the Microsoft Entra token that Event Grid sends.

    Args:
        tenant: The tenant's id.
        audience: Your application's id or its App ID URI.
        app_ids: Whose tokens are accepted: Event Grid's application.
        role: The application role that the token must have; None when you did not make one.
        authority: Of the cloud: ``https://login.microsoftonline.com``, or a sovereign one.
        fetch: How to get the tenant's keys.
        now: Seconds since the epoch.

    Raises:
        InvalidArgument: The tenant is not a GUID ("common" would accept every tenant), or something is empty.
    """

    challenge: Final = "Bearer"

    def __init__(
        self,
        tenant: str,
        *,
        audience: str | Collection[str],
        app_ids: Collection[str] = (EVENT_GRID_APP,),
        role: str | None = EVENT_GRID_ROLE,
        authority: str = "https://login.microsoftonline.com",
        fetch: Fetch = https_fetch,
        now: Callable[[], float] = time.time,
    ) -> None:
        tenant = tenant.lower()
        if not _TENANT.match(tenant):
            raise InvalidArgument("the tenant is given by its id, a GUID")
        audiences = frozenset({audience} if isinstance(audience, str) else audience)
        if not audiences or not all(audiences) or isinstance(app_ids, str) or not app_ids:
            raise InvalidArgument("an audience and a collection of application ids are needed")
        self._apps, self._role = frozenset(item.lower() for item in app_ids), role
        base = f"{authority.rstrip('/')}/{tenant}"
        self._tokens = JwtVerifier(
            KeySet(f"{base}/discovery/v2.0/keys", fetch),
            issuers={f"{base}/v2.0", f"https://sts.windows.net/{tenant}/"},  # tokens of version 2 and 1
            audiences=audiences,
            now=now,
        )

    def authenticate(self, request: Request) -> Proof:
        """See :class:`blobkit.events.auth.Authenticator`.

        Raises:
            UntrustedEvent: Not a token of Event Grid for you.
            TransientError: The tenant's keys could not be fetched.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise UntrustedEvent("the request has no token", code="missing")
        claims = self._tokens.claims(token.strip())
        app = claims.get("azp", claims.get("appid"))
        if not isinstance(app, str) or app.lower() not in self._apps:
            raise UntrustedEvent("the token is of another application")
        roles = claims.get("roles")
        if self._role is not None and not (isinstance(roles, list) and self._role in roles):
            raise UntrustedEvent("the token lacks the role of a subscriber")
        return Proof("entra", app.lower())


class EventGridVerifier:
    """A proof, and whose events may come with it.

    Args:
        proof: :class:`EntraVerifier`, or a :class:`~blobkit.events.auth.SharedSecret`.
        sources: Resource ids of your storage accounts
            (``/subscriptions/…/providers/Microsoft.Storage/storageAccounts/name``); case does not matter.
        subscriptions: Names of event subscriptions that may deliver; None accepts any. The handshake of CloudEvents names
            none, and is then proven by ``proof`` alone.

    Raises:
        InvalidArgument: No sources.
    """

    def __init__(
        self, proof: Authenticator, *, sources: Collection[str], subscriptions: Collection[str] | None = None
    ) -> None:
        if isinstance(sources, str) or not sources or not all(sources):
            raise InvalidArgument("sources is a collection of resource ids, and not empty")
        self._proof = proof
        self._sources = frozenset(item.rstrip("/").casefold() for item in sources)
        self._subscriptions = None if subscriptions is None else frozenset(item.casefold() for item in subscriptions)
        challenge = getattr(proof, "challenge", None)
        self.challenge: Final[str | None] = challenge if isinstance(challenge, str) else None

    def authenticate(self, request: Request) -> Proof:
        """See :class:`blobkit.events.auth.Authenticator`.

        Raises:
            UntrustedEvent: Not proven, or of another account or subscription.
            TransientError: It could not be found out.
        """
        proof = self._proof.authenticate(request)
        if request.method == "OPTIONS":
            return proof
        name = request.headers.get("aeg-subscription-name")
        if self._subscriptions is not None and (name is None or name.casefold() not in self._subscriptions):
            raise UntrustedEvent("the delivery is of another event subscription")
        # Read with the very parser that reads the events later: two readers of one body could be made to disagree.
        try:
            parsed = parse_events(request.body, request.headers)
        except MalformedEvent as error:
            raise UntrustedEvent("the delivery cannot be read") from error
        for event in parsed:
            if event.provider != "azure" or source_of(event.raw).casefold() not in self._sources:
                raise UntrustedEvent("the delivery is of another account")
        for control in parsed.controls:
            self._check_control(control)
        return proof

    def _check_control(self, control: Control) -> None:
        if isinstance(control, EventGridValidation):
            # The handshake may name only the Azure subscription above the account.
            topic = (control.topic or "").rstrip("/").casefold()
            if topic and any(item == topic or item.startswith(f"{topic}/") for item in self._sources):
                return
        elif isinstance(control, SubscriptionDeleted):
            if (control.topic or "").rstrip("/").casefold() in self._sources:
                return
        elif isinstance(control, AccountSummary) and source_of(control.raw).casefold() in self._sources:
            return
        raise UntrustedEvent("the delivery is of another account")
