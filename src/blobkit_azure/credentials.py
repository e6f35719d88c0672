"""What signs, and what the control client logs in with.

An account's key signs by itself, and a given SAS needs no signature. Everything else is an Entra token, which signs through a
user-delegation key: **one** key for all signatures, asked for by one caller while the others wait, a little back-dated because
clocks differ, strictly shorter than Azure's seven days, and renewed before a SAS would outlive it.
https://learn.microsoft.com/rest/api/storageservices/get-user-delegation-key
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qs

from blobkit.errors import ConfigError, PluginMissing, SigningUnavailable
from blobkit.redaction import Secret
from blobkit_azure.config import AzureConfig
from blobkit_azure.signing.sas import DelegationKey

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

__all__ = ["BACKDATED", "DelegationKeys", "GivenSas", "StaticToken", "Validity", "identity", "read_sas"]

BACKDATED: Final = timedelta(minutes=15)
"""How long before now a key begins: clocks may differ by as much."""

_KEY_LIFE: Final = timedelta(days=7) - timedelta(minutes=1)
_AGAIN: Final = timedelta(minutes=1)  # a key so young is as long-lived as a new one would be
_MAX_TOKEN: Final = 64 * 1024


class Validity(NamedTuple):
    """A delegation key, and when it ends, seconds since the epoch."""

    key: DelegationKey
    ends: int


class DelegationKeys:
    """The user-delegation key of one store. Thread-safe.

    Args:
        fetch: Asks the account's own host for a key between two times, aware UTC.
        clock: The time.
    """

    def __init__(self, fetch: Callable[[datetime, datetime], DelegationKey], clock: Callable[[], datetime]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._last: Validity | None = None
        self._since: datetime | None = None
        self._pending: Future[Validity] | None = None

    def ready(self, until: int) -> Validity | None:
        """The key, if it lasts until then."""
        last = self._last
        return last if last is not None and last.ends >= until else None

    def get(self, until: int) -> Validity:
        """The key that lasts until then, or the longest there is. One caller asks; all others get its answer, or its error."""
        with self._lock:
            known = self.ready(until)
            if known is not None:
                return known
            if self._last is not None and self._since is not None and abs(self._clock() - self._since) < _AGAIN:
                return self._last
            pending, mine = self._pending, False
            if pending is None:
                pending = self._pending = Future()
                mine = True
        if mine:
            self._ask(pending)
        return pending.result()

    def _ask(self, pending: Future[Validity]) -> None:
        now = self._clock()
        start = (now - BACKDATED).replace(microsecond=0)
        try:
            key = self._fetch(start, start + _KEY_LIFE)
            made = Validity(key, int(datetime.fromisoformat(key.expiry).timestamp()))
        except BaseException as error:
            with self._lock:
                self._pending = None
            pending.set_exception(error)
            return
        with self._lock:
            self._last, self._since, self._pending = made, now, None
        pending.set_result(made)


@dataclass(frozen=True, slots=True)
class GivenSas:
    """A SAS that somebody made: its text, its permissions, and when it ends, seconds since the epoch."""

    text: Secret
    permissions: str
    ends: int


def read_sas(sas: Secret) -> GivenSas:
    """What a SAS says of itself.

    Raises:
        ConfigError: It is none, or does not say what it allows and until when (a stored access policy does): clients could not
            be told.
    """
    values = {name: some[0] for name, some in parse_qs(sas.reveal()).items()}
    if "sig" not in values or "sv" not in values:
        raise ConfigError("sas_token is not a shared access signature: it has no sig and sv")
    try:
        ends = int(_time(values["se"]).timestamp())
        permissions = values["sp"]
    except (KeyError, ValueError):
        raise ConfigError(
            "the SAS does not say what it allows (sp) and when it ends (se)", hint="?share_sas=false, or another SAS"
        ) from None
    return GivenSas(sas, permissions, ends)


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


# --- Entra ------------------------------------------------------------------------------------------------------------


class StaticToken:
    """An Entra token that somebody else renews, as a ``TokenCredential`` of azure-core."""

    def __init__(self, token: Secret) -> None:
        self._token = token
        self._ends = _expiry(token.reveal())

    def __repr__(self) -> str:
        return "StaticToken(***)"

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **kwargs: object,
    ) -> AccessToken:
        """The token, whatever is asked for."""
        from azure.core.credentials import AccessToken

        return AccessToken(self._token.reveal(), self._ends)


def _expiry(token: str) -> int:
    """When a JSON Web Token says that it ends; without a word, in an hour. Nothing is verified: the service does that."""
    payload = token.split(".")[1] if token.count(".") == 2 and len(token) <= _MAX_TOKEN else ""
    try:
        found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, ValueError):
        found = None
    ends = found.get("exp") if isinstance(found, dict) else None
    return int(ends) if isinstance(ends, int | float) else int(time.time()) + 3600


def identity(config: AzureConfig) -> TokenCredential:
    """The credential that the settings name.

    Raises:
        PluginMissing: azure-identity is not installed.
        SigningUnavailable: There is a key or a SAS, and so no identity.
    """
    if config.token is not None:
        return StaticToken(config.token)
    if not config.delegated:
        raise SigningUnavailable("the store logs in with a key or a signature, not with an identity", provider="azure")
    try:
        import azure.identity as known
    except ImportError as error:
        raise PluginMissing(
            "Entra identities need azure-identity", provider="azure", hint='pip install "blobkit[azure]"'
        ) from error
    client, tenant = config.client_id, config.tenant_id
    match config.identity:
        case "environment":
            return known.EnvironmentCredential()
        case "workload":
            return known.WorkloadIdentityCredential(client_id=client, tenant_id=tenant)
        case "managed":
            return known.ManagedIdentityCredential(client_id=client)
        case "cli":
            return known.AzureCliCredential(tenant_id=tenant or "")
        case "developer":
            return known.AzureDeveloperCliCredential(tenant_id=tenant or "")
        case "powershell":
            return known.AzurePowerShellCredential(tenant_id=tenant or "")
        case _:
            return known.DefaultAzureCredential(managed_identity_client_id=client, workload_identity_tenant_id=tenant)
