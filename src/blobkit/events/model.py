"""The neutral event: :class:`BlobEvent`, which every provider's notifications become.

An event is a hint: it may come twice, late, out of order or never. Read the object before you believe it.

Parsing must keep up with queues, so an event is born with five fields (kind, provider, bucket, key, native type) and the
record it was read from; everything else is read from that record when it is first asked for. What the record does not
say, or says in a form that cannot be read, is None: the object itself decides, and ``raw`` has the provider's words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal, NoReturn, get_args

from blobkit.errors import MalformedEvent

__all__ = ["BlobEvent", "Deletion", "Details", "EventKind", "OrderToken", "Reader", "TransportInfo"]

Deletion = Literal["permanent", "marker", "version", "archived", "unknown"]
"""What a deletion took: the object for good, only its visibility (a delete marker), one named version, the live version
(its bytes stay as a noncurrent one), or not said."""

_DELETIONS: Final = frozenset(get_args(Deletion))
_FAMILY: Final = {"aws": "s3", "minio": "s3", "ceph": "s3", "r2": "s3"}
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


class EventKind(StrEnum):
    """What happened to an object.

    ``EXPIRED`` is a deletion by a rule. ``SUPERSEDED``: an older version stopped being current because of an overwrite.
    ``UPLOAD_STARTED``: an empty placeholder exists, its bytes do not. ``PREFIX_…``: one event for many keys. ``OTHER``: a
    known envelope with a type that is not modelled; never an error.
    """

    CREATED = "created"
    DELETED = "deleted"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    RESTORED = "restored"
    RESTORE_STARTED = "restore_started"
    RESTORE_EXPIRED = "restore_expired"
    METADATA_CHANGED = "metadata_changed"
    TIER_CHANGED = "tier_changed"
    RENAMED = "renamed"
    PREFIX_RENAMED = "prefix_renamed"
    PREFIX_DELETED = "prefix_deleted"
    UPLOAD_STARTED = "upload_started"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class OrderToken:
    """The provider's own order of the events of one key. Compare events, with :func:`blobkit.events.order.compare`.

    Args:
        shape: Tokens of two shapes (``s3-16``, ``azure-48`` …) say nothing of each other.
        value: Normalised so that, within one shape, the order of texts is the order of events.
    """

    shape: str
    value: str

    def __lt__(self, other: OrderToken) -> bool:
        """Whether this token is the earlier one. Raises TypeError for another shape."""
        if not isinstance(other, OrderToken) or other.shape != self.shape:
            return NotImplemented
        return self.value < other.value


@dataclass(frozen=True, slots=True)
class TransportInfo:
    """One shell that an event came in; ``outer`` is the next one around it.

    Args:
        shell: ``sqs | sns | eventbridge | pubsub | cloudevents | eventgrid | r2``.
        message_id: The id of the message in that shell: what ``batchItemFailures`` and acknowledgements name.
        source: The queue's or topic's ARN, the subscription, the event's ``source``.
        attempt: Which delivery this is, from 1, where the shell says.
        outer: The shell around this one; None for the outermost.
    """

    shell: str
    message_id: str | None = None
    source: str | None = None
    attempt: int | None = None
    outer: TransportInfo | None = None

    @property
    def shells(self) -> tuple[str, ...]:
        """The names of all shells, from the outermost to this one."""
        return (*(self.outer.shells if self.outer else ()), self.shell)

    def find(self, shell: str) -> TransportInfo | None:
        """The innermost shell of that name, or None."""
        at: TransportInfo | None = self
        while at is not None and at.shell != shell:
            at = at.outer
        return at


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What is read from a record when it is first asked for. The fields are those of :class:`BlobEvent`.

    ``change`` names the change within its object and version: two deliveries of one change have the same, two changes
    never do. None: the event's time, id or order stands for it.
    """

    operation: str | None = None
    version: str | None = None
    etag: str | None = None
    size: int | None = None
    checksums: tuple[tuple[str, str], ...] = ()
    content_type: str | None = None
    time: datetime | None = None
    deletion: Deletion | None = None
    superseded_by: str | None = None
    previous: str | None = None
    tier: str | None = None
    previous_tier: str | None = None
    expires_at: datetime | None = None
    order: OrderToken | None = None
    event_id: str | None = None
    account: str | None = None
    alternate_key: str | None = None
    change: str | None = None


