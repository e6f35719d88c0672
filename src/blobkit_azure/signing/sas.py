"""Shared access signatures (SAS), field by field.

Service SAS: https://learn.microsoft.com/rest/api/storageservices/create-service-sas

User-delegation SAS: https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas

Account SAS: https://learn.microsoft.com/rest/api/storageservices/create-account-sas

A SAS is a query. What is signed is the text of its fields, one a line, none encoded, in an order that depends on the version
(``sv``) and on whose key signs::

    service          sp st se canon si sip spr sv [sr snap] [ses] rscc rscd rsce rscl rsct
    user delegation  sp st se canon skoid sktid skt ske sks skv [saoid suoid scid] [skdutid sduoid]
                     sip spr sv sr snap [ses] [srh srq] rscc rscd rsce rscl rsct
    account          account sp ss srt st se sip spr sv [ses], and a line feed at the end

    canon = /blob/ACCOUNT/CONTAINER[/BLOB]     signature = base64(HMAC-SHA256(key, text))

Fields in brackets came with a version: ``sr snap`` 2018-11-09, ``saoid suoid scid`` 2020-02-10, ``ses`` 2020-12-06,
``skdutid sduoid`` 2025-07-05, ``srh srq`` 2026-04-06.
"""

from __future__ import annotations

import binascii
import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import quote

from blobkit.errors import InvalidArgument

__all__ = [
    "HEADERS_SINCE",
    "AccountGrant",
    "AccountKey",
    "DelegationKey",
    "Grant",
    "Resource",
    "account_sas",
    "canonical",
    "query_of",
    "service_sas",
    "sign_text",
    "stamp",
    "string_to_sign",
]

RESOURCE_SINCE: Final = "2018-11-09"
AGENTS_SINCE: Final = "2020-02-10"
SCOPE_SINCE: Final = "2020-12-06"
DELEGATED_SINCE: Final = "2025-07-05"
HEADERS_SINCE: Final = "2026-04-06"
"""The first version whose user-delegation SAS binds request headers and query parameters."""

Resource = Literal["b", "c", "bs", "bv", "d"]
"""What a SAS is for: a blob, a container, a snapshot, a version, a directory."""


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AccountKey:
    """One of the two keys of a storage account.

    Attributes:
        account: The account's name.
        value: The key, decoded from base64.
    """

    account: str
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DelegationKey:
    """A user-delegation key, as Get User Delegation Key answers it; its texts are signed as they came.

    Attributes:
        account: The account's name.
        value: The key, decoded from base64.
        oid, tid: Whose key it is: object and tenant in Entra.
        start, expiry: When it is valid, ISO 8601 with ``Z``.
        service: ``b``.
        version: The version that made it.
        user_tid: The tenant of the user to whom SAS of this key may be bound.
    """

    account: str
    value: bytes = field(repr=False)
    oid: str
    tid: str
    start: str
    expiry: str
    service: str
    version: str
    user_tid: str | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What a service or user-delegation SAS allows; the names of the query's parameters are in brackets.

    Attributes:
        version: Of the signature (``sv``).
        permissions: Letters in the service's own order (``sp``): blob ``racwdxytmei``, container ``racwdxyltfmei``.
        expiry, start: ``YYYY-MM-DDTHH:MM:SSZ`` (``se``, ``st``).
        resource: What it is for (``sr``).
        policy: The name of a stored access policy (``si``); account keys only.
        ip: An IPv4 address, or ``first-last`` (``sip``).
        protocol: ``https`` or ``https,http`` (``spr``).
        snapshot: The time of the snapshot, or the id of the version, that is meant; signed, and no part of the query.
        scope: An encryption scope (``ses``).
        cache_control, content_disposition, content_encoding, content_language, content_type: What the answer says instead of
            what is stored (``rscc rscd rsce rscl rsct``).
        headers, query: What the request must have (``srh``, ``srq``), in this order.
        user_oid: The one user who may use it, with a token of their own (``sduoid``).
        authorized_oid, unauthorized_oid, correlation: For hierarchical namespaces (``saoid suoid scid``).
        depth: Of a directory below the root (``sdd``).
    """

    version: str
    permissions: str | None = None
    expiry: str | None = None
    start: str | None = None
    resource: Resource = "b"
    policy: str | None = None
    ip: str | None = None
    protocol: str | None = None
    snapshot: str | None = None
    scope: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=_nothing)
    query: Mapping[str, str] = field(default_factory=_nothing)
    user_oid: str | None = None
    authorized_oid: str | None = None
    unauthorized_oid: str | None = None
    correlation: str | None = None
    depth: int | None = None


@dataclass(frozen=True, slots=True)
class AccountGrant:
    """What an account SAS allows.

    Attributes:
        version, permissions, expiry, start, ip, protocol, scope: As of :class:`Grant`; permissions ``rwdxylacuptfi``.
        services: Letters of ``bqtf`` (``ss``).
        resources: Letters of ``sco``: service, container, object (``srt``).
    """

    version: str
    permissions: str
    expiry: str
    services: str = "b"
    resources: str = "o"
    start: str | None = None
    ip: str | None = None
    protocol: str | None = None
    scope: str | None = None


def stamp(epoch: int) -> str:
    """Whole seconds since the epoch as a SAS writes a time."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def canonical(account: str, container: str, key: str | None = None) -> str:
    """The canonicalised resource: the same for every host, the emulator's paths and custom domains included."""
    return f"/blob/{account}/{container}" if key is None else f"/blob/{account}/{container}/{key}"


