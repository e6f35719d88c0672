"""The upload plan: JSON that a browser, a phone or a command line executes without knowing any provider.

A plan names each request exactly (method, URL, headers, statuses that mean success, what to keep of the answer). It holds
signed URLs in clear once it is JSON: treat it like a password with an expiry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, Literal, LiteralString, NoReturn, Self, SupportsIndex, TypeVar

from blobkit.errors import InvalidArgument
from blobkit.signed import Receipt

__all__ = [
    "PLAN_VERSION",
    "PlanChecksum",
    "PlanChunk",
    "PlanChunks",
    "PlanLimits",
    "PlanLinks",
    "PlanRequest",
    "UploadPlan",
]

PLAN_VERSION: Final = 1
_MAX_CHUNKS: Final = 200_000
T = TypeVar("T")
C = TypeVar("C", bound=LiteralString)


class _Granting:
    """A value whose URLs grant access: JSON is the one door, and it has to be asked for."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"{type(self).__name__} does not pickle: it grants access; pass what as_json() gives")


@dataclass(frozen=True, slots=True, repr=False)
class PlanRequest(_Granting):
    """A whole upload in one request: ``PUT``, or ``POST`` with form ``fields`` in order and the file last."""

    method: str
    url: str
    headers: Mapping[str, str]
    fields: Mapping[str, str] | None
    ok: tuple[int, ...]
    expires_at: datetime

    def __repr__(self) -> str:
        return f"PlanRequest({self.method} ***)"


@dataclass(frozen=True, slots=True, repr=False)
class PlanChunk(_Granting):
    """One chunk: number from 1, offset and size in bytes, and its request."""

    number: int
    offset: int
    size: int
    method: str
    url: str
    headers: Mapping[str, str]
    expires_at: datetime

    def __repr__(self) -> str:
        return f"PlanChunk({self.number}, offset={self.offset}, size={self.size}, ***)"


@dataclass(frozen=True, slots=True)
class PlanChunks:
    """How the chunks are moved.

    Attributes:
        chunk_size: Bytes of every chunk but the last (of the first ones, when the length is unknown and they grow).
        count: How many chunks there are, or may be.
        min_chunk, max_count, align, equal: The provider's limits, for clients that cut by themselves.
        order: ``any`` (in parallel, in any order) or ``sequential``.
        sign: ``inline`` (every request is in ``items``) or ``lazy`` (ask ``links.sign`` for each).
        items: The signed chunks; empty when lazy.
        receipt: What to keep of each answer.
        ok: The statuses that mean that the chunk is held.
        incomplete: The status that means "held, go on" in a sequential session, with the ``Range`` header; else None.
        content_range: Whether each request carries ``Content-Range: bytes first-last/total``.
    """

    chunk_size: int
    count: int
    min_chunk: int
    max_count: int | None
    align: int
    equal: bool
    order: Literal["any", "sequential"]
    sign: Literal["inline", "lazy"]
    items: Sequence[PlanChunk]
    receipt: Receipt
    ok: tuple[int, ...]
    incomplete: int | None = None
    content_range: bool = False


@dataclass(frozen=True, slots=True)
class PlanChecksum:
    """A checksum to compute: over the ``object`` or each ``part``; who verifies it. ``value`` is base64 when it is known."""

    algorithm: str
    scope: Literal["object", "part"]
    header: str | None
    value: str | None
    sign_needs_value: bool
    verified_by: Literal["provider", "complete", "none"]


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """The least and greatest size in bytes, and who enforces them: ``signature | provider | completion | none``."""

    min_size: int | None
    max_size: int | None
    enforced_by: str


