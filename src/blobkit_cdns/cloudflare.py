"""Cloudflare: the WAF's ``is_timed_hmac_valid_v0``.
https://developers.cloudflare.com/waf/custom-rules/use-cases/configure-token-authentication/

A rule such as ``not is_timed_hmac_valid_v0("SECRET", http.request.uri, 3600, http.request.timestamp.sec, 8)`` reads
``?verify=<time of issue>-<MAC>``, which must end the URI. How long a token lives stands in the rule, not in the token: the
signer has to know it (``ttl``), and gives a shorter life by dating the token back. R2 behind a domain of yours needs this:
presigned URLs of R2 work on its own endpoint only.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar, Final
from urllib.parse import quote, unquote

from blobkit.cdn.base import Cdn, Seen, Site
from blobkit.cdn.model import CdnCapabilities, Refusal, Refused, Terms, Verdict
from blobkit.cdn.opening import CdnContext
from blobkit.cdn.texts import read_base64, read_base64url, read_number, unpadded
from blobkit.config import Kind, Option, StoreConfig
from blobkit.errors import ConfigError
from blobkit.plugins.spec import CdnPlugin
from blobkit_cdns.shared import KEY_OPTIONS, Keys, any_fits, keys_of, mac_keys

__all__ = ["Cloudflare", "CloudflarePlugin", "plugin"]

_NAME: Final = re.compile(r"[A-Za-z0-9_\-]{1,64}\Z")
_VALUE: Final = re.compile(r"(?P<issued>[0-9]{1,12})-(?P<mac>.+)\Z")


class Cloudflare(Cdn):
    """One host behind such a rule.

    Args:
        site: Where it is; a host alone will do.
        keys: The rule's secret; of several the first one signs.
        ttl: The rule's lifetime.
        parameter: The parameter's name; the rule's last number is its length and two (``?verify=`` is 8).
        url_safe: The rule has the flag ``s``: the MAC in base64url.

    Raises:
        ConfigError: No key, or no lifetime.
    """

    name: ClassVar[str] = "cloudflare"

    def __init__(
        self, site: Site | str, keys: Keys, *, ttl: timedelta, parameter: str = "verify", url_safe: bool = False
    ) -> None:
        super().__init__(site)
        self._ttl = int(ttl.total_seconds())
        if self._ttl < 1:
            raise ConfigError("ttl is the rule's lifetime, a second or more", provider=self.name)
        if not _NAME.match(parameter):
            raise ConfigError("not a name of a query parameter", provider=self.name)
        self._keys = mac_keys(keys, "sha256")
        self._sign = self._keys[0].sign
        self._parameter = parameter
        self._url_safe = url_safe
        self._own = frozenset({parameter})
        self.capabilities = CdnCapabilities(max_lifetime=timedelta(seconds=self._ttl))

    @property
    def reserved(self) -> frozenset[str]:  # type: ignore[override]
        """The token's parameter."""
        return self._own

    def link(self, url: str, expires: int, terms: Terms) -> str:
        """Dated so that the rule ends it when it should."""
        issued = expires - self._ttl
        mac = self._sign(f"{url[self._length :]}{issued}".encode("ascii"))
        text = unpadded(mac) if self._url_safe else quote(b64encode(mac).decode("ascii"), safe="/")
        return f"{url}{'&' if '?' in url else '?'}{self._parameter}={issued}-{text}"

    def check(self, seen: Seen, cookies: Mapping[str, str] | None) -> Verdict:
        """As the rule does: the last parameter, then the time."""
        own = {} if cookies is not None else seen.own(self._own)[0]
        if self._parameter not in own:
            raise Refused(Refusal.UNSIGNED, f"there is no {self._parameter}")
        before, name, value = seen.url.rpartition(f"{self._parameter}=")
        match = _VALUE.match(value)
        if not name or "&" in value or match is None:
            raise Refused(Refusal.MALFORMED, f"{self._parameter} is not <time>-<MAC>, or does not end the URL")
        issued = read_number(match["issued"], self._parameter)
        message = f"{before[len(seen.origin) : -1]}{issued}".encode("ascii")
        mac = read_base64url(match["mac"]) if self._url_safe else read_base64(unquote(match["mac"]))
        any_fits(self._keys, message, mac, issued + self._ttl)
        return seen.timely(issued + self._ttl)


class CloudflarePlugin(CdnPlugin):
    """``cloudflare://media.example/?ttl=3600&key_file=…``."""

    scheme = "cloudflare"
    options = (
        *KEY_OPTIONS,
        Option("ttl", Kind.SECONDS, "The rule's lifetime."),
        Option("parameter", Kind.TEXT, "The token's parameter.", "verify"),
        Option("url_safe", Kind.FLAG, "The rule has the flag 's'.", "false"),
    )

    def open(self, config: StoreConfig, context: CdnContext) -> Cloudflare:
        """Read the keys."""
        ttl = config.seconds("ttl")
        if ttl is None:
            raise ConfigError("cloudflare needs ttl, the lifetime that stands in the rule", provider=self.scheme)
        return Cloudflare(
            context.site(config),
            keys_of(config, context),
            ttl=ttl,
            parameter=config.text("parameter") or "",
            url_safe=config.flag("url_safe"),
        )


plugin = CloudflarePlugin()