class _Cells:
    """The storage of BlobEvent, apart so that its descriptors can be had below and the class itself be immutable."""

    __slots__ = ("_details", "_raw", "bucket", "key", "kind", "native_type", "provider", "transport")
    kind: EventKind
    provider: str
    bucket: str
    key: str
    native_type: str
    transport: TransportInfo | None
    _raw: Mapping[str, object]
    _details: Details | Reader


class BlobEvent(_Cells):
    """One change of one object (or of one prefix), as its provider told it. Immutable; made by parsers and :meth:`make`.

    Two events are equal when they say the same, whatever way they came.

    Attributes:
        kind: What happened.
        provider: Whose event it is: ``aws | minio | ceph | r2 | s3`` (another S3-compatible store) ``| gcs | azure |
            local | memory``. :attr:`family` is the provider's name in the rest of the API.
        bucket: Bucket or container.
        key: The full key, decoded once by the provider's rule. For a rename the new one; for ``PREFIX_…`` a directory.
        native_type: The provider's own name: ``ObjectCreated:Put``, ``OBJECT_FINALIZE``, ``Microsoft.Storage.BlobCreated``.
        transport: The shells it came in, innermost first; None when the bare record was given.
    """

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("events are made by parse_events() and BlobEvent.make()")

    @staticmethod
    def make(
        *,
        kind: EventKind,
        provider: str,
        bucket: str,
        key: str,
        native_type: str,
        time: datetime | None = None,
        size: int | None = None,
        etag: str | None = None,
        version: str | None = None,
        content_type: str | None = None,
        checksums: Mapping[str, str] | None = None,
        deletion: Deletion | None = None,
        order: OrderToken | str | None = None,
        event_id: str | None = None,
        operation: str | None = None,
        superseded_by: str | None = None,
        previous: str | None = None,
        tier: str | None = None,
        previous_tier: str | None = None,
        expires_at: datetime | None = None,
        account: str | None = None,
        alternate_key: str | None = None,
        change: str | None = None,
        raw: Mapping[str, object] | None = None,
        transport: TransportInfo | None = None,
    ) -> BlobEvent:
        """An event from its parts. An ``order`` given as text becomes a token comparable to others of the provider.

        Raises:
            MalformedEvent: A time without a zone, or an unknown kind of deletion.
        """
        if (time is not None and time.tzinfo is None) or (expires_at is not None and expires_at.tzinfo is None):
            raise MalformedEvent("an event's times need a zone", provider=provider)
        if deletion is not None and deletion not in _DELETIONS:
            raise MalformedEvent(f"unknown deletion {deletion!r}", provider=provider)
        if isinstance(order, str):
            order = OrderToken(f"{provider}-{len(order)}", order)
        details = Details(
            operation=operation,
            version=version,
            etag=etag,
            size=size,
            checksums=tuple(sorted((checksums or {}).items())),
            content_type=content_type,
            time=None if time is None else time.astimezone(UTC),
            deletion=deletion,
            superseded_by=superseded_by,
            previous=previous,
            tier=tier,
            previous_tier=previous_tier,
            expires_at=None if expires_at is None else expires_at.astimezone(UTC),
            order=order,
            event_id=event_id,
            account=account,
            alternate_key=alternate_key,
            change=change,
        )
        return BlobEvent.lazily(
            EventKind(kind), provider, bucket, key, native_type, _NOTHING if raw is None else raw, details, transport
        )

    @staticmethod
    def lazily(
        kind: EventKind,
        provider: str,
        bucket: str,
        key: str,
        native_type: str,
        raw: Mapping[str, object],
        details: Details | Reader,
        transport: TransportInfo | None = None,
    ) -> BlobEvent:
        """For dialects: an event whose other fields ``details`` reads from ``event.raw`` on first access.

        A reader never raises and gives the same for the same event; what it cannot read is None.
        """
        event = _new(BlobEvent)
        _set_kind(event, kind)
        _set_provider(event, provider)
        _set_bucket(event, bucket)
        _set_key(event, key)
        _set_native_type(event, native_type)
        _set_raw(event, raw)
        _set_details(event, details)
        _set_transport(event, transport)
        return event

    @property
    def details(self) -> Details:
        """All that is read on access, at once."""
        details = self._details
        if not isinstance(details, Details):
            details = details(self)
            _set_details(self, details)
        return details

    @property
    def raw(self) -> Mapping[str, object]:
        """The record as the provider wrote it, decoded from JSON; empty for events that were made from parts."""
        return MappingProxyType(self._raw) if isinstance(self._raw, dict) else self._raw

    @property
    def family(self) -> str:
        """The provider's name everywhere else in the API: ``s3 | gcs | azure | local | memory``."""
        return _FAMILY.get(self.provider, self.provider)

    @property
    def operation(self) -> str | None:
        """The call or reason behind it (``PutBlockList``, ``Lifecycle Expiration``), where it is said."""
        return self.details.operation

    @property
    def version(self) -> str | None:
        """S3 version id, GCS generation; None where there are none (never sent on Azure)."""
        return self.details.version

    @property
    def etag(self) -> str | None:
        """Without quotes; an identity, not a digest. None when it was not said."""
        return self.details.etag

    @property
    def size(self) -> int | None:
        """Bytes; None when it was not said (GCS without payload; MinIO for empty objects; deletions)."""
        return self.details.size

    @property
    def checksums(self) -> Mapping[str, str]:
        """Base64 digests by algorithm (``md5``, ``crc32c``), where the provider sends them."""
        return MappingProxyType(dict(self.details.checksums))

    @property
    def content_type(self) -> str | None:
        """The media type as stored; None when it was not said."""
        return self.details.content_type

    @property
    def time(self) -> datetime | None:
        """When it happened, aware UTC. For display: clocks do not order events."""
        return self.details.time

    @property
    def deletion(self) -> Deletion | None:
        """What a deletion took; None for kinds that delete nothing."""
        return self.details.deletion

    @property
    def superseded_by(self) -> str | None:
        """The version that took the place of this one (GCS ``overwrittenByGeneration``)."""
        return self.details.superseded_by

    @property
    def previous(self) -> str | None:
        """CREATED: the version that was overwritten (GCS). RENAMED, PREFIX_RENAMED: the old key."""
        return self.details.previous

    @property
    def tier(self) -> str | None:
        """Storage class or access tier, where the event says it."""
        return self.details.tier

    @property
    def previous_tier(self) -> str | None:
        """The tier before TIER_CHANGED, where the event says it."""
        return self.details.previous_tier

    @property
    def expires_at(self) -> datetime | None:
        """When a restored copy goes away again, aware UTC."""
        return self.details.expires_at

    @property
    def order(self) -> OrderToken | None:
        """What orders it among the events of its key; None when nothing does."""
        return self.details.order

    @property
    def event_id(self) -> str | None:
        """The provider's id of the event; None for native S3 records, which have none."""
        return self.details.event_id

    @property
    def account(self) -> str | None:
        """The storage account (Azure), where container names are unique only within it; None elsewhere."""
        return self.details.account

    @property
    def alternate_key(self) -> str | None:
        """Another reading of the key, only when the provider's own is damaged: then look at both."""
        return self.details.alternate_key

    @property
    def dedupe_key(self) -> str:
        """The same for every delivery of the same change, by whatever way: remember it to handle each once.

        32 hexadecimal digits over provider, bucket, key, version and change; never over a transport's message id.
        """
        told = self.details
        parts = (self.provider, self.bucket, self.key, told.version or "", self.change)
        text = "".join(f"{len(part)}:{part}" for part in parts)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    @property
    def change(self) -> str:
        """What tells this change from others of the same object and version."""
        told = self.details
        if told.change is not None:
            return told.change
        mark = (told.order and told.order.value) or told.event_id or (told.time and told.time.isoformat()) or ""
        return f"{self.native_type}\n{mark}"

    def to_dict(self) -> dict[str, object]:
        """As JSON values, without what is not known, ``raw`` and ``transport``. :meth:`from_dict` is its inverse."""
        out: dict[str, object] = {
            "kind": self.kind.value,
            "provider": self.provider,
            "bucket": self.bucket,
            "key": self.key,
            "native_type": self.native_type,
        }
        for name in _DETAILS:
            value = getattr(self.details, name)
            if isinstance(value, datetime):
                out[name] = value.isoformat()
            elif isinstance(value, OrderToken):
                out[name] = {"shape": value.shape, "value": value.value}
            elif isinstance(value, tuple):
                if value:
                    out[name] = dict(value)
            elif value is not None:
                out[name] = value
        return out

    @staticmethod
    def from_dict(data: Mapping[str, object]) -> BlobEvent:
        """From what :meth:`to_dict` gave. Unknown names are ignored: a later version may say more.

        Raises:
            MalformedEvent: A field is missing or has another type.
        """
        if not isinstance(data, Mapping):
            raise MalformedEvent("an event is a JSON object")
        try:
            kind = EventKind(_text(data, "kind"))
        except ValueError as error:
            raise MalformedEvent(f"unknown kind of event {data.get('kind')!r}") from error
        texts = {name: _text_or_none(data, name) for name in _TEXTS}
        deletion = _text_or_none(data, "deletion")
        if deletion is not None and deletion not in _DELETIONS:
            raise MalformedEvent(f"unknown deletion {deletion!r}")
        details = Details(
            **texts,
            size=_size(data),
            checksums=_pairs(data),
            time=_time(data, "time"),
            expires_at=_time(data, "expires_at"),
            deletion=deletion,  # type: ignore[arg-type]  # one of _DELETIONS, as checked
            order=_order(data),
        )
        return BlobEvent.lazily(
            kind,
            _text(data, "provider"),
            _text(data, "bucket"),
            _text(data, "key"),
            _text(data, "native_type"),
            _NOTHING,
            details,
        )

    def _identity(self) -> tuple[object, ...]:
        return (self.kind, self.provider, self.bucket, self.key, self.native_type, self.details)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BlobEvent):
            return NotImplemented
        return self is other or self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash((self.kind, self.provider, self.bucket, self.key, self.native_type))

    def __repr__(self) -> str:
        known = "".join(
            f" {name}={value!r}"
            for name in ("version", "size", "deletion")
            if (value := getattr(self.details, name)) is not None
        )
        return f"<BlobEvent {self.kind.value} {self.provider}:{self.bucket}/{self.key!r} {self.native_type}{known}>"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("BlobEvent is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("BlobEvent is immutable")

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        # The reader stays behind: another process may not have the dialect's code.
        raw = dict(self._raw)
        return BlobEvent.lazily, (*self._identity()[:5], raw, self.details, self.transport)


Reader = Callable[[BlobEvent], Details]
"""How a dialect reads the rest of an event from ``event.raw``."""

# object.__setattr__ would look the name up each time; the slots' own descriptors do not (a fifth of the time per event).
_new: Final = object.__new__
_set_kind: Final = _Cells.__dict__["kind"].__set__
_set_provider: Final = _Cells.__dict__["provider"].__set__
_set_bucket: Final = _Cells.__dict__["bucket"].__set__
_set_key: Final = _Cells.__dict__["key"].__set__
_set_native_type: Final = _Cells.__dict__["native_type"].__set__
_set_transport: Final = _Cells.__dict__["transport"].__set__
_set_raw: Final = _Cells.__dict__["_raw"].__set__
_set_details: Final = _Cells.__dict__["_details"].__set__
_DETAILS: Final = tuple(field.name for field in fields(Details))
_TEXTS: Final = tuple(
    name for name in _DETAILS if name not in {"size", "checksums", "time", "expires_at", "deletion", "order"}
)


def _text(data: Mapping[str, object], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str):
        raise MalformedEvent(f"{name} of an event must be a text")
    return value


def _text_or_none(data: Mapping[str, object], name: str) -> str | None:
    return None if data.get(name) is None else _text(data, name)


def _size(data: Mapping[str, object]) -> int | None:
    value = data.get("size")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise MalformedEvent("size of an event must be a number of bytes")
    return value


def _pairs(data: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    value = data.get("checksums", {})
    if not isinstance(value, Mapping) or not all(isinstance(x, str) for pair in value.items() for x in pair):
        raise MalformedEvent("checksums of an event must be an object of texts")
    return tuple(sorted(value.items()))


def _time(data: Mapping[str, object], name: str) -> datetime | None:
    text = _text_or_none(data, name)
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(text)
        if value.tzinfo is None:
            raise ValueError("no zone")
        return value.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MalformedEvent(f"{name} of an event must be a time with a zone") from error


def _order(data: Mapping[str, object]) -> OrderToken | None:
    value = data.get("order")
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise MalformedEvent("order of an event must be {shape, value}")
    return OrderToken(_text(value, "shape"), _text(value, "value"))
