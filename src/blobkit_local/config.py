"""The options of ``local:///dir`` and ``memory://name``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal
from urllib.parse import urlsplit

from blobkit.config import Kind, Option, StoreConfig
from blobkit.errors import ConfigError
from blobkit.redaction import Secret

__all__ = ["DEFAULT_ENDPOINT", "OPTIONS", "LocalConfig", "read_config"]

DEFAULT_ENDPOINT: Final = "http://127.0.0.1:8707"
"""Where ``blobkit serve`` listens."""

_PLAY: Final = " To see how your service behaves on a provider like that."

OPTIONS: Final = (
    Option("versioning", Kind.FLAG, "Overwritten and deleted objects stay readable by their version.", "false"),
    Option("max_expiry", Kind.SECONDS, "The longest life of a signed URL, in seconds.", "604800"),
    Option("webhook", Kind.TEXT, "An http(s) URL that is told of every change: CloudEvents, signed, with retries."),
    Option("webhook_secret", Kind.SECRET, "Signs the webhook's requests; without it, a key of the store's own does."),
    Option(
        "commit",
        Kind.CHOICE,
        "Who publishes a chunked object: complete(), or the client's last chunk (as on GCS)." + _PLAY,
        "service",
        ("service", "last_chunk"),
    ),
    Option(
        "chunk_grant",
        Kind.CHOICE,
        "What a chunk URL can write: its chunk, or the whole object too (as an Azure SAS)." + _PLAY,
        "chunk",
        ("chunk", "object"),
    ),
    Option("signing_io", Kind.FLAG, "Every signature needs I/O (as with GCS signBlob)." + _PLAY, "false"),
    Option("sequential", Kind.FLAG, "Chunks are taken in order only (as in GCS sessions)." + _PLAY, "false"),
    Option(
        "unknown",
        Kind.TEXT,
        "Comma-separated capabilities that are not known to be there (put.if_absent, sign_delete)." + _PLAY,
    ),
)


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """The options as values.

    Attributes:
        endpoint: Scheme and authority of the URLs that clients get.
        base_path: What comes before the data plane's own paths: empty, or ``/…`` without a slash at its end.
    """

    versioning: bool = False
    public: bool = False
    max_expiry: timedelta = timedelta(days=7)
    endpoint: str = DEFAULT_ENDPOINT
    base_path: str = ""
    webhook: str | None = None
    webhook_secret: Secret | None = None
    commit: Literal["service", "last_chunk"] = "service"
    chunk_grant: Literal["chunk", "object"] = "chunk"
    signing_io: bool = False
    sequential: bool = False
    unknown: tuple[str, ...] = ()


def read_config(config: StoreConfig) -> LocalConfig:
    """The values of checked settings. Raises ConfigError for those that cannot work."""
    endpoint, base_path = _endpoint(config.text("public_endpoint") or DEFAULT_ENDPOINT)
    unknown = config.text("unknown") or ""
    return LocalConfig(
        versioning=config.flag("versioning"),
        public=config.flag("public"),
        max_expiry=config.seconds("max_expiry") or timedelta(days=7),
        endpoint=endpoint,
        base_path=base_path,
        webhook=config.text("webhook"),
        webhook_secret=config.secret("webhook_secret"),
        commit="last_chunk" if config.text("commit") == "last_chunk" else "service",
        chunk_grant="object" if config.text("chunk_grant") == "object" else "chunk",
        signing_io=config.flag("signing_io"),
        sequential=config.flag("sequential"),
        unknown=tuple(name for part in unknown.split(",") if (name := part.strip())),
    )


def _endpoint(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = None, None
    if (
        parts is None
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
        or port == 0
    ):
        raise ConfigError(
            f"public_endpoint must be an http or https URL without query, not {url!r}", hint=DEFAULT_ENDPOINT
        )
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