def string_to_sign(grant: Grant, resource: str, key: AccountKey | DelegationKey) -> str:
    """The text that is signed for the canonicalised ``resource``.

    Raises:
        InvalidArgument: A field that the version, or this kind of key, does not have.
    """
    _check(grant, key)
    return "\n".join(
        value or ""
        for value in (
            grant.permissions,
            grant.start,
            grant.expiry,
            resource,
            *(_delegated(grant, key) if isinstance(key, DelegationKey) else (grant.policy,)),
            grant.ip,
            grant.protocol,
            grant.version,
            *((grant.resource, grant.snapshot) if grant.version >= RESOURCE_SINCE else ()),
            *((grant.scope,) if grant.version >= SCOPE_SINCE else ()),
            *(_required(grant) if isinstance(key, DelegationKey) and grant.version >= HEADERS_SINCE else ()),
            grant.cache_control,
            grant.content_disposition,
            grant.content_encoding,
            grant.content_language,
            grant.content_type,
        )
    )


def _delegated(grant: Grant, key: DelegationKey) -> Iterator[str | None]:
    yield from (key.oid, key.tid, key.start, key.expiry, key.service, key.version)
    if grant.version >= AGENTS_SINCE:
        yield from (grant.authorized_oid, grant.unauthorized_oid, grant.correlation)
    if grant.version >= DELEGATED_SINCE:
        yield from (key.user_tid, grant.user_oid)


def _required(grant: Grant) -> tuple[str, str]:
    """``name:value LF`` for every header, ``LF name:value`` for every parameter."""
    return (
        "".join([f"{name}:{value}\n" for name, value in grant.headers.items()]),
        "".join([f"\n{name}:{value}" for name, value in grant.query.items()]),
    )


_SINCE: Final = (
    ("scope", SCOPE_SINCE),
    ("snapshot", RESOURCE_SINCE),
    ("authorized_oid", AGENTS_SINCE),
    ("unauthorized_oid", AGENTS_SINCE),
    ("correlation", AGENTS_SINCE),
    ("user_oid", DELEGATED_SINCE),
    ("headers", HEADERS_SINCE),
    ("query", HEADERS_SINCE),
)
_DELEGATED_ONLY: Final = ("authorized_oid", "unauthorized_oid", "correlation", "user_oid", "headers", "query")


