"""Media CDN: tokens, which Google recommends, and the older signed requests.

Tokens: https://cloud.google.com/media-cdn/docs/generate-tokens. Fields joined by ``~``, then an Ed25519 signature or, on routes
that turn them into long-duration tokens, an HMAC. Two fields are sent shorter than they are signed: ``FullPath`` without the
path, which the request itself has, and ``Headers`` without the values. The name of the query parameter and of the cookie is
the route's configuration. Long-duration tokens are minted by Media CDN itself.

Signed requests: https://cloud.google.com/media-cdn/docs/signed-requests. As Cloud CDN's, with Ed25519, and also as a component
of the path, which relative URLs in playlists inherit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import ClassVar, Final, Literal

from blobkit.cdn.base import Cdn, Seen, Site
from blobkit.cdn.grants import PrefixGrant, Scope
from blobkit.cdn.keys import Key, SigningKey, decode_base64url, ed25519_key, hmac_key
from blobkit.cdn.model import CdnCapabilities, Refusal, Refused, Restriction, Terms, Verdict
from blobkit.cdn.opening import CdnContext
from blobkit.cdn.texts import padded, read_base64url, read_hex, read_number, unpadded
from blobkit.config import Kind, Option, StoreConfig
from blobkit.errors import ConfigError, InvalidArgument
from blobkit.plugins.spec import CdnPlugin
from blobkit_gcs.cdn.cloud import COOKIE_VALUE, KEY_NAME, KEY_OPTIONS, SIGNED, below, found, two_keys

__all__ = ["MediaCdn", "MediaCdnPlugin", "media_plugin", "sign_token"]

Mode = Literal["token", "signature", "path"]
Algorithm = Literal["ed25519", "sha256", "sha1"]

_TOKEN_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}\Z")
_FIELDS: Final = ("Starts", "Expires", "SessionID", "Data", "Headers", "IPRanges")
_COMPONENT: Final = re.compile(
    r"\A(?P<head>/(?:[^/]+/)*?)(?P<text>edge-cache-token=Expires=(?P<expires>[^&/]*)&KeyName=(?P<name>[^&/]*))"
    r"&Signature=(?P<signature>[^&/]*)/(?P<rest>.*)\Z"
)


def sign_token(key: SigningKey, algorithm: Algorithm, scope: tuple[str, str], expires: int, terms: Terms) -> str:
    """A token.

    Args:
        key: What signs.
        algorithm: How.
        scope: What it covers, as it is sent and as it is signed: ``("FullPath", "FullPath=/a.m3u8")``.
        expires: Its end, seconds since the epoch.
        terms: Its restrictions.
    """
    sent, signed = [scope[0]], [scope[1]]
    restrict = terms.restrict
    fields = [
        ("Starts", None if terms.starts is None else str(terms.starts)),
        ("Expires", str(expires)),
        ("SessionID", restrict.session),
        ("Data", restrict.data),
        ("Headers", ",".join(f"{name}={value}" for name, value in restrict.headers.items()) or None),
        ("IPRanges", None if terms.network is None else unpadded(str(terms.network).encode("ascii"))),
    ]
    for name, value in fields:
        if value is not None:
            signed.append(f"{name}={value}")
            sent.append(signed[-1] if name != "Headers" else f"Headers={','.join(restrict.headers)}")
    signature = key.sign("~".join(signed).encode("ascii"))
    sent.append(f"Signature={unpadded(signature)}" if algorithm == "ed25519" else f"hmac={signature.hex()}")
    return "~".join(sent)


class MediaCdn(Cdn):
    """One host of an edge cache service.

    Args:
        site: Where it is; a host alone will do.
        keys: Key name to key: an Ed25519 seed (bytes or base64url), a PEM (a public one verifies alone), or what signs; for
            an HMAC the shared secret. The first one signs.
        mode: ``token``; ``signature``: the older signed requests, prefixes in the query; ``path``: the same, prefixes in the
            path.
        algorithm: Of tokens: ``ed25519``, or the HMAC that the route is set to.
        parameter: The query parameter of tokens, as the route has it.
        cookie: The cookie of tokens, as the route has it.

    Raises:
        ConfigError: No key, a key of another kind, or a mode that does not go with the algorithm.
    """

    name: ClassVar[str] = "mediacdn"

    def __init__(
        self,
        site: Site | str,
        keys: Mapping[str, Key],
        *,
        mode: Mode = "token",
        algorithm: Algorithm = "ed25519",
        parameter: str = "edge-cache-token",
        cookie: str = "Edge-Cache-Cookie",
    ) -> None:
        super().__init__(site)
        if not keys or any(not KEY_NAME.match(name) for name in keys):
            raise ConfigError("Media CDN needs a key with a name", provider=self.name)
        if mode not in ("token", "signature", "path") or algorithm not in ("ed25519", "sha256", "sha1"):
            raise ConfigError("mode is token, signature or path; algorithm is ed25519, sha256 or sha1")
        if mode != "token" and algorithm != "ed25519":
            raise ConfigError("signed requests of Media CDN are signed with Ed25519", provider=self.name)
        if not _TOKEN_NAME.match(parameter) or not _TOKEN_NAME.match(cookie):
            raise ConfigError("not a name of a query parameter or a cookie", provider=self.name)
        self._mode: Mode = mode
        self._algorithm: Algorithm = algorithm
        self._parameter = parameter
        self._cookie = cookie
        self._keys = {name: _key(key, algorithm) for name, key in keys.items()}
        self._key_name = next(iter(keys))
        self._key = self._keys[self._key_name]
        self._own = frozenset({parameter}) if mode == "token" else _SIGNED_NAMES
        restrictions = _TOKEN_RESTRICTIONS if mode == "token" else frozenset[Restriction]()
        self.capabilities = CdnCapabilities(
            prefix=True,
            cookies=True,
            wildcards="*" if mode == "token" else "",
            restrictions=restrictions,
            verifiable=all(key.verify is not None for key in self._keys.values()),
        )

    @property
    def reserved(self) -> frozenset[str]:  # type: ignore[override]
        """The token's parameter, or those of signed requests."""
        return self._own

    # --- signing ------------------------------------------------------------------------------------------------------

    def link(self, url: str, expires: int, terms: Terms) -> str:
        """A token for the full path, or the older signature of the whole URL."""
        joint = "&" if "?" in url else "?"
        if self._mode == "token":
            path = url[self._length :].partition("?")[0]
            token = sign_token(self._key, self._algorithm, ("FullPath", f"FullPath={path}"), expires, terms)
            return f"{url}{joint}{self._parameter}={token}"
        text = f"{url}{joint}Expires={expires}&KeyName={self._key_name}"
        return f"{text}&Signature={padded(self._key.sign(text.encode('ascii')))}"

    def grant(self, scope: Scope, expires: int, terms: Terms) -> PrefixGrant:
        """A token for a URL prefix or a path glob; or URLPrefix; or a component of the path."""
        if self._mode == "token":
            query = f"{self._parameter}={self._prefix_token(scope, expires, terms)}"
            return PrefixGrant(scope, expires, query=query, reserved=self._own)
        if self._mode == "path":
            text = f"edge-cache-token=Expires={expires}&KeyName={self._key_name}"
            signature = padded(self._key.sign(f"{scope.url}{text}".encode("ascii")))
            return PrefixGrant(scope, expires, insert=f"{text}&Signature={signature}/", reserved=self._own)
        text = f"URLPrefix={padded(scope.url.encode('ascii'))}&Expires={expires}&KeyName={self._key_name}"
        query = f"{text}&Signature={padded(self._key.sign(text.encode('ascii')))}"
        return PrefixGrant(scope, expires, query=query, reserved=self._own)

    def cookies(self, scope: Scope, expires: int, terms: Terms) -> Sequence[tuple[str, str]]:
        """The token, or Edge-Cache-Cookie of signed requests."""
        if self._mode == "token":
            return [(self._cookie, self._prefix_token(scope, expires, terms))]
        text = f"URLPrefix={padded(scope.url.encode('ascii'))}:Expires={expires}:KeyName={self._key_name}"
        return [(self._cookie, f"{text}:Signature={unpadded(self._key.sign(text.encode('ascii')))}")]

    def _prefix_token(self, scope: Scope, expires: int, terms: Terms) -> str:
        if scope.wild and set(scope.path) & set(",!~"):
            raise InvalidArgument("a path glob of Media CDN has no ',', '!' or '~'", provider=self.name)
        field = f"PathGlobs={scope.path}" if scope.wild else f"URLPrefix={unpadded(scope.url.encode('ascii'))}"
        return sign_token(self._key, self._algorithm, (field, field), expires, terms)

    # --- verification -------------------------------------------------------------------------------------------------

    def check(self, seen: Seen, cookies: Mapping[str, str] | None) -> Verdict:
        """Of whatever the mode is; signed requests are looked for in the path too."""
        if self._mode == "token":
            given = seen.own(self._own)[0] if cookies is None else cookies
            name = self._parameter if cookies is None else self._cookie
            if name not in given:
                raise Refused(Refusal.UNSIGNED, f"there is no {name}")
            return self._judge_token(given[name], seen)
        if cookies is not None:
            return self._judge(COOKIE_VALUE.match(found(cookies, self._cookie)), seen)
        if (component := _COMPONENT.match(seen.path)) is not None:
            return self._judge_component(component, seen)
        match = SIGNED.search(seen.query)
        if match is None and not seen.own(self._own)[0]:
            raise Refused(Refusal.UNSIGNED, "there is no Media CDN signature")
        return self._judge(match, seen)

    def _judge(self, match: re.Match[str] | None, seen: Seen) -> Verdict:
        if match is None:
            raise Refused(Refusal.MALFORMED, "the parameters are not Expires, KeyName and Signature, in this order")
        expires = read_number(match["expires"], "Expires")
        text = match["text"]
        if match["prefix"] is None:
            if match["after"]:
                raise Refused(Refusal.SIGNATURE, "parameters follow the signature", expires)
            text = f"{seen.origin}{seen.path}?{seen.query[: match.end('text')]}"
        self._fits([match["name"]], text, read_base64url(match["signature"]), expires)
        if match["prefix"] is not None:
            below(read_base64url(match["prefix"]), seen, expires)
        return seen.timely(expires)

    def _judge_component(self, match: re.Match[str], seen: Seen) -> Verdict:
        expires = read_number(match["expires"], "Expires")
        text = f"{seen.origin}{match['head']}{match['text']}"
        self._fits([match["name"]], text, read_base64url(match["signature"]), expires)
        verdict = seen.timely(expires)
        return Verdict(expires_at=verdict.expires_at, path=match["head"] + match["rest"])

    def _judge_token(self, token: str, seen: Seen) -> Verdict:
        first, *fields = token.split("~")
        names = [field.partition("=")[0] for field in fields]
        order = [name for name in _FIELDS if name in names] + ["Signature" if self._algorithm == "ed25519" else "hmac"]
        if names != order or "Expires" not in names:
            raise Refused(Refusal.MALFORMED, "the token's fields are not those of a token, in their order")
        values = dict(field.split("=", 1) for field in fields if "=" in field)
        expires = read_number(values.get("Expires", ""), "Expires")
        signed = [f"FullPath={seen.path}" if first == "FullPath" else first]
        signed += [_with_values(field, seen) if field.startswith("Headers=") else field for field in fields[:-1]]
        last = fields[-1].partition("=")[2]
        self._fits(
            list(self._keys),
            "~".join(signed),
            read_base64url(last) if order[-1] == "Signature" else read_hex(last),
            expires,
        )
        name, _, value = first.partition("=")
        if name == "URLPrefix":
            below(read_base64url(value), seen, expires)
        elif name == "PathGlobs":
            if not any(Scope(seen.origin, glob, True).covers(seen.path) for glob in value.split(",")):
                raise Refused(Refusal.RESOURCE, f"it is for {value}", expires)
        elif first != "FullPath":
            raise Refused(Refusal.MALFORMED, "the token does not say what it is for", expires)
        verdict = seen.timely(expires, read_number(values["Starts"], "Starts") if "Starts" in values else None)
        if "IPRanges" in values:
            seen.within(_ranges(read_base64url(values["IPRanges"])))
        return verdict

    def _fits(self, names: Sequence[str], text: str, signature: bytes, expires: int) -> None:
        keys = [self._keys[name] for name in names if name in self._keys]
        if not keys:
            raise Refused(Refusal.UNKNOWN_KEY, f"{names[0]!r} is none of the keys {', '.join(self._keys)}", expires)
        if any(key.verify is not None and key.verify(text.encode("ascii"), signature) for key in keys):
            return
        if any(key.verify is None for key in keys):
            raise Refused(Refusal.UNVERIFIABLE, "the key signs elsewhere and its public half is not known", expires)
        raise Refused(Refusal.SIGNATURE, "the signature is not of this request, or of another key", expires)


