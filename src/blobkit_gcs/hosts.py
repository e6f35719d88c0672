"""Which host a signed URL names: path style, virtual-hosted, a host bound to the bucket, another universe, an emulator.

https://cloud.google.com/storage/docs/request-endpoints
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from blobkit.errors import ConfigError

__all__ = ["GOOGLE", "Addressing", "Site", "check_endpoint", "site"]

GOOGLE: Final = "googleapis.com"
"""The universe domain of the public cloud."""

Addressing = Literal["path", "virtual", "bound"]


@dataclass(frozen=True, slots=True)
class Site:
    """Where one bucket is, as a signature sees it.

    Attributes:
        origin: Scheme and authority.
        host: What is signed as ``host``: without the port, as Google's own test vectors have it.
        path: What the canonical resource starts with: ``/bucket/``, or ``/`` where the host names the bucket.
    """

    origin: str
    host: str
    path: str

    @property
    def base(self) -> str:
        """What the encoded key is appended to."""
        return self.origin + self.path


def check_endpoint(url: str, option: str) -> str:
    """Scheme and authority of an http(s) URL, in lower case, as clients send the host. Raises ConfigError for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(f"{option} is not a URL: {url!r}", hint="https://storage.example.com") from None
    wrong = parts.scheme not in ("http", "https") or not parts.hostname or port == 0
    if wrong or parts.query or parts.fragment or "@" in parts.netloc or parts.path not in ("", "/"):
        raise ConfigError(
            f"{option} is an http or https URL without path and query, not {url!r}", hint="https://storage.example.com"
        )
    return f"{parts.scheme}://{parts.netloc.lower()}"


def site(bucket: str, endpoint: str, addressing: Addressing = "path") -> Site:
    """The place of ``bucket`` below ``endpoint`` (scheme and authority; of the bucket itself when ``bound``)."""
    parts = urlsplit(endpoint)
    if addressing == "bound":
        return Site(endpoint, parts.hostname or "", "/")
    if addressing == "virtual":
        return Site(f"{parts.scheme}://{bucket}.{parts.netloc}", f"{bucket}.{parts.hostname}", "/")
    return Site(endpoint, parts.hostname or "", f"/{bucket}/")
