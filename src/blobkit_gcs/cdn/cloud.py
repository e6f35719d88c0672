"""Cloud CDN: signed URLs, URL prefixes and cookies. https://cloud.google.com/cdn/docs/using-signed-urls.

HMAC-SHA1 with a key of 16 bytes. Requests without a signature are refused only when the origin itself is private.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from blobkit.cdn.base import Cdn, Seen, Site
from blobkit.cdn.grants import PrefixGrant, Scope
from blobkit.cdn.keys import Key, SigningKey, decode_base64url, hmac_key
from blobkit.cdn.model import CdnCapabilities, Refusal, Refused, Terms, Verdict
from blobkit.cdn.opening import CdnContext
from blobkit.cdn.texts import padded, read_base64url, read_number
from blobkit.config import Kind, Option, StoreConfig
from blobkit.errors import ConfigError, CredentialsMissing
from blobkit.plugins.spec import CdnPlugin

__all__ = ["CloudCdn", "CloudCdnPlugin", "cloud_plugin"]

COOKIE: Final = "Cloud-CDN-Cookie"
KEY_NAME: Final = re.compile(r"[A-Za-z0-9_\-]{1,63}\Z")
SIGNED: Final = re.compile(
    r"(?:\A|&)(?P<text>(?:URLPrefix=(?P<prefix>[A-Za-z0-9_\-]+=*)&)?Expires=(?P<expires>[^&]*)&KeyName=(?P<name>[^&]*))"
    r"&Signature=(?P<signature>[^&]*)(?P<after>&.*)?\Z"
)
COOKIE_VALUE: Final = re.compile(
    r"(?P<text>URLPrefix=(?P<prefix>[A-Za-z0-9_\-]+=*):Expires=(?P<expires>[^:]*):KeyName=(?P<name>[^:]*))"
    r":Signature=(?P<signature>[^:]*)\Z"
)


def below(prefix: bytes, seen: Seen, expires: int) -> None:
    """Raise Refused unless the request is below a signed URL prefix."""
    if not f"{seen.origin}{seen.path}".encode("ascii").startswith(prefix):
        raise Refused(Refusal.RESOURCE, f"it is for {prefix.decode('ascii', 'replace')} and what is below", expires)


class CloudCdn(Cdn):
    """One host of a backend service or bucket with Cloud CDN.

    Args:
        site: Where it is; a host alone will do.
        keys: Key name to key: 16 bytes, or their base64url as ``gcloud compute backend-buckets add-signed-url-key`` takes
            it, or what signs. The first one signs; the others, up to three in all, are honoured.

    Raises:
        ConfigError: No key, a bad name, or a key of another size.
    """

    name: ClassVar[str] = "cloudcdn"
    reserved: ClassVar[frozenset[str]] = frozenset({"Expires", "KeyName", "Signature", "URLPrefix"})
    capabilities = CdnCapabilities(prefix=True, cookies=True)

    def __init__(
        self,
        site: Site | str,
        keys: Mapping[str, Key],
    ) -> None:
        super().__init__(site)
        if not keys:
            raise ConfigError("Cloud CDN needs a key", provider=self.name)
        self._keys = {_named(name): _key(key) for name, key in keys.items()}
        self._key_name = next(iter(keys))
        self._sign = self._keys[self._key_name].sign

    def link(self, url: str, expires: int, terms: Terms) -> str:
        """The signature is of the whole URL, so nothing may follow it."""
        text = f"{url}{'&' if '?' in url else '?'}Expires={expires}&KeyName={self._key_name}"
        return f"{text}&Signature={padded(self._sign(text.encode('ascii')))}"

    def grant(self, scope: Scope, expires: int, terms: Terms) -> PrefixGrant:
        """URLPrefix."""
        text = f"URLPrefix={padded(scope.url.encode('ascii'))}&Expires={expires}&KeyName={self._key_name}"
        query = f"{text}&Signature={padded(self._sign(text.encode('ascii')))}"
        return PrefixGrant(scope, expires, query=query, reserved=self.reserved)

    def cookies(self, scope: Scope, expires: int, terms: Terms) -> Sequence[tuple[str, str]]:
        """Cloud-CDN-Cookie, whose fields are separated by colons."""
        text = f"URLPrefix={padded(scope.url.encode('ascii'))}:Expires={expires}:KeyName={self._key_name}"
        return [(COOKIE, f"{text}:Signature={padded(self._sign(text.encode('ascii')))}")]

    def check(self, seen: Seen, cookies: Mapping[str, str] | None) -> Verdict:
        """Of the URL, or of the cookie."""
        if cookies is not None:
            return self._judge(COOKIE_VALUE.match(found(cookies, COOKIE)), seen)
        match = SIGNED.search(seen.query)
        if match is None and not seen.own(self.reserved)[0]:
            raise Refused(Refusal.UNSIGNED, "there is no Cloud CDN signature")
        return self._judge(match, seen)

    def _judge(self, match: re.Match[str] | None, seen: Seen) -> Verdict:
        if match is None:
            raise Refused(Refusal.MALFORMED, "the parameters are not Expires, KeyName and Signature, in this order")
        expires = read_number(match["expires"], "Expires")
        key = self._keys.get(match["name"])
        if key is None:
            raise Refused(
                Refusal.UNKNOWN_KEY, f"{match['name']!r} is none of the keys {', '.join(self._keys)}", expires
            )
        text = match["text"]
        if match["prefix"] is None:
            if match["after"]:
                raise Refused(Refusal.SIGNATURE, "parameters follow the signature", expires)
            text = f"{seen.origin}{seen.path}?{seen.query[: match.end('text')]}"
        assert key.verify is not None
        if not key.verify(text.encode("ascii"), read_base64url(match["signature"], padding=True)):
            raise Refused(Refusal.SIGNATURE, "the signature is not of this URL, or of another key", expires)
        if match["prefix"] is not None:
            below(read_base64url(match["prefix"]), seen, expires)
        return seen.timely(expires)


def found(cookies: Mapping[str, str], name: str) -> str:
    """The cookie of this name. Raises Refused."""
    if name not in cookies:
        raise Refused(Refusal.UNSIGNED, f"there is no cookie {name}")
    return cookies[name]


def _named(name: str) -> str:
    if not KEY_NAME.match(name):
        raise ConfigError(f"not a key's name: {name!r}", provider="cloudcdn")
    return name


def _key(key: Key) -> SigningKey:
    if callable(key):
        return hmac_key(key, "sha1")
    value = decode_base64url(key, "the Cloud CDN key")
    if len(value) != 16:
        raise ConfigError(f"a Cloud CDN key has 16 bytes, not {len(value)}", hint="head -c 16 /dev/urandom | base64")
    return hmac_key(value, "sha1")


def two_keys(config: StoreConfig, context: CdnContext) -> dict[str, Key]:
    """The key that signs and the one before it, of options ``key_name``, ``key``, ``previous_key_name``, ``previous_key``."""
    name = config.text("key_name")
    if name is None:
        raise CredentialsMissing(f"{config.provider} needs key_name", provider=config.provider)
    keys: dict[str, Key] = {name: context.signing_key(config, "key")}
    older, older_key = config.text("previous_key_name"), config.secret("previous_key")
    if (older is None) != (older_key is None) or older == name:
        raise ConfigError("previous_key_name and previous_key belong together, and name another key")
    if older is not None and older_key is not None:
        keys[older] = older_key
    return keys


KEY_OPTIONS: Final = (
    Option("key_name", Kind.TEXT, "The signing key's name."),
    Option("key", Kind.SECRET, "The key, base64url (of Ed25519 also PEM)."),
    Option("previous_key_name", Kind.TEXT, "A second key, which is still honoured."),
    Option("previous_key", Kind.SECRET, "It; of Ed25519 its public PEM will do."),
)


class CloudCdnPlugin(CdnPlugin):
    """``cloudcdn://cdn.example/?key_name=…&key_file=…``."""

    scheme = "cloudcdn"
    options = KEY_OPTIONS

    def open(self, config: StoreConfig, context: CdnContext) -> CloudCdn:
        """Load the keys."""
        return CloudCdn(
            context.site(config),
            two_keys(config, context),
        )


cloud_plugin = CloudCdnPlugin()
