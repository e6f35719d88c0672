"""What of a delivery is one store's: :func:`keep_for`, which ``store.parse_events`` calls, and :class:`StoreEvent`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobkit.events.controls import Control, NotAnEvent, RecordError
from blobkit.events.model import BlobEvent, EventKind
from blobkit.events.parse import Parsed, ParsedEvents

if TYPE_CHECKING:
    from blobkit.aio import AsyncStore
    from blobkit.store import Store

__all__ = ["Kept", "StoreEvent", "StoreEvents", "keep_for", "store_events"]

_PREFIXES = frozenset({EventKind.PREFIX_RENAMED, EventKind.PREFIX_DELETED})


@dataclass(frozen=True, slots=True)
class Kept:
    """An event of a store, and the key that it concerns there.

    Args:
        key: Relative to the store's prefix. A rename that left the store has the old key; a ``PREFIX_…`` event whose
            directory holds the whole store has ``""``.
        event: With its full key.
        previous: RENAMED and PREFIX_RENAMED: the old key, relative, when that was in the store too.
    """

    key: str
    event: BlobEvent
    previous: str | None = None


@dataclass(frozen=True, slots=True)
class StoreEvent:
    """An event of one store. ``key`` and ``previous`` are relative to its prefix: see :class:`Kept`."""

    store: Store | AsyncStore
    key: str
    event: BlobEvent
    previous: str | None = None


class StoreEvents(Parsed[StoreEvent]):
    """The events of one store; beside them what the delivery held else, and in ``elsewhere`` the events of other stores."""

    __slots__ = ("elsewhere",)

    def __init__(
        self,
        items: Iterable[StoreEvent] = (),
        *,
        controls: Iterable[Control] = (),
        errors: Iterable[RecordError] = (),
        foreign: Iterable[NotAnEvent] = (),
        elsewhere: Iterable[BlobEvent] = (),
    ) -> None:
        super().__init__(items, controls=controls, errors=errors, foreign=foreign)
        self.elsewhere = tuple(elsewhere)


def keep_for(
    parsed: Iterable[BlobEvent], provider: str, bucket: str, prefix: str, *, account: str | None = None
) -> list[Kept]:
    """The events that concern the store of this provider, bucket and prefix, in order. Pure.

    Args:
        parsed: What ``parse_events`` gave.
        provider: The store's: ``s3 | gcs | azure | local | memory``. ``s3`` takes the events of every S3-compatible store.
        bucket: Bucket or container, exact.
        prefix: Empty, or ending in ``/``.
        account: The storage account, where container names are unique only within it (Azure). An event that names
            another account is not kept.
    """
    kept: list[Kept] = []
    for event in parsed:
        if event.bucket != bucket or event.family != provider:
            continue
        if account is not None and event.account is not None and event.account != account.lower():
            continue
        found = _relative(event, prefix)
        if found is not None:
            kept.append(found)
    return kept


def store_events(
    store: Store | AsyncStore,
    parsed: ParsedEvents,
    *,
    provider: str,
    bucket: str,
    prefix: str,
    account: str | None = None,
) -> StoreEvents:
    """``parsed`` as ``store.parse_events`` returns it."""
    kept = keep_for(parsed, provider, bucket, prefix, account=account)
    ours = {id(item.event) for item in kept}
    return StoreEvents(
        [StoreEvent(store, item.key, item.event, item.previous) for item in kept],
        controls=parsed.controls,
        errors=parsed.errors,
        foreign=parsed.foreign,
        elsewhere=[event for event in parsed if id(event) not in ours],
    )


def _relative(event: BlobEvent, prefix: str) -> Kept | None:
    if event.kind in _PREFIXES:
        key = _directory(event.key, prefix)
        previous = None if event.previous is None else _directory(event.previous, prefix)
    else:
        key = _within(event.key, prefix)
        previous = None
        if event.kind is EventKind.RENAMED and event.previous is not None:
            previous = _within(event.previous, prefix)
        if key is None and event.alternate_key is not None:
            key = _within(event.alternate_key, prefix)
    if key is not None:
        return Kept(key, event, previous)
    return Kept(previous, event, previous) if previous is not None else None


def _within(key: str, prefix: str) -> str | None:
    """The key under the prefix; None when it is not there. The prefix itself is no object of the store."""
    return key[len(prefix) :] if key.startswith(prefix) and len(key) > len(prefix) else None


def _directory(path: str, prefix: str) -> str | None:
    """A directory under the prefix, or ``""`` when it holds the prefix."""
    directory = path.rstrip("/") + "/"
    if prefix.startswith(directory):
        return ""
    return path[len(prefix) :] if directory.startswith(prefix) else None
