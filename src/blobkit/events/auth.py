"""Proof of where a delivery comes from: the :class:`Authenticator` protocol, and the proofs that are no provider's own.

An authenticator raises :class:`~blobkit.errors.UntrustedEvent` for what it does not believe, and a
:class:`~blobkit.errors.TransientError` when it could not find out (a key server is down): that must be answered with 503,
because most senders take any 4xx as delivered and the event is lost.

A valid proof says that some topic, service account or application sent it. Each verifier therefore needs the names of yours.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, Protocol, runtime_checkable
from urllib.parse import parse_qsl

from blobkit.errors import InvalidArgument, TransientError, UntrustedEvent
from blobkit.events.shells import Headers, lower_names
from blobkit.redaction import Secret

__all__ = ["AllOf", "AnyOf", "Authenticator", "Clock", "Proof", "Request", "SharedSecret", "same_secret"]

Clock = Callable[[], datetime]
"""The time, aware."""

_MISSING: Final = "missing"


def _no_names() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request as a verifier sees it. Its repr shows neither headers nor query nor body: they hold secrets.

    Args:
        method: In upper case.
        headers: By lower-case name.
        query: By name, decoded; of a repeated name the last counts.
        body: As it was received; signatures are over these bytes.
    """

    method: str
    headers: Mapping[str, str] = field(default_factory=_no_names, repr=False)
    query: Mapping[str, str] = field(default_factory=_no_names, repr=False)
    body: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, method: str, headers: Headers, query: str | bytes | Mapping[str, str], body: bytes) -> Request:
        """From what web frameworks give: headers in any case, the query as text or decoded."""
        if isinstance(query, bytes):
            query = query.decode("latin-1")
        if isinstance(query, str):
            try:
                query = dict(parse_qsl(query.removeprefix("?"), keep_blank_values=True, max_num_fields=100))
            except ValueError:
                query = {}
        return cls(method.upper(), MappingProxyType(lower_names(headers)), MappingProxyType(dict(query)), body)


@dataclass(frozen=True, slots=True)
class Proof:
    """What was proven.

    Args:
        by: The means: ``sns | oidc | entra | secret``.
        who: Who the sender is: a topic's ARN, a service account's e-mail, an application's id, the secret's name.
    """

    by: str
    who: str


@runtime_checkable
class Authenticator(Protocol):
    """Proves where a request comes from. Thread-safe."""

    def authenticate(self, request: Request) -> Proof:
        """What is proven.

        Raises:
            UntrustedEvent: Nothing is, or not enough. ``code`` is ``"missing"`` when no credentials came at all.
            TransientError: It could not be found out; the sender should try again.
        """
        ...


def same_secret(given: str, secrets: Iterable[Secret]) -> bool:
    """Whether ``given`` is one of ``secrets``. Every one is compared, in constant time: which one fits does not show."""
    raw, found = given.encode("utf-8", "surrogatepass"), False
    for secret in secrets:
        found |= hmac.compare_digest(raw, secret.reveal().encode("utf-8", "surrogatepass"))
    return found


class SharedSecret:
    """A secret that the sender repeats with every request: in a header, in ``Authorization``, or in the query.

    Made by :meth:`header`, :meth:`bearer`, :meth:`basic` and :meth:`query`. Each takes several values, so that a secret can
    be replaced without losing a delivery: add the new one, change the sender, remove the old one. A secret in the query
    stands in access logs; prefer a header.
    """

    __slots__ = ("_name", "_scheme", "_secrets", "_where", "challenge")

    def __init__(
        self,
        where: Literal["header", "query"],
        name: str,
        secrets: Sequence[str | Secret],
        *,
        scheme: str | None = None,
    ) -> None:
        values = tuple(item if isinstance(item, Secret) else Secret(item) for item in secrets)
        if not values or not all(values):
            raise InvalidArgument("a shared secret must not be empty")
        self._where, self._name, self._scheme = where, name.lower() if where == "header" else name, scheme
        self._secrets = values
        self.challenge: Final = f'{scheme} realm="events"' if scheme else None

    @classmethod
    def header(cls, name: str, *secrets: str | Secret) -> SharedSecret:
        """A header of its own (an Event Grid delivery property, an EventBridge connection's API key)."""
        return cls("header", name, secrets)

    @classmethod
    def bearer(cls, *tokens: str | Secret) -> SharedSecret:
        """``Authorization: Bearer …`` (RFC 6750)."""
        return cls("header", "authorization", tokens, scheme="Bearer")

    @classmethod
    def basic(cls, user: str, *passwords: str | Secret) -> SharedSecret:
        """``Authorization: Basic …`` (RFC 7617), in UTF-8."""
        plain = [item.reveal() if isinstance(item, Secret) else item for item in passwords]
        if ":" in user or not all(plain):
            raise InvalidArgument("a user has no colon, and a password is not empty")
        encoded = [base64.b64encode(f"{user}:{item}".encode()).decode("ascii") for item in plain]
        return cls("header", "authorization", encoded, scheme="Basic")

    @classmethod
    def query(cls, name: str, *secrets: str | Secret) -> SharedSecret:
        """A query parameter of the webhook's URL."""
        return cls("query", name, secrets)

    def authenticate(self, request: Request) -> Proof:
        """See :class:`Authenticator`."""
        given = (request.headers if self._where == "header" else request.query).get(self._name)
        if not given:
            raise UntrustedEvent(f"the {self._where} {self._name!r} is missing", code=_MISSING)
        if self._scheme is not None:
            scheme, _, given = given.partition(" ")
            if scheme.lower() != self._scheme.lower():
                raise UntrustedEvent(f"the header {self._name!r} is of another scheme", code=_MISSING)
            given = given.strip()
        if not same_secret(given, self._secrets):
            raise UntrustedEvent(f"the {self._where} {self._name!r} holds another secret")
        return Proof("secret", self._name)

    def __repr__(self) -> str:
        return f"SharedSecret({self._where} {self._name!r}, {len(self._secrets)} accepted)"


class AllOf:
    """Believes what every one of several authenticators believes. The proof is the first one's."""

    __slots__ = ("_all",)

    def __init__(self, *authenticators: Authenticator) -> None:
        if not authenticators:
            raise InvalidArgument("AllOf needs an authenticator")
        self._all = authenticators

    def authenticate(self, request: Request) -> Proof:
        """See :class:`Authenticator`."""
        proofs = [authenticator.authenticate(request) for authenticator in self._all]
        return proofs[0]


class AnyOf:
    """Believes what one of several authenticators believes: one address for several senders.

    When none does, but one could not find out, that one's error is raised: the sender should try again.
    """

    __slots__ = ("_all",)

    def __init__(self, *authenticators: Authenticator) -> None:
        if not authenticators:
            raise InvalidArgument("AnyOf needs an authenticator")
        self._all = authenticators

    def authenticate(self, request: Request) -> Proof:
        """See :class:`Authenticator`."""
        refused: UntrustedEvent | None = None
        unknown: TransientError | None = None
        for authenticator in self._all:
            try:
                return authenticator.authenticate(request)
            except UntrustedEvent as error:
                refused = error if refused is None or refused.code == _MISSING else refused
            except TransientError as error:
                unknown = error
        if unknown is not None:
            raise unknown
        assert refused is not None
        raise refused
