"""Fastly: the token of its VCL recipe. https://www.fastly.com/documentation/guides/full-site-delivery/video/enabling-url-token-validation/

``?token=<end>_<HMAC-SHA1 of path and end, hexadecimal>``, with a key in base64. It is the service's own VCL that checks it, so
this fits services that have the recipe as it is published; parameters of a link are not part of what is signed.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import ClassVar

from blobkit.cdn.base import Cdn, Seen, Site
from blobkit.cdn.model import CdnCapabilities, Refusal, Refused, Terms, Verdict
from blobkit.cdn.opening import CdnContext
from blobkit.cdn.texts import read_hex, read_number
from blobkit.config import StoreConfig
from blobkit.errors import ConfigError
from blobkit.plugins.spec import CdnPlugin
from blobkit.redaction import Secret
from blobkit_cdns.shared import KEY_OPTIONS, Keys, any_fits, keys_of, mac_keys

__all__ = ["Fastly", "FastlyPlugin", "plugin"]


class Fastly(Cdn):
    """One service with the recipe.

    Args:
        site: Where it is; a host alone will do.
        keys: The recipe's key: base64, or its bytes; of several the first one signs.

    Raises:
        ConfigError: No key, or one that is not base64.
    """

    name: ClassVar[str] = "fastly"
    reserved: ClassVar[frozenset[str]] = frozenset({"token"})
    capabilities = CdnCapabilities()

    def __init__(self, site: Site | str, keys: Keys) -> None:
        super().__init__(site)
        self._keys = mac_keys(keys, "sha1", _decoded)
        self._sign = self._keys[0].sign

    def link(self, url: str, expires: int, terms: Terms) -> str:
        """The path and the end are signed."""
        path = url[self._length :].partition("?")[0]
        mac = self._sign(f"{path}{expires}".encode("ascii")).hex()
        return f"{url}{'&' if '?' in url else '?'}token={expires}_{mac}"

    def check(self, seen: Seen, cookies: Mapping[str, str] | None) -> Verdict:
        """As the recipe does."""
        own = {} if cookies is not None else seen.own(self.reserved)[0]
        if "token" not in own:
            raise Refused(Refusal.UNSIGNED, "there is no token")
        end, _, mac = own["token"].partition("_")
        expires = read_number(end, "the token's end")
        any_fits(self._keys, f"{seen.path}{expires}".encode("ascii"), read_hex(mac), expires)
        return seen.timely(expires)


def _decoded(key: bytes | str | Secret) -> bytes:
    if isinstance(key, bytes):
        value = key
    else:
        try:
            value = b64decode((key.reveal() if isinstance(key, Secret) else key).strip(), validate=True)
        except (binascii.Error, ValueError):
            raise ConfigError("the Fastly key is not base64", provider="fastly") from None
    if not value:
        raise ConfigError("the Fastly key is empty", provider="fastly")
    return value


class FastlyPlugin(CdnPlugin):
    """``fastly://media.example/?key_file=…``."""

    scheme = "fastly"
    options = KEY_OPTIONS

    def open(self, config: StoreConfig, context: CdnContext) -> Fastly:
        """Read the keys."""
        return Fastly(context.site(config), keys_of(config, context))


plugin = FastlyPlugin()