_SIGNED_NAMES: Final = frozenset({"Expires", "KeyName", "Signature", "URLPrefix"})
_TOKEN_RESTRICTIONS: Final = frozenset(
    {
        Restriction.NOT_BEFORE,
        Restriction.IPV4,
        Restriction.IPV6,
        Restriction.IP_RANGE,
        Restriction.SESSION,
        Restriction.DATA,
        Restriction.HEADERS,
    }
)


def _key(key: Key, algorithm: Algorithm) -> SigningKey:
    if algorithm == "ed25519":
        return ed25519_key(key)
    if callable(key):
        return hmac_key(key, algorithm)
    value = decode_base64url(key, "the Media CDN secret")
    if len(value) < 16:
        raise ConfigError(f"a shared secret of {len(value)} bytes is too short")
    return hmac_key(value, algorithm)


def _with_values(field: str, seen: Seen) -> str:
    """``Headers=Foo,BAZ`` with the values that the request has. A missing one is the header's fault, not the signature's."""
    names = field.removeprefix("Headers=").split(",")
    if missing := [name for name in names if name.lower() not in seen.headers]:
        raise Refused(Refusal.HEADER, f"the request has no header {missing[0]}")
    return "Headers=" + ",".join(f"{name}={seen.headers[name.lower()]}" for name in names)


