"""Where an account's blobs are: the public cloud, a sovereign one, a custom domain, an emulator. Pure.

https://learn.microsoft.com/azure/storage/common/storage-account-overview#storage-account-endpoints
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from blobkit.errors import ConfigError

__all__ = ["PUBLIC", "Site", "check_account", "check_container", "site"]

PUBLIC: Final = "core.windows.net"
"""The domain of the public cloud; China's is ``core.chinacloudapi.cn``, that of the US government
``core.usgovcloudapi.net``."""

_ACCOUNT: Final = re.compile(r"[a-z0-9](?:[a-z0-9\-]{1,61}[a-z0-9])\Z").match
_CONTAINER: Final = re.compile(r"(?:[a-z0-9](?:-?[a-z0-9]){2,62}|\$root|\$web|\$logs)\Z").match
_SUFFIX: Final = re.compile(r"[a-z0-9][a-z0-9\-]*(?:\.[a-z0-9][a-z0-9\-]*)+\Z").match


@dataclass(frozen=True, slots=True)
class Site:
    """Where an account is.

    Attributes:
        url: Scheme, authority, and the account where it is part of the path; without a slash at the end.
        secure: Whether it is https.
        loopback: Whether it is this very machine.
    """

    url: str
    secure: bool
    loopback: bool

    def base(self, container: str) -> str:
        """What an encoded blob name is appended to."""
        return f"{self.url}/{container}/"


def check_account(name: str) -> str:
    """The name, if an account can have it. Raises ConfigError."""
    if not _ACCOUNT(name):
        raise ConfigError(f"not the name of a storage account: {name!r}", hint="az://ACCOUNT/CONTAINER/prefix/")
    return name


def check_container(name: str) -> str:
    """The name, if a container can have it. Raises ConfigError."""
    if not _CONTAINER(name) or len(name) > 63:
        raise ConfigError(
            f"not the name of a container: {name!r}", hint="3 to 63 lower-case letters, digits and single '-'"
        )
    return name


def site(account: str, endpoint: str | None, suffix: str = PUBLIC, option: str = "endpoint") -> Site:
    """Where ``account`` is.

    Args:
        account: Its name.
        endpoint: An http(s) URL that rules over ``suffix``. A host that is an IP address or has no dot is an emulator's, and
            the account is the first segment of its paths; an endpoint with a path is taken as it is.
        suffix: The cloud's domain.
        option: What the endpoint is called, for messages.

    Raises:
        ConfigError: Not such a URL, or not a domain.
    """
    if endpoint is None:
        if not _SUFFIX(suffix):
            raise ConfigError(f"not the domain of a cloud: {suffix!r}", hint=f"endpoint_suffix={PUBLIC}")
        return Site(f"https://{account}.blob.{suffix}", secure=True, loopback=False)
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError:
        raise ConfigError(f"{option} is not a URL: {endpoint!r}") from None
    host = parts.hostname or ""
    wrong = parts.scheme not in ("http", "https") or not host or port == 0
    if wrong or parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigError(f"{option} is an http or https URL without user and query, not {endpoint!r}")
    path = parts.path.rstrip("/")
    if not path and (_address(host) is not None or "." not in host):
        path = f"/{account}"
    return Site(f"{parts.scheme}://{parts.netloc}{path}", parts.scheme == "https", _loopback(host))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)
