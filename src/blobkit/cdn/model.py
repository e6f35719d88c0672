"""The values of CDN signing: what a CDN can do, what a link is restricted to, cookies, and what verification says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Literal

from blobkit.errors import InvalidArgument
from blobkit.redaction import Secret

__all__ = [
    "NO_TERMS",
    "CdnCapabilities",
    "Network",
    "Refusal",
    "Refused",
    "Restriction",
    "Restrictions",
    "SameSite",
    "SignedCookie",
    "Terms",
    "Verdict",
    "network_of",
]

Network = IPv4Network | IPv6Network
SameSite = Literal["Lax", "Strict", "None"]

_COUNTRY: Final = re.compile(r"[A-Z]{2}\Z")
_FIELD: Final = re.compile(r"[A-Za-z0-9_.\-]{1,256}\Z")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|\-]{1,128}\Z")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,510}[\x21-\x7e])?\Z")
_COOKIE_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+\Z")
_COOKIE_VALUE: Final = re.compile(r"[\x21\x23-\x3a\x3c-\x5b\x5d-\x7e]+\Z")  # RFC 6265 section 4.1.1, and the comma
_ATTRIBUTE: Final = re.compile(r"[\x21-\x3a\x3c-\x7e]+\Z")


class Restriction(StrEnum):
    """What a link can be restricted to, beside its URL and its end."""

    NOT_BEFORE = "not_before"
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    IP_RANGE = "ip_range"
    COUNTRIES = "countries"
    BLOCKED_COUNTRIES = "blocked_countries"
    SESSION = "session"
    DATA = "data"
    HEADERS = "headers"
    SPEED = "speed"


@dataclass(frozen=True, slots=True)
class Restrictions:
    """Restrictions that few CDNs check; one that yours does not check raises when it is asked for.

    Attributes:
        countries: Only from these (ISO 3166-1 alpha-2, upper-case).
        blocked_countries: Not from these.
        session: An id that the CDN keeps with the link, in its logs: letters, digits, ``_ . -``.
        data: A text that the CDN keeps with the link, of the same characters.
        headers: Header fields that the request must have with these very values.
        speed: The greatest speed, kilobytes a second.

    Raises:
        InvalidArgument: A value that no CDN could hold.
    """

    countries: tuple[str, ...] = ()
    blocked_countries: tuple[str, ...] = ()
    session: str | None = None
    data: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    speed: int | None = None

    def __post_init__(self) -> None:
        for name in ("countries", "blocked_countries"):
            if isinstance(getattr(self, name), str):
                raise InvalidArgument(f"{name} is a tuple of codes, not one text")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if bad := [code for code in (*self.countries, *self.blocked_countries) if not _COUNTRY.match(code)]:
            raise InvalidArgument(f"not a country's code: {bad[0]!r}", hint="two capital letters: CA")
        for name in ("session", "data"):
            value = getattr(self, name)
            if value is not None and not _FIELD.match(value):
                raise InvalidArgument(f"{name} has characters that tokens cannot carry", hint="letters, digits, _ . -")
        for header, value in self.headers.items():
            if not _HEADER_NAME.match(header) or not _HEADER_VALUE.match(value) or set(value) & set("~,="):
                raise InvalidArgument(f"the header {header!r} cannot be bound", hint="printable ASCII without ~ , =")
        if self.speed is not None and not 0 < self.speed < 2**31:
            raise InvalidArgument("speed is a positive number of kilobytes a second")

    @property
    def asked(self) -> frozenset[Restriction]:
        """Which are set."""
        given = {
            Restriction.COUNTRIES: self.countries,
            Restriction.BLOCKED_COUNTRIES: self.blocked_countries,
            Restriction.SESSION: self.session,
            Restriction.DATA: self.data,
            Restriction.HEADERS: self.headers,
            Restriction.SPEED: self.speed,
        }
        return frozenset(name for name, value in given.items() if value)


_NONE: Final = Restrictions()


@dataclass(frozen=True, slots=True)
class Terms:
    """What a signature says beside its URL and its end: checked already against the CDN's capabilities.

    Attributes:
        starts: When it begins, seconds since the epoch.
        network: The client's address or range of addresses.
        restrict: The rest.
    """

    starts: int | None = None
    network: Network | None = None
    restrict: Restrictions = _NONE


NO_TERMS: Final = Terms()
"""No restriction: hooks may compare with ``is``."""


@dataclass(frozen=True, slots=True)
class CdnCapabilities:
    """What a CDN's edge can check. A verb or restriction that is not here raises Unsupported before anything is signed.

    Attributes:
        prefix: One signature for every object below a path.
        cookies: Signatures in cookies.
        wildcards: The wildcards that prefixes may have elsewhere than at their end: ``""``, ``"*"`` or ``"*?"``.
        restrictions: What links can be restricted to.
        max_lifetime: The longest life of a signature; None for no limit.
        latest: The last second since the epoch at which one may end; None for no limit.
        verifiable: Whether :meth:`~blobkit.cdn.base.Cdn.verify` can judge signatures with the keys it was given.
        weak: Why the signature is weaker than it should be; None when it is not.
    """

    prefix: bool = False
    cookies: bool = False
    wildcards: str = ""
    restrictions: frozenset[Restriction] = frozenset()
    max_lifetime: timedelta | None = None
    latest: int | None = None
    verifiable: bool = True
    weak: str | None = None


class Refusal(StrEnum):
    """Why an edge refuses."""

    UNSIGNED = "unsigned"
    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    EXPIRED = "expired"
    NOT_YET = "not_yet"
    RESOURCE = "resource"
    ADDRESS = "address"
    COUNTRY = "country"
    HEADER = "header"
    UNVERIFIABLE = "unverifiable"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an edge would say to a request. True when it lets it through.

    Attributes:
        reason: Why it refuses; None when it does not.
        detail: The same in a sentence, without secrets.
        expires_at: When the signature ends, as far as it could be read.
        path: The path of the object at the origin side of the edge: the URL's, without a token in it. Only when let through.
    """

    reason: Refusal | None = None
    detail: str = ""
    expires_at: datetime | None = None
    path: str | None = None

    def __bool__(self) -> bool:
        return self.reason is None


