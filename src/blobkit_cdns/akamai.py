"""Akamai EdgeAuth, "Auth Token 2.0 Verification". https://techdocs.akamai.com/property-mgr/docs/auth-token-2-0-ver

A token is fields joined by ``~`` and their HMAC in hexadecimal. ``url`` and ``salt`` are in what is signed and not in the
token. A link's token is for its URL; a prefix's is for an access list (``acl``), whose entries ``!`` separates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal
from urllib.parse import quote_plus

from blobkit.cdn.base import Cdn, Seen, Site
from blobkit.cdn.grants import PrefixGrant, Scope
from blobkit.cdn.model import NO_TERMS, CdnCapabilities, Refusal, Refused, Restriction, Terms, Verdict
from blobkit.cdn.opening import CdnContext
from blobkit.cdn.texts import read_hex, read_number
from blobkit.config import Kind, Option, StoreConfig
from blobkit.errors import ConfigError, InvalidArgument
from blobkit.plugins.spec import CdnPlugin
from blobkit.redaction import Secret
from blobkit_cdns.shared import KEY_OPTIONS, Keys, any_fits, keys_of, mac_keys

__all__ = ["Akamai", "AkamaiPlugin", "plugin"]

Algorithm = Literal["sha256", "sha1", "md5"]
_NAME: Final = re.compile(r"[A-Za-z0-9_\-]{1,64}\Z")
_FIELDS: Final = ("ip", "st", "exp", "acl", "id", "data", "hmac")


class Akamai(Cdn):
    """One property with token authentication.

    Args:
        site: Where it is; a host alone will do.
        keys: The encryption key, hexadecimal as Property Manager shows it, or its bytes; of several (the transition key)
            the first one signs.
        token_name: The parameter and the cookie: Property Manager's "token name".
        algorithm: The HMAC's digest.
        salt: Property Manager's salt.
        escape: Its "escape token input".
        ignore_query: Its "ignore query string": a link's own parameters are then not signed.

    Raises:
        ConfigError: A key that is not hexadecimal, or an unknown algorithm.
    """

    name: ClassVar[str] = "akamai"

    def __init__(
        self,
        site: Site | str,
        keys: Keys,
        *,
        token_name: str = "__token__",  # noqa: S107 - a parameter's name
        algorithm: Algorithm = "sha256",
        salt: str | Secret | None = None,
        escape: bool = False,
        ignore_query: bool = False,
    ) -> None:
        super().__init__(site)
        if algorithm not in ("sha256", "sha1", "md5"):
            raise ConfigError("algorithm is sha256, sha1 or md5", provider=self.name)
        if not _NAME.match(token_name):
            raise ConfigError("not a token's name", provider=self.name)
        self._keys = mac_keys(keys, algorithm, _hexadecimal)
        self._sign = self._keys[0].sign
        self._name = token_name
        salt = salt.reveal() if isinstance(salt, Secret) else salt
        self._salt = f"~salt={salt}" if salt else ""
        self._escape = escape
        self._ignore_query = ignore_query
        self._own = frozenset({token_name})
        self.capabilities = CdnCapabilities(
            prefix=True,
            cookies=True,
            wildcards="*",
            restrictions=frozenset(
                {Restriction.NOT_BEFORE, Restriction.IPV4, Restriction.IPV6, Restriction.SESSION, Restriction.DATA}
            ),
            weak="an HMAC with MD5" if algorithm == "md5" else None,
        )

    @property
    def reserved(self) -> frozenset[str]:  # type: ignore[override]
        """The token's parameter."""
        return self._own

    def link(self, url: str, expires: int, terms: Terms) -> str:
        """A token for one URL."""
        where = url[self._length :]
        if self._ignore_query:
            where = where.partition("?")[0]
        fields = f"exp={expires}" if terms is NO_TERMS else self._fields(expires, terms)
        signed = f"{fields}~url={self._escaped(where)}{self._salt}"
        token = f"{fields}~hmac={self._sign(signed.encode('utf-8')).hex()}"
        return f"{url}{'&' if '?' in url else '?'}{self._name}={token}"

    def grant(self, scope: Scope, expires: int, terms: Terms) -> PrefixGrant:
        """A token with an access list."""
        query = f"{self._name}={self._acl_token(scope, expires, terms)}"
        return PrefixGrant(scope, expires, query=query, reserved=self._own)

    def cookies(self, scope: Scope, expires: int, terms: Terms) -> Sequence[tuple[str, str]]:
        """The same token."""
        return [(self._name, self._acl_token(scope, expires, terms))]

    def _acl_token(self, scope: Scope, expires: int, terms: Terms) -> str:
        if set(scope.path) & set("!~"):
            raise InvalidArgument("an access list of Akamai has no '!' or '~' in a path", provider=self.name)
        fields = self._fields(expires, terms, scope.path if scope.wild else f"{scope.path}*")
        return f"{fields}~hmac={self._sign(f'{fields}{self._salt}'.encode()).hex()}"

    def _fields(self, expires: int, terms: Terms, acl: str | None = None) -> str:
        network, restrict = terms.network, terms.restrict
        fields = [
            ("ip", None if network is None else self._escaped(str(network.network_address))),
            ("st", None if terms.starts is None else str(terms.starts)),
            ("exp", str(expires)),
            ("acl", acl),
            ("id", None if restrict.session is None else self._escaped(restrict.session)),
            ("data", None if restrict.data is None else self._escaped(restrict.data)),
        ]
        return "~".join(f"{name}={value}" for name, value in fields if value is not None)

    def _escaped(self, text: str) -> str:
        """quote_plus with lower-case digits, when the property escapes what it reads."""
        return re.sub(r"%..", lambda m: m[0].lower(), quote_plus(text)) if self._escape else text

    def check(self, seen: Seen, cookies: Mapping[str, str] | None) -> Verdict:
        """The token in the query, or in the cookie."""
        own, rest = seen.own(self._own)
        given = own if cookies is None else cookies
        if self._name not in given:
            raise Refused(Refusal.UNSIGNED, f"there is no {self._name}")
        texts = given[self._name].split("~")
        names = [text.partition("=")[0] for text in texts]
        fields = {name: text.partition("=")[2] for name, text in zip(names, texts, strict=True)}
        if names != [name for name in _FIELDS if name in fields] or not {"exp", "hmac"} <= set(names):
            raise Refused(Refusal.MALFORMED, "the token's fields are not those of a token, in their order")
        expires = read_number(fields["exp"], "exp")
        signed = given[self._name].rpartition("~hmac=")[0]
        if "acl" not in fields:
            where = rest[len(seen.origin) :]
            signed += f"~url={self._escaped(where.partition('?')[0] if self._ignore_query else where)}"
        any_fits(self._keys, f"{signed}{self._salt}".encode(), read_hex(fields["hmac"]), expires)
        if "acl" in fields and not any(_covers(entry, seen) for entry in fields["acl"].split("!")):
            raise Refused(Refusal.RESOURCE, f"it is for {fields['acl']}", expires)
        verdict = seen.timely(expires, read_number(fields["st"], "st") if "st" in fields else None)
        if "ip" in fields and (seen.ip is None or self._escaped(str(seen.ip)) != fields["ip"]):
            raise Refused(Refusal.ADDRESS, "it is for another address than the client's", expires)
        return verdict


