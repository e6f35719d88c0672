"""An nginx with secure_link. https://nginx.org/en/docs/http/ngx_http_secure_link_module.html

::

    secure_link $arg_md5,$arg_expires;
    secure_link_md5 "$secure_link_expires$uri SECRET";

nginx digests the text of ``secure_link_md5``; ``expression`` is that text, with ``$secret`` where the secret stands. It has
``$secure_link_expires`` and ``$uri``, and may have ``$remote_addr``. ``$uri`` is the path as nginx sees it: decoded, with
repeated slashes merged. MD5 with the secret in the text is not an HMAC: keep ends short and secrets long.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Final
from urllib.parse import unquote_to_bytes

from blobkit.cdn.base import Cdn, Seen, Site
from blobkit.cdn.model import CdnCapabilities, Refusal, Refused, Restriction, Terms, Verdict
from blobkit.cdn.opening import CdnContext
from blobkit.cdn.texts import read_base64url, read_number, unpadded
from blobkit.config import Kind, Option, StoreConfig
from blobkit.errors import ConfigError, InvalidArgument
from blobkit.plugins.spec import CdnPlugin
from blobkit_cdns.shared import KEY_OPTIONS, Keys, any_equal, keys_of, md5, secrets_of

__all__ = ["DEFAULT_EXPRESSION", "Nginx", "NginxPlugin", "plugin"]

DEFAULT_EXPRESSION: Final = "$secure_link_expires$uri $secret"
_NAME: Final = re.compile(r"[A-Za-z0-9_\-]{1,64}\Z")
_VARIABLE: Final = re.compile(rb"\$(secure_link_expires|uri|remote_addr|secret)\b")
_KNOWN: Final = {"secure_link_expires", "uri", "remote_addr", "secret"}


class Nginx(Cdn):
    """One server block.

    Args:
        site: Where it is; a host alone will do.
        keys: The secret; of several the first one signs.
        expression: The text of ``secure_link_md5``. With ``$remote_addr`` in it every link is for one address.
        signature, expires: The parameters' names.

    Raises:
        ConfigError: No key, or an expression that lacks something or has an unknown variable.
    """

    name: ClassVar[str] = "nginx"

    def __init__(
        self,
        site: Site | str,
        keys: Keys,
        *,
        expression: str = DEFAULT_EXPRESSION,
        signature: str = "md5",
        expires: str = "expires",
    ) -> None:
        super().__init__(site)
        variables = set(re.findall(r"\$\{?([a-z_]+)", expression))
        if not {"secure_link_expires", "uri", "secret"} <= variables <= _KNOWN or "${" in expression:
            raise ConfigError(
                "an expression has $secure_link_expires, $uri and $secret, may have $remote_addr, and nothing else",
                provider=self.name,
                hint=DEFAULT_EXPRESSION,
            )
        if not _NAME.match(signature) or not _NAME.match(expires) or signature == expires:
            raise ConfigError("not names of two query parameters", provider=self.name)
        self._secrets = secrets_of(keys)
        self._expression = expression.encode("utf-8")
        self._by_address = "remote_addr" in variables
        self._signature = signature
        self._expires = expires
        self._own = frozenset({signature, expires})
        self.capabilities = CdnCapabilities(
            restrictions=frozenset({Restriction.IPV4, Restriction.IPV6} if self._by_address else ()),
            weak="MD5 with the secret in the text: not an HMAC",
        )

    @property
    def reserved(self) -> frozenset[str]:  # type: ignore[override]
        """The two parameters."""
        return self._own

    def link(self, url: str, expires: int, terms: Terms) -> str:
        """What the expression names is signed; a link's own parameters are not."""
        if self._by_address and terms.network is None:
            raise InvalidArgument("this nginx binds every link to an address", provider=self.name, hint="ip=…")
        address = "" if terms.network is None else str(terms.network.network_address)
        digest = self._digest(url[self._length :].partition("?")[0], expires, address, self._secrets[0])
        joint = "&" if "?" in url else "?"
        return f"{url}{joint}{self._signature}={unpadded(digest)}&{self._expires}={expires}"

    def _digest(self, path: str, expires: int, address: str, secret: bytes) -> bytes:
        values = {
            b"secure_link_expires": str(expires).encode("ascii"),
            b"uri": re.sub(rb"/{2,}", b"/", unquote_to_bytes(path)),
            b"remote_addr": address.encode("ascii"),
            b"secret": secret,
        }
        return md5(_VARIABLE.sub(lambda match: values[match[1]], self._expression))

    def check(self, seen: Seen, cookies: Mapping[str, str] | None) -> Verdict:
        """As the module does: the digest, then the end."""
        own = {} if cookies is not None else seen.own(self._own)[0]
        if not own:
            raise Refused(Refusal.UNSIGNED, f"there is no {self._signature}")
        expires = read_number(own.get(self._expires, ""), self._expires)
        if self._by_address and seen.ip is None:
            raise Refused(Refusal.ADDRESS, "it is for one address, and the client's is not known", expires)
        right = [self._digest(seen.path, expires, str(seen.ip), secret) for secret in self._secrets]
        any_equal(right, read_base64url(own.get(self._signature, "")), expires)
        return seen.timely(expires)


class NginxPlugin(CdnPlugin):
    """``nginx://media.example/?key_file=…``."""

    scheme = "nginx"
    options = (
        *KEY_OPTIONS,
        Option("expression", Kind.TEXT, "The text of secure_link_md5.", DEFAULT_EXPRESSION),
        Option("signature", Kind.TEXT, "The parameter of the digest.", "md5"),
        Option("expires", Kind.TEXT, "The parameter of the end.", "expires"),
    )

    def open(self, config: StoreConfig, context: CdnContext) -> Nginx:
        """Read the keys."""
        return Nginx(
            context.site(config),
            keys_of(config, context),
            expression=config.text("expression") or "",
            signature=config.text("signature") or "",
            expires=config.text("expires") or "",
        )


plugin = NginxPlugin()