def _ranges(value: bytes) -> list[str]:
    try:
        return [str(ip_network(one, strict=False)) for one in value.decode("ascii").split(",")]
    except ValueError:
        raise Refused(Refusal.MALFORMED, "IPRanges are not ranges") from None


class MediaCdnPlugin(CdnPlugin):
    """``mediacdn://media.example/?key_name=…&key_file=…``."""

    scheme = "mediacdn"
    options = (
        *KEY_OPTIONS,
        Option("mode", Kind.CHOICE, "Tokens; signed requests; these with prefixes in the path.", "token",
               ("token", "signature", "path")),
        Option("algorithm", Kind.CHOICE, "Of tokens.", "ed25519", ("ed25519", "sha256", "sha1")),
        Option("parameter", Kind.TEXT, "The route's query parameter of tokens.", "edge-cache-token"),
        Option("cookie", Kind.TEXT, "The route's cookie of tokens.", "Edge-Cache-Cookie"),
    )  # fmt: skip

    def open(self, config: StoreConfig, context: CdnContext) -> MediaCdn:
        """Load the keys."""
        return MediaCdn(
            context.site(config),
            two_keys(config, context),
            mode=_mode(config.text("mode")),
            algorithm=_algorithm(config.text("algorithm")),
            parameter=config.text("parameter") or "",
            cookie=config.text("cookie") or "",
        )


def _mode(text: str | None) -> Mode:
    return "signature" if text == "signature" else "path" if text == "path" else "token"


def _algorithm(text: str | None) -> Algorithm:
    return "sha256" if text == "sha256" else "sha1" if text == "sha1" else "ed25519"


media_plugin = MediaCdnPlugin()
