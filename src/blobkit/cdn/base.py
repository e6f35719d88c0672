"""Cdn: the one API in front of every CDN, and exactly what a plugin implements.

The verbs are here and alike for all: they read the clock, bring URLs to their form, check what was asked against the
capabilities, and only then call a hook. A plugin derives :class:`Cdn`, names its capabilities and reserved parameters, and
implements :meth:`Cdn.link` and :meth:`Cdn.check`; :meth:`Cdn.grant` and :meth:`Cdn.cookies` where its capabilities say so.
Hooks are pure; what they are given is valid.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from types import TracebackType
from typing import ClassVar, Final, Self

from blobkit.cdn.grants import PrefixGrant, Scope
from blobkit.cdn.model import (
    NO_TERMS,
    CdnCapabilities,
    Refusal,
    Refused,
    Restriction,
    Restrictions,
    SameSite,
    SignedCookie,
    Terms,
    Verdict,
    network_of,
)
from blobkit.cdn.urls import MAX_URL, PLAIN_PATH, check_host, quote_path, split_url, wire_path, wire_query
from blobkit.errors import ClosedError, ConfigError, InvalidArgument, InvalidExpiry, Unsupported
from blobkit.keys import check_key, check_prefix
from blobkit.ops import lifetime
from blobkit.redaction import Secret
from blobkit.signed import SignedUrl

__all__ = ["Address", "Cdn", "Presented", "Seen", "Site", "iso", "moment"]

Address = str | IPv4Address | IPv6Address
Ranges = str | IPv4Address | IPv6Address | IPv4Network | IPv6Network
Cookies = Mapping[str, str] | Iterable[SignedCookie]

_DEFAULT: Final = 900
_SECOND: Final = timedelta(seconds=1)
_LAST: Final = 253402300799  # 9999-12-31, the last day that a datetime has


@dataclass(frozen=True, slots=True)
class Site:
    """Where a CDN is, and how it reaches the store.

    Attributes:
        host: ``cdn.example`` or ``cdn.example:8443``.
        base: The path below which the store's objects are: empty, or ends in ``/`` and does not start with one.
        origin_path: What the CDN puts before the path when it asks the store: taken off keys. Of the same form.
        store_prefix: The prefix of the store whose keys :meth:`Cdn.sign_key` is given.
        insecure: Links are ``http://``.
        clock: The time, for tests; aware.
    """

    host: str
    base: str = ""
    origin_path: str = ""
    store_prefix: str = ""
    insecure: bool = False
    clock: Callable[[], datetime] | None = None


class Seen:
    """A request as the edge sees it, for :meth:`Cdn.check`.

    Attributes:
        url: The URL as it was sent, absolute, without a fragment.
        path, query: Its parts; ``query`` is empty without one.
        now: Seconds since the epoch.
        ip: The client's address; None when it is not known.
        country: The client's country; None when it is not known.
        headers: Of the request, lower-case names.
    """

    __slots__ = ("country", "headers", "ip", "now", "origin", "path", "query", "url")

    def __init__(
        self,
        origin: str,
        path: str,
        query: str,
        *,
        now: int,
        ip: Address | None = None,
        country: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.origin = origin
        self.path = path
        self.query = query
        self.url = f"{origin}{path}?{query}" if query else origin + path
        self.now = now
        self.ip = None if ip is None else ip_address(ip)
        self.country = country
        self.headers = {name.lower(): value for name, value in (headers or {}).items()}

    def timely(self, expires: int, starts: int | None = None) -> Verdict:
        """Let it through if it is time. Raises Refused when it has ended or has not begun."""
        if self.now >= expires:
            raise Refused(
                Refusal.EXPIRED, f"it ended at {iso(moment(expires))}; now it is {iso(moment(self.now))}", expires
            )
        if starts is not None and self.now < starts:
            raise Refused(Refusal.NOT_YET, f"it begins at {iso(moment(starts))}", expires)
        return Verdict(expires_at=moment(expires), path=self.path)

    def within(self, ranges: Iterable[str]) -> None:
        """Raises Refused when the client's address is in none of the ranges, or is not known."""
        allowed = list(ranges)
        if self.ip is None or not any(self.ip in network_of(one) for one in allowed):
            who = "the client's address is not known" if self.ip is None else f"the client is at {self.ip}"
            raise Refused(Refusal.ADDRESS, f"it is for {', '.join(allowed)} only; {who}")

    def own(self, names: Collection[str]) -> tuple[dict[str, str], str]:
        """The parameters of these names, as they were sent, and the URL without them. Raises Refused: one is there twice."""
        own: dict[str, str] = {}
        rest: list[str] = []
        for pair in self.query.split("&") if self.query else ():
            name, _, value = pair.partition("=")
            if name not in names:
                rest.append(pair)
            elif name in own:
                raise Refused(Refusal.MALFORMED, f"{name} is there twice")
            else:
                own[name] = value
        return own, f"{self.origin}{self.path}" + (f"?{'&'.join(rest)}" if rest else "")