class Refused(Exception):
    """What :meth:`~blobkit.cdn.base.Cdn.check` raises to refuse; :meth:`~blobkit.cdn.base.Cdn.verify` makes a Verdict of it.

    Args:
        reason: Why.
        detail: The same in a sentence, without secrets.
        expires: When the signature ends, seconds since the epoch, if it could be read.
    """

    def __init__(self, reason: Refusal, detail: str, expires: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.expires = expires


@dataclass(frozen=True, slots=True)
class SignedCookie:
    """A cookie that grants access, ready for Set-Cookie. Prints without its value.

    It has no Expires and no Max-Age: the signature says when it ends, and the browser forgets it with its session.

    Attributes:
        name: The cookie's name.
        value: What grants access.
        path: Path.
        domain: Domain; None for the host that sets it.
        secure: Secure.
        http_only: HttpOnly.
        same_site: SameSite.

    Raises:
        InvalidArgument: Something that no Set-Cookie header can carry.
    """

    name: str
    value: Secret
    path: str = "/"
    domain: str | None = None
    secure: bool = True
    http_only: bool = True
    same_site: SameSite = "Lax"

    def __post_init__(self) -> None:
        if not _COOKIE_NAME.match(self.name) or not _COOKIE_VALUE.match(self.value.reveal()):
            raise InvalidArgument(f"the cookie {self.name!r} has characters that cookies cannot have")
        if not self.path.startswith("/") or not _ATTRIBUTE.match(self.path):
            raise InvalidArgument("a cookie's path starts with '/', is ASCII, and has no ';'")
        if self.domain is not None and not re.fullmatch(r"\.?[A-Za-z0-9.\-]+", self.domain):
            raise InvalidArgument(f"not a cookie's domain: {self.domain!r}")
        if self.same_site not in ("Lax", "Strict", "None"):
            raise InvalidArgument("same_site is Lax, Strict or None")
        if self.same_site == "None" and not self.secure:
            raise InvalidArgument("browsers drop a cookie with SameSite=None that is not Secure")

    def header(self) -> Secret:
        """The value of a Set-Cookie header (RFC 6265 section 4.1)."""
        parts = [f"{self.name}={self.value.reveal()}", f"Path={self.path}"]
        if self.domain is not None:
            parts.append(f"Domain={self.domain}")
        if self.secure:
            parts.append("Secure")
        if self.http_only:
            parts.append("HttpOnly")
        return Secret("; ".join([*parts, f"SameSite={self.same_site}"]))

    def as_dict(self) -> dict[str, object]:
        """The arguments of ``set_cookie`` as Starlette, Django and Flask name them, with the value in clear."""
        return {
            "key": self.name,
            "value": self.value.reveal(),
            "path": self.path,
            "domain": self.domain,
            "secure": self.secure,
            "httponly": self.http_only,
            "samesite": self.same_site,
        }


def network_of(ip: str | IPv4Address | IPv6Address | IPv4Network | IPv6Network) -> Network:
    """An address or a range, as a range.

    Raises:
        InvalidArgument: It is neither, or it has bits set beyond its mask.
    """
    from ipaddress import ip_network

    try:
        return ip_network(ip)
    except ValueError as error:
        raise InvalidArgument(
            f"not an IP address or range: {str(ip)!r}", hint="203.0.113.7, 203.0.113.0/24, 2001:db8::/32"
        ) from error