def _covers(entry: str, seen: Seen) -> bool:
    return Scope(seen.origin, entry.replace("?", "%3F"), True).covers(seen.path)


def _hexadecimal(key: bytes | str | Secret) -> bytes:
    text = key.reveal() if isinstance(key, Secret) else key
    if isinstance(text, bytes):
        value = text
    else:
        try:
            value = bytes.fromhex(text.strip())
        except ValueError:
            raise ConfigError(
                "an Akamai key is hexadecimal digits, an even number of them", provider="akamai"
            ) from None
    if len(value) < 8:
        raise ConfigError("the Akamai key is too short for one", provider="akamai")
    return value


class AkamaiPlugin(CdnPlugin):
    """``akamai://media.example/?key_file=…``."""

    scheme = "akamai"
    options = (
        *KEY_OPTIONS,
        Option("token_name", Kind.TEXT, "The token's parameter and cookie.", "__token__"),
        Option("algorithm", Kind.CHOICE, "The HMAC's digest.", "sha256", ("sha256", "sha1", "md5")),
        Option("salt", Kind.SECRET, "The property's salt."),
        Option("escape", Kind.FLAG, "The property escapes token input.", "false"),
        Option("ignore_query", Kind.FLAG, "The property ignores query strings.", "false"),
    )

    def open(self, config: StoreConfig, context: CdnContext) -> Akamai:
        """Read the keys."""
        algorithm = config.text("algorithm")
        return Akamai(
            context.site(config),
            keys_of(config, context),
            token_name=config.text("token_name") or "",
            algorithm="sha1" if algorithm == "sha1" else "md5" if algorithm == "md5" else "sha256",
            salt=config.secret("salt"),
            escape=config.flag("escape"),
            ignore_query=config.flag("ignore_query"),
        )


plugin = AkamaiPlugin()
