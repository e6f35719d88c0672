"""The options of ``gs://bucket/prefix/``, and what they mean together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final, cast

from blobkit.config import Kind, Option, StoreConfig
from blobkit.errors import ConfigError, CredentialsMissing
from blobkit.redaction import Secret
from blobkit_gcs.hosts import GOOGLE, Addressing, Site, check_endpoint, site

__all__ = ["OPTIONS", "GcsConfig", "read_config", "service_account_key"]

_MAX_KEY_FILE: Final = 64 * 1024
SIGN_BLOB_LIFE: Final = timedelta(hours=12)
"""How long a signature of signBlob lasts for sure: Google may rotate the key that made it."""
LONGEST: Final = timedelta(days=7)
"""How long any V4 signature lasts at most."""

OPTIONS: Final = (
    Option("chunks", Kind.CHOICE, "How large objects are uploaded.", "resumable", ("resumable", "multipart")),
    Option("endpoint", Kind.TEXT, "What the service calls, where it is not Google's own (an emulator)."),
    Option("addressing", Kind.CHOICE, "How signed URLs name the bucket.", "path", ("path", "virtual", "bound")),
    Option("universe_domain", Kind.TEXT, f"The domain of another universe; else the key's, else {GOOGLE}."),
    Option("service_account", Kind.SECRET, "A service account's JSON key; else GOOGLE_APPLICATION_CREDENTIALS."),
    Option("hmac_access_id", Kind.TEXT, "The access id of an HMAC key, which then signs."),
    Option("hmac_secret", Kind.SECRET, "The secret of that key."),
    Option("signer_email", Kind.TEXT, "The service account that signBlob signs for, where credentials have no key."),
    Option("iam_endpoint", Kind.TEXT, "Where signBlob is, where it is not Google's own."),
    Option("project", Kind.TEXT, "The project of the client; only some calls of others need it."),
    Option("user_project", Kind.TEXT, "The project that pays, of a bucket whose requesters pay."),
    Option("versioning", Kind.FLAG, "The bucket keeps noncurrent versions: they can be named, and deleted.", "false"),
    Option(
        "max_expiry",
        Kind.SECONDS,
        "The longest life of a signed URL, in seconds: 604800, with signBlob 43200. More with signBlob is no promise.",
    ),
)


@dataclass(frozen=True, slots=True)
class GcsConfig:
    """The options as values.

    Attributes:
        key: A service account's JSON key, decoded.
        endpoint: Of the JSON and XML APIs.
        site: Where clients find the bucket.
        max_expiry: What was set; None where nothing was.
        cap: Whether a signature may end earlier than was asked (``on_short_credentials=cap``).
    """

    bucket: str
    endpoint: str
    site: Site
    multipart: bool
    key: Mapping[str, str] | None = field(default=None, repr=False)
    hmac: tuple[str, Secret] | None = None
    signer_email: str | None = None
    iam_endpoint: str = "https://iamcredentials.googleapis.com"
    universe_domain: str = GOOGLE
    own_endpoint: bool = False
    project: str | None = None
    user_project: str | None = None
    versioning: bool = False
    public: bool = False
    max_expiry: timedelta | None = None
    cap: bool = False

    @property
    def control(self) -> Site:
        """Where the service itself finds the bucket: path style."""
        return site(self.bucket, self.endpoint)


def read_config(config: StoreConfig, env: Mapping[str, str]) -> GcsConfig:
    """The values of checked settings.

    Raises:
        ConfigError: Settings that cannot work together, or a key file that is none.
        CredentialsMissing: A key file that cannot be read.
    """
    key = service_account_key(config, env)
    universe = _universe(config, key or {})
    given = config.text("endpoint") or env.get("STORAGE_EMULATOR_HOST") or None
    endpoint = check_endpoint(given, "endpoint") if given else f"https://storage.{universe}"
    public = config.text("public_endpoint")
    addressing = cast("Addressing", config.text("addressing") or "path")
    if addressing == "bound" and public is None:
        raise ConfigError(
            "addressing=bound needs the host that is bound to the bucket", hint="?public_endpoint=https://…"
        )
    bucket = config.location["bucket"]
    access_id, secret = config.text("hmac_access_id"), config.secret("hmac_secret")
    if (access_id is None) != (secret is None):
        raise ConfigError("an HMAC key has two halves", hint="hmac_access_id=… and hmac_secret_file= or _env=")
    asked = config.seconds("max_expiry")
    return GcsConfig(
        bucket=bucket,
        endpoint=endpoint,
        site=site(bucket, check_endpoint(public, "public_endpoint") if public else endpoint, addressing),
        multipart=config.text("chunks") == "multipart",
        key=key,
        hmac=(access_id, secret) if access_id is not None and secret is not None else None,
        signer_email=config.text("signer_email"),
        iam_endpoint=_iam(config, universe),
        universe_domain=universe,
        own_endpoint=given is not None,
        project=config.text("project"),
        user_project=config.text("user_project"),
        versioning=config.flag("versioning"),
        public=config.flag("public"),
        max_expiry=None if asked is None else min(asked, LONGEST),
        cap=config.text("on_short_credentials") == "cap",
    )


def _universe(config: StoreConfig, key: Mapping[str, str]) -> str:
    asked, of_key = config.text("universe_domain"), key.get("universe_domain")
    if asked and of_key and asked != of_key:
        raise ConfigError(f"the key is of the universe {of_key}, not {asked}", hint=f"?universe_domain={of_key}")
    return asked or of_key or GOOGLE


def _iam(config: StoreConfig, universe: str) -> str:
    given = config.text("iam_endpoint")
    return check_endpoint(given, "iam_endpoint") if given else f"https://iamcredentials.{universe}"


def service_account_key(config: StoreConfig, env: Mapping[str, str]) -> Mapping[str, str] | None:
    """The service account's key, read without the SDK; None when there is none, or the file is of another kind."""
    given = config.secret("service_account")
    if given is not None:
        found = _loaded(given.reveal(), "service_account")
        if found is None:
            raise ConfigError("service_account is not a service account's JSON key")
        return found
    path = env.get("GOOGLE_APPLICATION_CREDENTIALS")
    if not path:
        return None
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(_MAX_KEY_FILE + 1)
    except OSError as error:
        raise CredentialsMissing(f"GOOGLE_APPLICATION_CREDENTIALS: cannot read {path!r}: {error.strerror}") from error
    return _loaded(text, "GOOGLE_APPLICATION_CREDENTIALS")


def _loaded(text: str, where: str) -> Mapping[str, str] | None:
    try:
        found = json.loads(text) if len(text) <= _MAX_KEY_FILE else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"{where} is not a JSON key file")
    if found.get("type") != "service_account":
        return None  # a user's, or workload identity's: the SDK reads it, and signBlob signs
    if not all(isinstance(found.get(name), str) for name in ("client_email", "private_key")):
        raise ConfigError(f"{where} lacks client_email or private_key")
    return {str(name): value for name, value in found.items() if isinstance(value, str)}
