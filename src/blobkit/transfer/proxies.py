"""The proxies that the environment names: ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, in either case.

They are read by the standard library's rules. What https asks for goes through a tunnel, which the proxy cannot look into; what
http asks for is asked of the proxy itself. This machine's own loopback is never asked for through a proxy, which could only
reach its own. The proxy's user and password go to the proxy alone, and print nowhere.
"""

from __future__ import annotations

import base64
import ipaddress
import ssl
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from blobkit.errors import ConfigError, ConnectionFailed

__all__ = ["Forwarding", "Proxy", "proxy_for", "refused", "tunnelled"]

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where it listens, and the value of ``Proxy-Authorization`` that it wants; None for none."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What the proxy is told, and nobody behind it."""
        return {} if self.authorization is None else {"proxy-authorization": self.authorization}


def proxy_for(parts: SplitResult) -> Proxy | None:
    """The proxy that a URL is asked for through; None when it is asked for directly.

    Raises:
        ConfigError: The environment names something that is no HTTP proxy.
    """
    from urllib.request import getproxies, proxy_bypass

    host = parts.hostname or ""
    if _loopback(host):
        return None
    named = getproxies()
    found = named.get(parts.scheme) or named.get("all")
    if not found:
        return None
    shown = f"[{host}]" if ":" in host else host
    if proxy_bypass(host) or proxy_bypass(f"{shown}:{parts.port or _PORTS[parts.scheme]}"):
        return None
    return _parsed(found, parts.scheme)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _parsed(text: str, scheme: str) -> Proxy:
    """What the environment says, which may hold a password: nothing of it goes into an error."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port or _PORTS["http"]
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigError(
            f"the environment's proxy for {scheme} is not one that is asked over HTTP",
            hint=f"{scheme.upper()}_PROXY=http://HOST:PORT, or NO_PROXY=… for hosts that need none",
        )
    if parts.username is None:
        return Proxy(parts.hostname, port)
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Proxy(parts.hostname, port, "Basic " + base64.b64encode(pair.encode()).decode())


class Forwarding(HTTPConnection):
    """A connection to a proxy that asks for http URLs itself.

    Attributes:
        proxy: It.
    """

    def __init__(self, proxy: Proxy, timeout: float) -> None:
        super().__init__(proxy.host, proxy.port, timeout=timeout)
        self.proxy = proxy


def tunnelled(proxy: Proxy, parts: SplitResult, timeout: float, trust: ssl.SSLContext) -> HTTPSConnection:
    """A connection to the URL's own server, through the proxy; what is said on it the proxy cannot read.

    Raises:
        ConnectionFailed: The proxy refused.
        OSError, HTTPException: It could not be reached, or said what is no HTTP.
    """
    host, port = parts.hostname or "", parts.port or _PORTS["https"]
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    way = HTTPConnection(proxy.host, proxy.port, timeout=timeout)
    way.connect()
    try:
        way.putrequest("CONNECT", where, skip_host=True, skip_accept_encoding=True)
        for name, value in {"host": where, **proxy.headers}.items():
            way.putheader(name, value)
        way.endheaders()
        with HTTPResponse(way.sock, method="CONNECT") as answer:  # not getresponse(), after which nothing could follow
            answer.begin()
        if not 200 <= answer.status < 300:
            raise refused(answer.status)
        connection = HTTPSConnection(host, port, timeout=timeout, context=trust)
        connection.sock = trust.wrap_socket(way.sock, server_hostname=host)
    except BaseException:
        way.close()
        raise
    return connection


def refused(status: int) -> ConnectionFailed:
    """What a proxy's own refusal means. Not being able to reach the server may pass."""
    hint = "the user and password in the proxy's URL" if status == 407 else "what the proxy allows, or NO_PROXY"
    error = ConnectionFailed(f"the proxy answered {status}", hint=hint, retryable=status >= 500)
    error.http_status = status
    return error
