"""KeyCDN secure tokens. https://www.keycdn.com/support/secure-token

``?token=<base64url of MD5(path, secret, end)>&expire=<end>``: a digest with a secret in it, not an HMAC, and MD5 at that. Keep
ends short and keys long. KeyCDN answers 403 to a wrong token, and 410 to one that has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from blobkit.cdn.base import Cdn, Seen, Site
from blobkit.cdn.model import CdnCapabilities, Refusal, Refused, Terms, Verdict
from blobkit.cdn.opening import CdnContext
from blobkit.cdn.texts import read_base64url, read_number, unpadded
from blobkit.config import StoreConfig
from blobkit.plugins.spec import CdnPlugin
from blobkit_cdns.shared import KEY_OPTIONS, Keys, any_equal, keys_of, md5, secrets_of

__all__ = ["KeyCdn", "KeyCdnPlugin", "plugin"]


class KeyCdn(Cdn):
    """One zone with secure tokens.

    Args:
        site: Where it is; a host alone will do.
        keys: The zone's secure token key, a text; of several the first one signs.

    Raises:
        ConfigError: No key, or a callable: the secret stands inside of what is digested.
    """

    name: ClassVar[str] = "keycdn"
    reserved: ClassVar[frozenset[str]] = frozenset({"token", "expire"})
    capabilities = CdnCapabilities(weak="MD5 with the secret in the text: not an HMAC")

    def __init__(self, site: Site | str, keys: Keys) -> None:
        super().__init__(site)
        self._secrets = secrets_of(keys)

    def link(self, url: str, expires: int, terms: Terms) -> str:
        """The path and the end are signed; a link's own parameters are not."""
        path = url[self._length :].partition("?")[0]
        token = unpadded(_digest(path, self._secrets[0], expires))
        return f"{url}{'&' if '?' in url else '?'}token={token}&expire={expires}"

    def check(self, seen: Seen, cookies: Mapping[str, str] | None) -> Verdict:
        """As the zone does."""
        own = {} if cookies is not None else seen.own(self.reserved)[0]
        if not own:
            raise Refused(Refusal.UNSIGNED, "there is no token")
        expires = read_number(own.get("expire", ""), "expire")
        right = [_digest(seen.path, secret, expires) for secret in self._secrets]
        any_equal(right, read_base64url(own.get("token", "")), expires)
        return seen.timely(expires)


def _digest(path: str, secret: bytes, expires: int) -> bytes:
    return md5(path.encode("ascii") + secret + str(expires).encode("ascii"))


class KeyCdnPlugin(CdnPlugin):
    """``keycdn://ZONE.kxcdn.com/?key_file=…``."""

    scheme = "keycdn"
    options = KEY_OPTIONS

    def open(self, config: StoreConfig, context: CdnContext) -> KeyCdn:
        """Read the keys."""
        return KeyCdn(context.site(config), keys_of(config, context))


plugin = KeyCdnPlugin()
