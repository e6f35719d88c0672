"""The options of ``az://account/container/prefix/``, and what they and the environment come to."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from blobkit.config import Kind, Option, StoreConfig
from blobkit.errors import ConfigError, CredentialsMissing
from blobkit.redaction import Secret
from blobkit_azure.hosts import PUBLIC, Site, check_account, check_container, site
from blobkit_azure.signing.sas import HEADERS_SINCE, AccountKey

__all__ = ["DELEGATION_LIFE", "IDENTITIES", "OPTIONS", "AzureConfig", "read_config"]

DELEGATION_LIFE: Final = timedelta(days=6, hours=23)
"""The longest life of a user-delegation SAS here. Azure's own limit is that of the key, seven days from its start, and the
key starts a little early."""

IDENTITIES: Final = ("default", "environment", "workload", "managed", "cli", "developer", "powershell")
_SERVICE_VERSION: Final = "2022-11-02"
_OLDEST: Final = "2018-11-09"
_VERSION: Final = re.compile(r"20\d\d-\d\d-\d\d\Z").match
_ADDRESSES: Final = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}(?:-\d{1,3}(?:\.\d{1,3}){3})?\Z").match
_POLICY: Final = re.compile(r"[!-~]{1,64}\Z").match
# The emulator's account and key are public: https://learn.microsoft.com/azure/storage/common/storage-use-azurite
_EMULATOR: Final = "http://127.0.0.1:10000/devstoreaccount1"
_EMULATOR_KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

OPTIONS: Final = (
    Option("account_key", Kind.SECRET, "A key of the account; else AZURE_STORAGE_KEY."),
    Option("connection_string", Kind.SECRET, "As the portal shows it; else AZURE_STORAGE_CONNECTION_STRING."),
    Option("sas_token", Kind.SECRET, "A shared access signature, when there is no key; else AZURE_STORAGE_SAS_TOKEN."),
    Option("share_sas", Kind.FLAG, "Hand that signature to clients, as wide and as long-lived as it is.", "false"),
    Option("access_token", Kind.SECRET, "An Entra token for storage, when something else renews it."),
    Option(
        "identity", Kind.CHOICE, "Which of azure-identity's credentials, when there is neither.", "default", IDENTITIES
    ),
    Option("client_id", Kind.TEXT, "The client id of a managed or workload identity."),
    Option("tenant_id", Kind.TEXT, "The tenant of a workload identity, or of a developer's login."),
    Option("endpoint", Kind.TEXT, "Where the account is, when it is not the public cloud (an emulator)."),
    Option("endpoint_suffix", Kind.TEXT, "The domain of another cloud.", PUBLIC),
    Option("allow_http", Kind.FLAG, "Sign for a plain http endpoint that is not this machine.", "false"),
    Option("sas_version", Kind.TEXT, "The version of signatures; chosen by what signs when unset."),
    Option("sas_ip", Kind.TEXT, "The IPv4 address, or first-last, from which signed URLs may be used."),
    Option("stored_policy", Kind.TEXT, "A stored access policy of the container: deleting it revokes every URL."),
    Option("versioning", Kind.FLAG, "The account keeps versions: they can be named, and deleted.", "false"),
    Option("max_expiry", Kind.SECONDS, "The longest life of a signed URL, in seconds; with a key there is no other."),
)


@dataclass(frozen=True, slots=True)
class AzureConfig:
    """The options as values. Exactly one of ``key``, ``sas`` and ``token`` is given, or none: then an identity is asked.

    Attributes:
        account, container: Where the blobs are.
        control: What the service itself calls: the account's own host, also behind a custom domain.
        public: What is signed for clients.
        key: Signs service SAS.
        sas: A SAS that somebody gave, without ``?``.
        share_sas: Whether clients get it.
        token: An Entra token.
        identity, client_id, tenant_id: Which credential of azure-identity.
        version: Of the signatures.
        ip, policy: As in a SAS.
        protocol: ``https``; ``https,http`` for http endpoints that are allowed.
        versioning, is_public: What the user says of the account.
        max_expiry: The longest life of a signature; None where there is no limit.
    """

    account: str
    container: str
    control: Site
    public: Site
    key: AccountKey | None = field(default=None, repr=False)
    sas: Secret | None = None
    share_sas: bool = False
    token: Secret | None = None
    identity: str = "default"
    client_id: str | None = None
    tenant_id: str | None = None
    version: str = _SERVICE_VERSION
    ip: str | None = None
    policy: str | None = None
    protocol: str = "https"
    versioning: bool = False
    is_public: bool = False
    max_expiry: timedelta | None = None

    @property
    def delegated(self) -> bool:
        """Whether a user-delegation key signs."""
        return self.key is None and self.sas is None

    @property
    def binds_headers(self) -> bool:
        """Whether signatures bind headers of the request."""
        return self.delegated and self.version >= HEADERS_SINCE


def read_config(config: StoreConfig, env: Mapping[str, str]) -> AzureConfig:
    """The values of checked settings, with what the environment adds.

    Raises:
        ConfigError: Settings that cannot work together, names that cannot be, or a key that is none.
        CredentialsMissing: A connection string without a key or a signature.
    """
    account, container = check_account(config.location["account"]), check_container(config.location["container"])
    given = _given(config, env, account)
    endpoint = config.text("endpoint") or given.endpoint
    control = site(account, endpoint, config.options.get("endpoint_suffix") or given.suffix or PUBLIC)
    address = config.text("public_endpoint")
    public = control if address is None else site(account, address, option="public_endpoint")
    policy = config.text("stored_policy")
    if policy is not None and (given.key is None or not _POLICY(policy)):
        raise ConfigError(
            "a stored access policy needs the account's key, and a name of at most 64 printable characters",
            hint="stored_policy=NAME beside account_key_file= or _env=",
        )
    if config.flag("share_sas") and given.sas is None:
        raise ConfigError("share_sas hands on a sas_token, and there is none")
    if given.key is None and given.sas is None and not control.secure:
        raise ConfigError("an Entra identity logs in over https alone", hint="an https endpoint, or an account key")
    made = AzureConfig(
        account=account,
        container=container,
        control=control,
        public=public,
        key=given.key,
        sas=given.sas,
        share_sas=config.flag("share_sas"),
        token=given.token,
        identity=config.text("identity") or "default",
        client_id=config.text("client_id"),
        tenant_id=config.text("tenant_id"),
        ip=_addresses(config.text("sas_ip")),
        policy=policy,
        protocol=_protocol(public, config.flag("allow_http")),
        versioning=config.flag("versioning"),
        is_public=config.flag("public"),
    )
    return _dated(made, config.text("sas_version"), config.seconds("max_expiry"))


def _dated(made: AzureConfig, version: str | None, longest: timedelta | None) -> AzureConfig:
    """With the version of the signatures, and their longest life."""
    if version is None:
        version = HEADERS_SINCE if made.delegated else _SERVICE_VERSION
    elif not _VERSION(version) or version < _OLDEST:
        raise ConfigError(f"not a version of signatures: {version!r}", hint=f"a date such as {_SERVICE_VERSION}")
    if made.delegated:
        longest = DELEGATION_LIFE if longest is None else min(longest, DELEGATION_LIFE)
    return replace(made, version=version, max_expiry=longest)


def _protocol(public: Site, allowed: bool) -> str:
    """Signed URLs are good for https alone, except where the endpoint has none."""
    if public.secure:
        return "https"
    if not (public.loopback or allowed):
        raise ConfigError(
            f"{public.url} is not https: whoever listens could use what is signed", hint="https, or ?allow_http=true"
        )
    return "https,http"


def _addresses(text: str | None) -> str | None:
    if text is not None and not _ADDRESSES(text):
        raise ConfigError(f"sas_ip is an IPv4 address or first-last, not {text!r}")
    return text


# --- credentials that need no SDK -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Given:
    key: AccountKey | None = None
    sas: Secret | None = None
    token: Secret | None = None
    endpoint: str | None = None
    suffix: str | None = None


def _given(config: StoreConfig, env: Mapping[str, str], account: str) -> _Given:
    """What was given: options first, the environment next. Never a mixture of both."""
    options = {name: config.secret(name) for name in ("account_key", "connection_string", "sas_token", "access_token")}
    named = [name for name, value in options.items() if value is not None]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)} exclude each other")
    if (text := options["connection_string"]) is not None:
        return _connection(text.reveal(), account, "connection_string")
    if (key := options["account_key"]) is not None:
        return _Given(key=AccountKey(account, _decoded(key.reveal(), "account_key")))
    if (sas := options["sas_token"]) is not None:
        return _Given(sas=_bare(sas.reveal()))
    if (token := options["access_token"]) is not None:
        return _Given(token=token)
    if any(config.text(name) for name in ("client_id", "tenant_id")) or "identity" in config.options:
        return _Given()  # the user has said who signs
    return _from_env(env, account)


def _from_env(env: Mapping[str, str], account: str) -> _Given:
    """The variables of Azure's own tools, when they are of this account."""
    if text := env.get("AZURE_STORAGE_CONNECTION_STRING"):
        parts = _parts(text, "AZURE_STORAGE_CONNECTION_STRING")
        if parts.get("accountname") in (None, account):
            return _connection(text, account, "AZURE_STORAGE_CONNECTION_STRING")
    if env.get("AZURE_STORAGE_ACCOUNT") in (None, "", account):
        if key := env.get("AZURE_STORAGE_KEY"):
            return _Given(key=AccountKey(account, _decoded(key, "AZURE_STORAGE_KEY")))
        if sas := env.get("AZURE_STORAGE_SAS_TOKEN"):
            return _Given(sas=_bare(sas))
    return _Given()