Presented = str | SignedUrl | Cookies
"""What a client presents: a link, or cookies."""


def moment(epoch: int) -> datetime:
    """A time as aware UTC, clamped to what a datetime can be."""
    return datetime.fromtimestamp(min(max(epoch, 0), _LAST), UTC)


def iso(when: datetime) -> str:
    """A time as text."""
    return when.isoformat().replace("+00:00", "Z")


class Cdn(ABC):
    """One CDN host, and the keys that its edge trusts. Made by :func:`blobkit.open_cdn`.

    Thread-safe, a context manager; :meth:`close` is idempotent, and every verb raises ClosedError afterwards.

    Args:
        site: Where it is; a host alone will do.

    Raises:
        ConfigError: Not a host, or not a prefix.
    """

    name: ClassVar[str]
    """The CDN's name in errors and dicts: ``cloudfront``."""

    reserved: ClassVar[frozenset[str]] = frozenset()
    """Parameter names that a URL may not have before it is signed."""

    capabilities: CdnCapabilities

    def __init__(self, site: Site | str) -> None:
        site = Site(site) if isinstance(site, str) else site
        try:
            self.origin = f"{'http' if site.insecure else 'https'}://{check_host(site.host)}"
        except InvalidArgument as error:
            raise ConfigError(error.message, provider=self.name, hint=error.hint) from error
        self.base = check_prefix(site.base)
        self.origin_path = check_prefix(site.origin_path)
        self.store_prefix = check_prefix(site.store_prefix)
        self._start = f"{self.origin}/"
        self._length = len(self.origin)
        self._key_root = f"{self.origin}/{quote_path(self.base)}"
        self._clock = site.clock
        self._closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.origin}/{self.base})"

    def close(self) -> None:
        """Forget it. Idempotent; a key that holds connections is the caller's."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- what a plugin implements -------------------------------------------------------------------------------------

    @abstractmethod
    def link(self, url: str, expires: int, terms: Terms) -> str:
        """The signed URL.

        Args:
            url: Absolute, of this host, in the form that no client rewrites, without a reserved parameter.
            expires: Seconds since the epoch, in the future.
            terms: Restrictions that the capabilities have.
        """

    def grant(self, scope: Scope, expires: int, terms: Terms) -> PrefixGrant:
        """One signature for a prefix. Called when ``capabilities.prefix``."""
        raise Unsupported(f"{self.name} has no one signature for a prefix", provider=self.name)

    def cookies(self, scope: Scope, expires: int, terms: Terms) -> Sequence[tuple[str, str]]:
        """Names and values of the cookies that grant a prefix. Called when ``capabilities.cookies``."""
        raise Unsupported(f"{self.name} has no signatures in cookies", provider=self.name)

    @abstractmethod
    def check(self, seen: Seen, cookies: Mapping[str, str] | None) -> Verdict:
        """What the edge would say.

        Args:
            seen: The request.
            cookies: The signature is to be in these cookies; None: in the URL.

        Returns:
            That it lets it through: ``seen.timely(expires)``.

        Raises:
            Refused: For anything that is wrong with what was presented, and nothing else.
        """

    # --- links --------------------------------------------------------------------------------------------------------

    def sign_url(
        self,
        url: str,
        *,
        expires_in: timedelta | None = None,
        expires_at: datetime | None = None,
        not_before: datetime | None = None,
        ip: Ranges | None = None,
        restrict: Restrictions | None = None,
    ) -> SignedUrl:
        """A link that the edge lets through until it ends.

        Args:
            url: A path (``/videos/42.mp4``) or a whole URL of this CDN, as a URL has it: ``%XX`` is an escape, ``?`` starts
                the query, what needs encoding is encoded. For a store's key there is :meth:`sign_key`.
            expires_in, expires_at: Its life, one of them; 15 minutes when neither is given, or the CDN's own limit if less.
            not_before: When it begins; aware.
            ip: The only address or range that it serves.
            restrict: What few CDNs can check.

        Raises:
            Unsupported: A restriction that this CDN cannot check. Nothing was signed.
            InvalidExpiry: It ends in the past, too late for this CDN, or before it begins.
            InvalidArgument: The URL is of another host, has a reserved parameter, a fragment, a dot segment …
            SigningUnavailable: The key cannot sign.
        """
        url = self.origin + url if PLAIN_PATH(url) and "/." not in url else self._wired(url)
        return self._signed(url, expires_in, expires_at, not_before, ip, restrict)

    def sign_key(
        self,
        key: str,
        *,
        expires_in: timedelta | None = None,
        expires_at: datetime | None = None,
        not_before: datetime | None = None,
        ip: Ranges | None = None,
        restrict: Restrictions | None = None,
    ) -> SignedUrl:
        """A link to an object of the store behind the CDN: prefix, origin path and encoding are seen to.

        Args:
            key: Relative to the store's prefix, as everywhere; nothing in it is an escape.

        Raises:
            InvalidKey: Not a key.
            InvalidArgument: The object is outside of the CDN's origin path.
            Unsupported, InvalidExpiry, SigningUnavailable: As :meth:`sign_url`.
        """
        return self._signed(self.url_of(key), expires_in, expires_at, not_before, ip, restrict)

    def url_of(self, key: str) -> str:
        """The object's URL at the CDN, unsigned: where it would be if it were public. Raises InvalidKey, InvalidArgument."""
        full = self.store_prefix + check_key(key)
        if not full.startswith(self.origin_path):
            raise InvalidArgument(
                f"the object is not below the CDN's origin path {self.origin_path!r}", provider=self.name, key=key
            )
        return self._key_root + quote_path(full[len(self.origin_path) :])

    def sign_prefix(
        self,
        prefix: str,
        *,
        expires_in: timedelta | None = None,
        expires_at: datetime | None = None,
        not_before: datetime | None = None,
        ip: Ranges | None = None,
        restrict: Restrictions | None = None,
    ) -> PrefixGrant:
        """One signature for every object below a path.

        Args:
            prefix: ``/videos/42/`` or a whole URL; it ends in ``/`` or ``/*``, so that ``/videos/42`` does not open
                ``/videos/420``. Where ``capabilities.wildcards`` has them, it may be a pattern: ``/videos/*/720p/*``.
                A literal ``*`` is written ``%2A``.

        Raises:
            Unsupported: This CDN signs single URLs only, or cannot check a restriction.
            InvalidArgument, InvalidExpiry, SigningUnavailable: As :meth:`sign_url`.
        """
        self._need(self.capabilities.prefix, "sign_prefix", "one signature for a prefix", "sign_url() for each object")
        scope = self._scope(prefix)
        expires, terms = self._until(expires_in, expires_at, not_before, ip, restrict)
        return self.grant(scope, expires, terms)

    def sign_cookies(
        self,
        prefix: str,
        *,
        expires_in: timedelta | None = None,
        expires_at: datetime | None = None,
        not_before: datetime | None = None,
        ip: Ranges | None = None,
        restrict: Restrictions | None = None,
        path: str | None = None,
        domain: str | None = None,
        secure: bool = True,
        http_only: bool = True,
        same_site: SameSite = "Lax",
    ) -> list[SignedCookie]:
        """Cookies with which a browser reads every object below a path, by its plain URL.

        Args:
            prefix: As for :meth:`sign_prefix`.
            path: The cookies' Path; the prefix's when None.
            domain: The cookies' Domain: one that your service and the CDN share; None when the CDN's host itself sets them.
            secure, http_only, same_site: The attributes of that name.

        Raises:
            Unsupported: This CDN reads no cookies, or cannot check a restriction.
            InvalidArgument, InvalidExpiry, SigningUnavailable: As :meth:`sign_url`.
        """
        self._need(self.capabilities.cookies, "sign_cookies", "signatures in cookies", "sign_prefix() or sign_url()")
        scope = self._scope(prefix)
        expires, terms = self._until(expires_in, expires_at, not_before, ip, restrict)
        where = scope.directory if path is None else path
        return [
            SignedCookie(name, Secret(value), where, domain, secure, http_only, same_site)
            for name, value in self.cookies(scope, expires, terms)
        ]

    def sign_playlist(
        self,
        playlist: str,
        base_url: str,
        *,
        prefix: str | None = None,
        expires_in: timedelta | None = None,
        expires_at: datetime | None = None,
        not_before: datetime | None = None,
        ip: Ranges | None = None,
        restrict: Restrictions | None = None,
    ) -> str:
        """An HLS playlist (RFC 8216) or a DASH manifest (ISO/IEC 23009-1) whose URIs are signed.

        URIs below ``prefix`` share one signature where the CDN can do that; other URIs of this host are signed one by one;
        those of other hosts and other schemes (``data:``, ``skd:``) are left as they are. A master playlist's variants are
        signed, not rewritten: pass each through here when it is served.

        Args:
            playlist: Its text.
            base_url: Where it is: what its relative URIs are relative to; a URL or path of this CDN.
            prefix: What one signature covers; the playlist's own directory when None.

        Raises:
            Unsupported: A DASH manifest, whose clients make URLs up themselves, and a CDN that signs single URLs only, or a
                manifest that leaves the prefix: there :meth:`sign_cookies` may help.
            InvalidArgument: Not a playlist, or a URI in it that cannot be signed.
            InvalidExpiry, SigningUnavailable: As :meth:`sign_url`.
        """
        from blobkit.cdn import dash, hls

        if self._closed:
            raise ClosedError(f"the CDN {self.name} is closed")
        base = self._wired(base_url)
        expires, terms = self._until(expires_in, expires_at, not_before, ip, restrict)
        directory = base.partition("?")[0].rpartition("/")[0] + "/"
        grant = None
        if self.capabilities.prefix:
            grant = self.grant(self._scope(directory if prefix is None else prefix), expires, terms)
        elif prefix is not None:
            self._need(False, "sign_playlist", "one signature for a prefix", "leave prefix out: each URI is signed")
        if dash.is_manifest(playlist):
            if grant is None:
                raise Unsupported(
                    f"{self.name} signs single URLs, and a DASH client makes up the URLs of segments itself",
                    provider=self.name,
                    operation="sign_playlist",
                    hint="HLS, or a CDN that signs prefixes or cookies",
                )
            return dash.sign(playlist, base, grant)

        def single(url: str) -> str | None:
            return self._bounded(self.link(self._wired(url), expires, terms)) if url.startswith(self._start) else None

        return hls.sign(playlist, base, grant, single)

    # --- verification -------------------------------------------------------------------------------------------------

    def verify(
        self,
        presented: Presented,
        *,
        url: str | SignedUrl | None = None,
        at: datetime | None = None,
        ip: Address | None = None,
        country: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Verdict:
        """What the edge would say, as far as these keys can tell.

        Args:
            presented: A link; or cookies: a mapping, or what :meth:`sign_cookies` gave.
            url: With cookies: the URL that is asked for.
            at: When; now, by this CDN's clock, when None.
            ip: The client's address. A link that is bound to one is refused when it is None.
            country, headers: Likewise.

        Returns:
            True when it is let through, else with the reason. What a client presents never raises.

        Raises:
            InvalidArgument: ``at``, ``ip`` or ``url`` itself cannot be used.
        """
        if self._closed:
            raise ClosedError(f"the CDN {self.name} is closed")
        if at is not None and at.tzinfo is None:
            raise InvalidArgument("at must be a datetime with a zone")
        now = self._now() if at is None else int(at.timestamp())
        if isinstance(presented, str | SignedUrl):
            asked, jar = presented, None
        elif url is None:
            raise InvalidArgument("which URL do the cookies ask for?", hint="verify(cookies, url=…)")
        else:
            asked, jar = url, _jar(presented)
        try:
            seen = _seen(asked.reveal() if isinstance(asked, SignedUrl) else asked, now, ip, country, headers)
            return self.check(seen, jar)
        except Refused as refused:
            end = None if refused.expires is None else moment(refused.expires)
            return Verdict(refused.reason, refused.detail, end)

    # --- shared -------------------------------------------------------------------------------------------------------

    def _now(self) -> int:
        return int(time.time()) if self._clock is None else int(self._clock().timestamp())

    def _need(self, there: bool, operation: str, what: str, instead: str) -> None:
        if self._closed:
            raise ClosedError(f"the CDN {self.name} is closed")
        if not there:
            raise Unsupported(f"{self.name} has no {what}", provider=self.name, operation=operation, hint=instead)

    def _signed(
        self,
        url: str,
        expires_in: timedelta | None,
        expires_at: datetime | None,
        not_before: datetime | None,
        ip: Ranges | None,
        restrict: Restrictions | None,
    ) -> SignedUrl:
        expires = self._end(expires_in, expires_at)
        terms = NO_TERMS
        if not_before is not None or ip is not None or restrict is not None:
            terms = self._terms(expires, not_before, ip, restrict)
        link = self.link(url, expires, terms)
        return SignedUrl(link if len(link) <= MAX_URL else self._bounded(link))

    def _bounded(self, link: str) -> str:
        if len(link) > MAX_URL:
            raise InvalidArgument(f"the URL would have {len(link)} characters; the limit is {MAX_URL}")
        return link

    def _until(
        self,
        expires_in: timedelta | None,
        expires_at: datetime | None,
        not_before: datetime | None,
        ip: Ranges | None,
        restrict: Restrictions | None,
    ) -> tuple[int, Terms]:
        """The end in seconds since the epoch, and the restrictions, all checked."""
        expires = self._end(expires_in, expires_at)
        if not_before is None and ip is None and restrict is None:
            return expires, NO_TERMS
        return expires, self._terms(expires, not_before, ip, restrict)

    def _end(self, expires_in: timedelta | None, expires_at: datetime | None) -> int:
        """The end in seconds since the epoch, checked. Most calls have an ``expires_in`` and nothing that limits it."""
        if self._closed:
            raise ClosedError(f"the CDN {self.name} is closed")
        now = int(time.time()) if self._clock is None else int(self._clock().timestamp())
        longest, latest = self.capabilities.max_lifetime, self.capabilities.latest
        if expires_at is None and type(expires_in) is timedelta and longest is None and expires_in >= _SECOND:
            expires = now + expires_in.days * 86400 + expires_in.seconds
        else:
            if longest is not None and expires_in is None and expires_at is None:
                expires_in = min(longest, timedelta(seconds=_DEFAULT))
            _, expires = lifetime(now, expires_in, expires_at, longest)
        if expires > (_LAST if latest is None else latest):
            raise InvalidExpiry(f"{self.name} takes no end after {iso(moment(latest or _LAST))}", provider=self.name)
        return expires

    def _terms(
        self, expires: int, not_before: datetime | None, ip: Ranges | None, restrict: Restrictions | None
    ) -> Terms:
        asked = set() if restrict is None else set(restrict.asked)
        starts, network = None, None
        if not_before is not None:
            if not isinstance(not_before, datetime) or not_before.tzinfo is None:
                raise InvalidExpiry("not_before must be a datetime with a zone")
            starts = int(not_before.timestamp())
            if starts >= expires:
                raise InvalidExpiry("it would end before it begins")
            if starts < 0:
                raise InvalidExpiry("not_before lies before 1970")
            asked.add(Restriction.NOT_BEFORE)
        if ip is not None:
            network = network_of(ip)
            asked.add(Restriction.IPV4 if network.version == 4 else Restriction.IPV6)
            if network.num_addresses > 1:
                asked.add(Restriction.IP_RANGE)
        if lacking := sorted(asked - self.capabilities.restrictions):
            raise Unsupported(
                f"{self.name} cannot check {', '.join(lacking)}",
                features=lacking,
                provider=self.name,
                hint=f"it checks: {', '.join(sorted(self.capabilities.restrictions)) or 'the end alone'}",
            )
        return Terms(starts, network, restrict or NO_TERMS.restrict)

    def _wired(self, url: str) -> str:
        """The URL in the form that no client rewrites. Raises InvalidArgument."""
        query: str | None
        if url.startswith("/"):
            if "#" in url:
                raise InvalidArgument("a signed URL has no fragment", hint="write '#' as %23", provider=self.name)
            path, question, rest = url.partition("?")
            query = rest if question else None
        else:
            origin, path, query = split_url(url)
            if origin != self.origin:
                raise InvalidArgument(f"the URL is not of {self.origin}", provider=self.name)
        try:
            out = self.origin + wire_path(path or "/")
            return out if query is None else f"{out}?{wire_query(query, self.reserved)}"
        except InvalidArgument as error:
            error.located(provider=self.name)
            raise

    def _scope(self, prefix: str) -> Scope:
        """What a prefix or pattern covers. Raises InvalidArgument, Unsupported."""
        path = prefix
        if not path.startswith("/"):
            if not path.startswith(self._start):
                raise InvalidArgument(f"the prefix is not of {self.origin}", provider=self.name)
            path = path[self._length :]
        pattern, path = path, path.removesuffix("*")
        wild = "*" in path or "?" in path
        if "?" in path and "?" not in self.capabilities.wildcards:
            raise InvalidArgument("a prefix has no query", provider=self.name, hint="a literal '?' in a name is %3F")
        if "*" in path and "*" not in self.capabilities.wildcards:
            raise Unsupported(
                f"{self.name} has no wildcards inside a prefix",
                provider=self.name,
                hint="a prefix that ends in '/'; a literal '*' in a name is %2A",
            )
        if "#" in path:
            raise InvalidArgument("a prefix has no fragment", hint="write '#' as %23", provider=self.name)
        if wild:
            pieces = [piece if piece in "*?" else _wire_piece(piece) for piece in re.split("([*?])", pattern) if piece]
            return Scope(self.origin, "".join(pieces), True)
        if not path.endswith("/"):
            raise InvalidArgument(
                "a prefix ends in '/', or it would open what merely starts alike", provider=self.name, hint=f"{path}/"
            )
        return Scope(self.origin, wire_path(path, star=False), False)


def _wire_piece(piece: str) -> str:
    """What stands between two wildcards."""
    return wire_path(piece, star=False) if piece.startswith("/") else wire_path(f"/{piece}", star=False)[1:]


def _seen(url: str, now: int, ip: Address | None, country: str | None, headers: Mapping[str, str] | None) -> Seen:
    """The request, as the edge sees it. Raises Refused for a URL that is none, InvalidArgument for an address that is none."""
    try:
        origin, path, query = split_url(url)
    except InvalidArgument as error:
        raise Refused(Refusal.MALFORMED, error.message) from error
    text = path + (query or "")
    if len(text) > MAX_URL:
        raise Refused(Refusal.MALFORMED, f"the URL is longer than {MAX_URL} characters")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise Refused(Refusal.MALFORMED, "the URL has characters that no client sends")
    try:
        return Seen(origin, path or "/", query or "", now=now, ip=ip, country=country, headers=headers)
    except ValueError as error:
        raise InvalidArgument(f"not an IP address: {ip!r}") from error


def _jar(cookies: Cookies) -> dict[str, str]:
    if isinstance(cookies, Mapping):
        return {name: value for name, value in cookies.items() if isinstance(name, str)}
    return {cookie.name: cookie.value.reveal() for cookie in cookies}
