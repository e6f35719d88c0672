"""bunny.net token authentication, as it is since 2026: ``HS256-`` tokens. https://docs.bunny.net/docs/cdn-token-authentication

The signed text is the path (or the token's path), the end, the client's address in bytes, and all parameters decoded, sorted,
joined as ``name=value`` by ``&``. The caller's own parameters are among them: bunny signs what reaches the origin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar, Final, Literal
from urllib.parse import parse_qsl, quote

from blobkit.cdn.base import Cdn, Seen, Site
from blobkit.cdn.grants import PrefixGrant, Scope
from blobkit.cdn.model import NO_TERMS, CdnCapabilities, Refusal, Refused, Restriction, Terms, Verdict
from blobkit.cdn.opening import CdnContext
from blobkit.cdn.texts import read_base64url, read_number, unpadded
from blobkit.config import Kind, Option, StoreConfig
from blobkit.errors import ConfigError, InvalidArgument
from blobkit.plugins.spec import CdnPlugin
from blobkit_cdns.shared import KEY_OPTIONS, Keys, any_fits, keys_of, mac_keys

__all__ = ["Bunny", "BunnyPlugin", "plugin"]

_LEAD: Final = re.compile(r"/bcdn_token=(?P<token>[^&/]*)(?P<parameters>(?:&[^/&]*)*)(?P<path>/.*)\Z")


class Bunny(Cdn):
    """One pull zone with token authentication.

    Args:
        site: Where it is; a host alone will do.
        keys: The zone's token authentication key; of several the first one signs.
        prefixes: Where the tokens of prefixes are: ``path``, which relative URLs in playlists inherit, or ``query``.

    Raises:
        ConfigError: No key.
    """

    name: ClassVar[str] = "bunny"
    reserved: ClassVar[frozenset[str]] = frozenset(
        {
            "token",
            "expires",
            "bcdn_token",
            "limit",
            "token_path",
            "token_countries",
            "token_countries_blocked",
            "token_ignore_params",
        }
    )
    capabilities = CdnCapabilities(
        prefix=True,
        restrictions=frozenset(
            {
                Restriction.IPV4,
                Restriction.IPV6,
                Restriction.COUNTRIES,
                Restriction.BLOCKED_COUNTRIES,
                Restriction.SPEED,
            }
        ),
    )

    def __init__(self, site: Site | str, keys: Keys, *, prefixes: Literal["path", "query"] = "path") -> None:
        super().__init__(site)
        if prefixes not in ("path", "query"):
            raise ConfigError("prefixes is path or query", provider=self.name)
        self._keys = mac_keys(keys, "sha256")
        self._sign = self._keys[0].sign
        self._in_path = prefixes == "path"

    def link(self, url: str, expires: int, terms: Terms) -> str:
        """``?token=…&<all parameters, sorted>&expires=…``."""
        if terms is NO_TERMS and "?" not in url:
            token = unpadded(self._sign(f"{url[self._length :]}{expires}".encode("ascii")))
            return f"{url}?token=HS256-{token}&expires={expires}"
        plain, _, query = url.partition("?")
        parameters = {**_parameters(query), **_restrictions(terms)}
        token = self._token(plain[self._length :], expires, parameters, terms)
        return f"{plain}?token={token}{_tail(parameters)}&expires={expires}"

    def grant(self, scope: Scope, expires: int, terms: Terms) -> PrefixGrant:
        """``token_path``. A link below it has no parameters of its own, since they would have to be signed."""
        parameters = {**_restrictions(terms), "token_path": scope.path}
        token = self._token(scope.path, expires, parameters, terms)
        if self._in_path:
            lead = f"/bcdn_token={token}{_tail(parameters)}&expires={expires}"
            return PrefixGrant(scope, expires, lead=lead, own_query=False)
        query = f"token={token}{_tail(parameters)}&expires={expires}"
        return PrefixGrant(scope, expires, query=query, own_query=False)

    def _token(self, path: str, expires: int, parameters: Mapping[str, str], terms: Terms) -> str:
        ip = b"" if terms.network is None else _address(terms.network.network_address)
        return f"HS256-{'1-' if ip else ''}{unpadded(self._sign(_message(path, expires, ip, parameters)))}"

    def check(self, seen: Seen, cookies: Mapping[str, str] | None) -> Verdict:
        """The token in the path, or in the query."""
        if cookies is not None:
            raise Refused(Refusal.UNSIGNED, "bunny.net reads no cookies")
        lead = _LEAD.match(seen.path)
        text = seen.query if lead is None else f"token={lead['token']}{lead['parameters']}"
        if lead is not None and seen.query:
            text += f"&{seen.query}"
        try:
            parameters = _parameters(text)
        except InvalidArgument as error:
            raise Refused(Refusal.MALFORMED, error.message) from error
        path = seen.path if lead is None else lead["path"]
        token = parameters.pop("token", None)
        if token is None:
            raise Refused(Refusal.UNSIGNED, "there is no token")
        expires = read_number(parameters.pop("expires", ""), "expires")
        bound = token.startswith("HS256-1-")
        if not token.startswith("HS256-"):
            raise Refused(Refusal.MALFORMED, "not an HS256 token", expires)
        if bound and seen.ip is None:
            raise Refused(Refusal.ADDRESS, "it is for one address, and the client's is not known", expires)
        covered = parameters.get("token_path", path)
        message = _message(covered, expires, _address(seen.ip) if bound and seen.ip else b"", parameters)
        any_fits(self._keys, message, read_base64url(token[8 if bound else 6 :]), expires)
        if not path.startswith(covered):
            raise Refused(Refusal.RESOURCE, f"it is for {covered} and what is below", expires)
        verdict = seen.timely(expires)
        _check_country(parameters, seen)
        return Verdict(expires_at=verdict.expires_at, path=path)


def _message(path: str, expires: int, ip: bytes, parameters: Mapping[str, str]) -> bytes:
    data = "&".join(f"{name}={value}" for name, value in sorted(parameters.items()))
    return f"{path}{expires}".encode() + ip + data.encode()


def _tail(parameters: Mapping[str, str]) -> str:
    return "".join(f"&{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(parameters.items()))


def _parameters(query: str) -> dict[str, str]:
    """A query's parameters, decoded. Raises InvalidArgument: bunny takes each name once, and text in UTF-8."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, encoding="utf-8", errors="strict")
    except ValueError as error:
        raise InvalidArgument("the query is not UTF-8", provider="bunny") from error
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidArgument("a parameter is there twice, which bunny.net cannot sign", provider="bunny")
    return found