def _connection(text: str, account: str, where: str) -> _Given:
    """https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string"""
    parts = _parts(text, where)
    if (name := parts.get("accountname")) not in (None, account):
        raise ConfigError(f"{where} is of the account {name!r}, and the store's is {account!r}")
    endpoint, suffix = parts.get("blobendpoint"), parts.get("endpointsuffix")
    if endpoint is None and parts.get("defaultendpointsprotocol", "https").lower() == "http":
        endpoint = f"http://{account}.blob.{suffix or PUBLIC}"
    if (key := parts.get("accountkey")) is not None:
        return _Given(key=AccountKey(account, _decoded(key, where)), endpoint=endpoint, suffix=suffix)
    if (sas := parts.get("sharedaccesssignature")) is not None:
        return _Given(sas=_bare(sas), endpoint=endpoint, suffix=suffix)
    raise CredentialsMissing(f"{where} has neither AccountKey nor SharedAccessSignature")


def _parts(text: str, where: str) -> dict[str, str]:
    """Names in lower case. ``UseDevelopmentStorage=true`` is the emulator's public account."""
    parts: dict[str, str] = {}
    for piece in text.strip().strip(";").split(";"):
        name, equals, value = piece.partition("=")
        if not equals or not name:
            raise ConfigError(f"{where} is not a connection string: name=value;name=value")
        parts[name.strip().lower()] = value.strip()
    if parts.get("usedevelopmentstorage", "").lower() == "true":
        parts |= {"accountname": "devstoreaccount1", "accountkey": _EMULATOR_KEY, "blobendpoint": _EMULATOR}
    return parts


def _decoded(text: str, where: str) -> bytes:
    try:
        value = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if not 16 <= len(value) <= 1024:
        raise ConfigError(f"{where} is not an account's key: base64 of 64 bytes")
    return value


def _bare(sas: str) -> Secret:
    return Secret(sas.strip().lstrip("?"))