def _check(grant: Grant, key: AccountKey | DelegationKey) -> None:
    for name, since in _SINCE:
        if getattr(grant, name) and grant.version < since:
            raise InvalidArgument(f"a SAS of version {grant.version} has no {name}", hint=f"version {since} has")
    if isinstance(key, DelegationKey):
        if grant.policy:
            raise InvalidArgument(
                "a user-delegation SAS has no stored access policy", hint="sign with the account's key"
            )
        if grant.version < RESOURCE_SINCE:
            raise InvalidArgument(f"there is no user-delegation SAS of version {grant.version}")
    elif wrong := [name for name in _DELEGATED_ONLY if getattr(grant, name)]:
        raise InvalidArgument(f"only a user-delegation SAS has {wrong[0]}")
    values = [value for item in fields(Grant) if isinstance(value := getattr(grant, item.name), str)]
    values += [text for pairs in (grant.headers, grant.query) for pair in pairs.items() for text in pair]
    if any("\n" in value for value in values):
        raise InvalidArgument("a value to be signed has a line feed")


def query_of(grant: Grant, key: AccountKey | DelegationKey) -> str:
    """The SAS but its signature: ``name=value&…``, encoded, in the order of azure-storage-blob."""
    pairs: list[tuple[str, str | None]] = [
        ("st", grant.start),
        ("se", grant.expiry),
        ("sp", grant.permissions),
        ("sip", grant.ip),
        ("spr", grant.protocol),
        ("sv", grant.version),
        ("si", grant.policy),
        ("sduoid", grant.user_oid),
        ("sr", grant.resource),
        ("rscc", grant.cache_control),
        ("rscd", grant.content_disposition),
        ("rsce", grant.content_encoding),
        ("rscl", grant.content_language),
        ("rsct", grant.content_type),
        ("ses", grant.scope),
        ("sdd", None if grant.depth is None else str(grant.depth)),
        ("saoid", grant.authorized_oid),
        ("suoid", grant.unauthorized_oid),
        ("scid", grant.correlation),
    ]
    if isinstance(key, DelegationKey):
        pairs += [
            ("skoid", key.oid),
            ("sktid", key.tid),
            ("skt", key.start),
            ("ske", key.expiry),
            ("sks", key.service),
            ("skv", key.version),
            ("skdutid", key.user_tid),
        ]
    parts = [f"{name}={quote(value)}" for name, value in pairs if value]
    parts += [
        f"{name}={','.join([quote(one) for one in names])}"
        for name, names in (("srh", grant.headers), ("srq", grant.query))
        if names
    ]
    return "&".join(parts)


def sign_text(key: bytes, text: str) -> str:
    """base64(HMAC-SHA256(key, text))."""
    return binascii.b2a_base64(hmac.digest(key, text.encode("utf-8"), "sha256"), newline=False).decode("ascii")


def service_sas(grant: Grant, key: AccountKey | DelegationKey, container: str, blob: str | None = None) -> str:
    """A service SAS with an account's key, a user-delegation SAS with a delegation key: the query, signature last.

    Args:
        grant: What is allowed.
        key: What signs.
        container: The container's name.
        blob: The blob's name, not encoded; None for a grant on the container.

    Raises:
        InvalidArgument: A field that the version, or this kind of key, does not have.
    """
    text = string_to_sign(grant, canonical(key.account, container, blob), key)
    return f"{query_of(grant, key)}&sig={quote(sign_text(key.value, text))}"


def account_sas(grant: AccountGrant, key: AccountKey) -> str:
    """An account SAS: it covers every container, so that a store never signs one. For administration."""
    if grant.scope and grant.version < SCOPE_SINCE:
        raise InvalidArgument(f"a SAS of version {grant.version} has no scope", hint=f"version {SCOPE_SINCE} has")
    lines = [
        key.account,
        grant.permissions,
        grant.services,
        grant.resources,
        grant.start or "",
        grant.expiry,
        grant.ip or "",
        grant.protocol or "",
        grant.version,
        *((grant.scope or "",) if grant.version >= SCOPE_SINCE else ()),
        "",
    ]
    if any("\n" in line for line in lines):
        raise InvalidArgument("a value to be signed has a line feed")
    pairs = (
        ("st", grant.start),
        ("se", grant.expiry),
        ("sp", grant.permissions),
        ("sip", grant.ip),
        ("spr", grant.protocol),
        ("sv", grant.version),
        ("ss", grant.services),
        ("srt", grant.resources),
        ("ses", grant.scope),
    )
    query = "&".join([f"{name}={quote(value)}" for name, value in pairs if value])
    return f"{query}&sig={quote(sign_text(key.value, chr(10).join(lines)))}"