@dataclass(frozen=True, slots=True)
class PlanLinks:
    """Where the service answers for this upload. ``{n}`` in ``sign`` stands for a chunk number; each may be None."""

    sign: str | None = None
    list: str | None = None
    complete: str | None = None
    abort: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class UploadPlan(_Granting):
    """What a client does to upload one object.

    Attributes:
        id: The session's token, or an id that the service chose; opaque to the client.
        key: The key, relative to the store's prefix.
        expires_at: When the first of the plan's URLs ends (aware UTC); None when it has none.
        content_type, size: What was asked for; None = not fixed.
        strategy: ``single`` (one request), ``parts`` (chunks), ``session`` (sequential chunks to one bearer URL).
        single, parts: The requests; exactly one is given.
        checksum, limits: What is checked, and by whom.
        overwrite: ``deny`` when the object must not exist; ``overwrite_enforced_by`` says who sees to it.
        links: The service's own routes.
        direct: True when the bytes go straight to storage; False when the service relays them.
    """

    id: str
    key: str
    expires_at: datetime | None
    content_type: str | None
    size: int | None
    strategy: Literal["single", "parts", "session"]
    single: PlanRequest | None = None
    parts: PlanChunks | None = None
    checksum: PlanChecksum | None = None
    limits: PlanLimits = PlanLimits(None, None, "none")
    overwrite: Literal["allow", "deny"] = "allow"
    overwrite_enforced_by: str = "none"
    links: PlanLinks = PlanLinks()
    direct: bool = True

    def __repr__(self) -> str:
        return f"UploadPlan(key={self.key!r}, strategy={self.strategy!r}, size={self.size})"

    def as_dict(self) -> dict[str, object]:
        """The plan as JSON values, signed URLs in clear. :meth:`from_dict` is its inverse."""
        return {
            "version": PLAN_VERSION,
            "id": self.id,
            "key": self.key,
            "expires_at": _iso(self.expires_at),
            "content_type": self.content_type,
            "size": self.size,
            "strategy": self.strategy,
            "single": None if self.single is None else _request_dict(self.single),
            "parts": None if self.parts is None else _chunks_dict(self.parts),
            "checksum": None if self.checksum is None else _plain(self.checksum),
            "limits": _plain(self.limits),
            "overwrite": self.overwrite,
            "overwrite_enforced_by": self.overwrite_enforced_by,
            "links": _plain(self.links),
            "direct": self.direct,
        }

    def as_json(self) -> str:
        """:meth:`as_dict` as compact JSON."""
        return json.dumps(self.as_dict(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """From JSON. Raises InvalidArgument for anything that is not a plan of this version."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise InvalidArgument("an upload plan must be JSON") from error
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From what :meth:`as_dict` gave, perhaps by another machine. Unknown fields are ignored.

        Raises:
            InvalidArgument: Not a plan, a later version, or fields that contradict each other.
        """
        if not isinstance(data, Mapping) or not isinstance(data.get("version"), int):
            raise InvalidArgument("not an upload plan")
        if data["version"] > PLAN_VERSION:
            raise InvalidArgument(
                f"upload plan version {data['version']} is newer than this library", hint="upgrade blobkit"
            )
        try:
            plan = cls(
                id=_typed(data["id"], str),
                key=_typed(data["key"], str),
                expires_at=_time(data.get("expires_at")),
                content_type=_optional(data.get("content_type"), str),
                size=_optional(data.get("size"), int),
                strategy=_one_of(data["strategy"], "single", "parts", "session"),
                single=None if data.get("single") is None else _request(data["single"]),
                parts=None if data.get("parts") is None else _chunks(data["parts"]),
                checksum=None
                if data.get("checksum") is None
                else PlanChecksum(**_known(PlanChecksum, data["checksum"])),
                limits=PlanLimits(**_known(PlanLimits, data.get("limits") or _plain(PlanLimits(None, None, "none")))),
                overwrite=_one_of(data.get("overwrite", "allow"), "allow", "deny"),
                overwrite_enforced_by=_typed(data.get("overwrite_enforced_by", "none"), str),
                links=PlanLinks(**_known(PlanLinks, data.get("links") or {})),
                direct=bool(data.get("direct", True)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidArgument(f"not an upload plan: {error}") from error
        if (plan.single is None) == (plan.parts is None) or (plan.strategy == "single") != (plan.single is not None):
            raise InvalidArgument("an upload plan has either one request or chunks")
        return plan


def _plain(value: PlanChecksum | PlanLimits | PlanLinks | Receipt) -> dict[str, object]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _known(cls: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in cls.__dataclass_fields__ if name in data}


def _request_dict(request: PlanRequest) -> dict[str, object]:
    return {
        "method": request.method,
        "url": request.url,
        "headers": dict(request.headers),
        "fields": None if request.fields is None else dict(request.fields),
        "ok": list(request.ok),
        "expires_at": _iso(request.expires_at),
    }


def _chunks_dict(chunks: PlanChunks) -> dict[str, object]:
    return {
        "part_size": chunks.chunk_size,
        "count": chunks.count,
        "min_part_size": chunks.min_chunk,
        "max_parts": chunks.max_count,
        "align": chunks.align,
        "equal_sized": chunks.equal,
        "order": chunks.order,
        "sign": chunks.sign,
        "items": [
            {
                "n": item.number,
                "offset": item.offset,
                "size": item.size,
                "method": item.method,
                "url": item.url,
                "headers": dict(item.headers),
                "expires_at": _iso(item.expires_at),
            }
            for item in chunks.items
        ],
        "receipt": _plain(chunks.receipt),
        "ok": list(chunks.ok),
        "incomplete": None if chunks.incomplete is None else {"status": chunks.incomplete, "header": "Range"},
        "content_range": chunks.content_range,
    }


def _request(data: Mapping[str, Any]) -> PlanRequest:
    return PlanRequest(
        method=_one_of(data["method"], "PUT", "POST"),
        url=_typed(data["url"], str),
        headers=_texts(data.get("headers") or {}),
        fields=None if data.get("fields") is None else _texts(data["fields"]),
        ok=tuple(_typed(status, int) for status in data["ok"]),
        expires_at=_required_time(data["expires_at"]),
    )


def chunk_from_dict(data: Mapping[str, Any]) -> PlanChunk:
    """One signed chunk, as a service answers it to ``links.sign``. Raises KeyError, TypeError or ValueError."""
    return PlanChunk(
        number=_typed(data["n"], int),
        offset=_typed(data["offset"], int),
        size=_typed(data["size"], int),
        method=_one_of(data.get("method", "PUT"), "PUT", "POST"),
        url=_typed(data["url"], str),
        headers=_texts(data.get("headers") or {}),
        expires_at=_required_time(data["expires_at"]),
    )


def _chunks(data: Mapping[str, Any]) -> PlanChunks:
    items = data.get("items") or []
    if len(items) > _MAX_CHUNKS:
        raise ValueError("too many chunks")
    incomplete = data.get("incomplete")
    return PlanChunks(
        chunk_size=_typed(data["part_size"], int),
        count=_typed(data["count"], int),
        min_chunk=_typed(data["min_part_size"], int),
        max_count=_optional(data.get("max_parts"), int),
        align=_typed(data.get("align", 1), int),
        equal=bool(data.get("equal_sized", False)),
        order=_one_of(data["order"], "any", "sequential"),
        sign=_one_of(data["sign"], "inline", "lazy"),
        items=[chunk_from_dict(item) for item in items],
        receipt=Receipt(**_known(Receipt, data["receipt"])),
        ok=tuple(_typed(status, int) for status in data["ok"]),
        incomplete=None if incomplete is None else _typed(incomplete["status"], int),
        content_range=bool(data.get("content_range", False)),
    )


def _typed(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r:.40} is not {kind.__name__}")
    return value


def _optional(value: object, kind: type[T]) -> T | None:
    return None if value is None else _typed(value, kind)


def _one_of(value: object, *choices: C) -> C:
    for choice in choices:
        if value == choice:
            return choice
    raise ValueError(f"{value!r:.40} is not one of {', '.join(choices)}")


def _texts(data: Mapping[str, Any]) -> dict[str, str]:
    return {_typed(name, str): _typed(value, str) for name, value in data.items()}


def _time(text: object) -> datetime | None:
    return None if text is None else _required_time(text)


def _required_time(text: object) -> datetime:
    time = datetime.fromisoformat(_typed(text, str))
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return time.astimezone(UTC)


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")
