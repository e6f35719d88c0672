"""From a delivery to events: :func:`parse_events`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Final, Generic, TypeVar, overload

from blobkit.errors import BlobkitError, ConfigError, PluginMissing
from blobkit.events import bundled
from blobkit.events.controls import Control, NotAnEvent, RecordError
from blobkit.events.dialect import Dialect, Document, Item
from blobkit.events.model import BlobEvent
from blobkit.events.shells import MAX_BYTES, NO_HEAD, Headers, decoded, is_native, unwrap, unwrap_value

__all__ = ["Parsed", "ParsedEvents", "parse_events"]

GROUP: Final = "blobkit.dialects"
T_co = TypeVar("T_co", covariant=True)


class Parsed(Sequence[T_co], Generic[T_co]):
    """An immutable sequence of what was found, and what came beside it.

    Attributes:
        controls: Handshakes, test messages, summaries.
        errors: One for each record that cannot be used; the good ones of its batch are here all the same.
        foreign: Whole messages that are not events of a store.
    """

    __slots__ = ("_items", "controls", "errors", "foreign")

    def __init__(
        self,
        items: Iterable[T_co] = (),
        *,
        controls: Iterable[Control] = (),
        errors: Iterable[RecordError] = (),
        foreign: Iterable[NotAnEvent] = (),
    ) -> None:
        self._items: Final = tuple(items)
        self.controls: Final = tuple(controls)
        self.errors: Final = tuple(errors)
        self.foreign: Final = tuple(foreign)

    @property
    def anything(self) -> bool:
        """Whether there are events, or anything beside them."""
        return bool(self._items or self.controls or self.errors or self.foreign)

    @overload
    def __getitem__(self, index: int) -> T_co: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T_co]: ...
    def __getitem__(self, index: int | slice) -> T_co | Sequence[T_co]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        beside = "".join(
            f", {len(found)} {name}"
            for name, found in (("controls", self.controls), ("errors", self.errors), ("foreign", self.foreign))
            if found
        )
        return f"<{type(self).__name__} of {len(self)}{beside}>"


class ParsedEvents(Parsed[BlobEvent]):
    """The events of a delivery, with ``controls``, ``errors`` and ``foreign`` beside them."""

    __slots__ = ()


def parse_events(
    body: object,
    headers: Headers | None = None,
    *,
    max_bytes: int = MAX_BYTES,
    raw_keys: Iterable[str] = (),
) -> ParsedEvents:
    """Read the storage events of a delivery, whatever provider and however wrapped. Pure: no I/O, no SDK.

    It proves nothing: check where the delivery came from first (the verifiers of each plugin), and read an object before
    acting on what is said of it.

    Args:
        body: Bytes, a text, decoded JSON (a Lambda event, boto3's reply), or a message object of a provider's SDK.
        headers: Of the HTTP request; needed for CloudEvents in binary mode and for unwrapped Pub/Sub pushes.
        max_bytes: The greatest length of the body, and of each text inside it.
        raw_keys: Providers (``minio``, ``aws`` …) whose keys are known to arrive unencoded here, against their rule:
            MinIO's ListenBucketNotification, some emulators.

    Returns:
        The events in order, with ``controls``, ``errors`` (one per unusable record) and ``foreign`` beside them.

    Raises:
        MalformedEvent: The body as a whole cannot be read.
    """
    if headers is None and (type(body) is str or type(body) is bytes):
        body = decoded(body, max_bytes)
        if type(body) is dict and is_native(body):  # most of what comes, by the shortest way
            return _sorted(_read(Document("json", NO_HEAD, body, None, frozenset(raw_keys))))
        return _sorted(_items(unwrap_value(body, max_bytes=max_bytes, raw_keys=raw_keys)))
    return _sorted(_items(unwrap(body, headers, max_bytes=max_bytes, raw_keys=raw_keys)))


def _items(found: Iterable[Document | Item]) -> Iterator[Item]:
    for item in found:
        if isinstance(item, Document):
            yield from _read(item)
        else:
            yield item


def _sorted(found: Iterable[Item]) -> ParsedEvents:
    """The events, and what is beside them."""
    if type(found) is list and len(found) == 1 and type(only := found[0]) is BlobEvent:
        return ParsedEvents((only,))
    events: list[BlobEvent] = []
    beside: list[Item] = []
    for item in found:
        if type(item) is BlobEvent:
            events.append(item)
        else:
            beside.append(item)
    if not beside:
        return ParsedEvents(events)
    return ParsedEvents(
        events,
        controls=[item for item in beside if isinstance(item, Control)],
        errors=[item for item in beside if isinstance(item, RecordError)],
        foreign=[item for item in beside if isinstance(item, NotAnEvent)],
    )


def _read(document: Document) -> Sequence[Item]:
    try:
        for parse in _bundled():
            if (found := parse(document)) is not None:
                return found
        for parse in _others():
            if (found := parse(document)) is not None:
                return found
    except BlobkitError as error:
        return [RecordError(error.message, raw=document.body, transport=document.transport, provider=error.provider)]
    return [NotAnEvent("no dialect knows it", document.body, document.transport)]


_Parse = Callable[[Document], Sequence[Item] | None]


@cache
def _bundled() -> tuple[_Parse, ...]:
    return tuple(_load(target) for target in bundled.DIALECTS.values())


@cache
def _others() -> tuple[_Parse, ...]:
    from importlib.metadata import entry_points

    known = set(bundled.DIALECTS.values())
    targets = sorted({(point.name, point.value) for point in entry_points(group=GROUP)})
    return tuple(_load(value) for _, value in targets if value not in known)


def _load(target: str) -> _Parse:
    module, _, attribute = target.partition(":")
    try:
        dialect = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise PluginMissing(f"the dialect {target} cannot be imported: {error}") from error
    if not isinstance(dialect, Dialect):
        raise ConfigError(f"{target} is not a Dialect")
    return dialect.parse