def _restrictions(terms: Terms) -> dict[str, str]:
    network, restrict = terms.network, terms.restrict
    if network is not None and network.num_addresses > 1:
        raise InvalidArgument("bunny.net binds one address, no range", provider="bunny")
    given = {
        "token_countries": ",".join(restrict.countries),
        "token_countries_blocked": ",".join(restrict.blocked_countries),
        "limit": "" if restrict.speed is None else str(restrict.speed),
    }
    return {name: value for name, value in given.items() if value}


def _address(ip: IPv4Address | IPv6Address) -> bytes:
    """Four bytes of IPv4; of IPv6 the network's half, since a client's other half changes, then zeros."""
    return ip.packed if ip.version == 4 else ip.packed[:8] + bytes(8)


def _check_country(parameters: Mapping[str, str], seen: Seen) -> None:
    allowed, blocked = parameters.get("token_countries"), parameters.get("token_countries_blocked")
    if allowed is None and blocked is None:
        return
    if seen.country is None:
        raise Refused(Refusal.COUNTRY, "it is bound to countries, and the client's is not known")
    if allowed is not None and seen.country not in allowed.split(","):
        raise Refused(Refusal.COUNTRY, f"it is for {allowed}, not {seen.country}")
    if blocked is not None and seen.country in blocked.split(","):
        raise Refused(Refusal.COUNTRY, f"it is not for {seen.country}")


class BunnyPlugin(CdnPlugin):
    """``bunny://ZONE.b-cdn.net/?key_file=…``."""

    scheme = "bunny"
    options = (
        *KEY_OPTIONS,
        Option("prefixes", Kind.CHOICE, "Where tokens of prefixes are.", "path", ("path", "query")),
    )

    def open(self, config: StoreConfig, context: CdnContext) -> Bunny:
        """Read the keys."""
        prefixes: Literal["path", "query"] = "query" if config.text("prefixes") == "query" else "path"
        return Bunny(context.site(config), keys_of(config, context), prefixes=prefixes)


plugin = BunnyPlugin()
