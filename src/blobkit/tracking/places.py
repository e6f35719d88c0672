"""The stores by their names, and whose object an event tells of."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from blobkit.errors import ConfigError, InvalidKey
from blobkit.events.keeping import keep_for
from blobkit.events.model import BlobEvent, EventKind
from blobkit.keys import RESERVED, check_key
from blobkit.store import Store

__all__ = ["PREFIXES", "Named", "Places", "Stores"]

PREFIXES: Final = frozenset({EventKind.PREFIX_RENAMED, EventKind.PREFIX_DELETED})
"""The kinds that concern every key below one."""


class Stores(Protocol):
    """Stores by name: a :class:`~blobkit.kit.Kit` is one."""

    @property
    def names(self) -> tuple[str, ...]:
        """The configured names."""
        ...

    def store(self, name: str) -> Store:
        """The store of this name. Raises ConfigError."""
        ...


@dataclass(frozen=True, slots=True)
class Named:
    """An event of one store: the store's name, and the key, relative to its prefix, that the event concerns."""

    store: str
    key: str
    event: BlobEvent


class Places:
    """Stores by name, whether they came as a kit or as a mapping. Thread-safe.

    Args:
        stores: Borrowed: closing is their owner's business.
    """

    def __init__(self, stores: Stores | Mapping[str, Store]) -> None:
        self._stores = stores
        self._lock = threading.Lock()
        self._at: dict[tuple[str, str], list[str]] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        names = self._stores.keys() if isinstance(self._stores, Mapping) else self._stores.names
        return tuple(sorted(names))

    def name(self, name: str) -> str:
        """The name as the records keep it. Raises ConfigError when no store has it."""
        for candidate in (name, name.lower().replace("_", "-")):
            if candidate in self.names:
                return candidate
        raise ConfigError(f"no store is named {name!r}", hint=f"there are: {', '.join(self.names) or 'none'}")

    def store(self, name: str) -> Store:
        """The store of this name. Raises ConfigError."""
        if not isinstance(self._stores, Mapping):
            return self._stores.store(name)
        found = self._stores.get(name)
        if found is None:
            raise ConfigError(f"no store is named {name!r}", hint=f"there are: {', '.join(self.names) or 'none'}")
        return found

    def locate(self, events: Iterable[BlobEvent]) -> tuple[list[Named], int]:
        """Whose events they are.

        Returns:
            One entry for each store and key that an event concerns (a rename concerns two), without blobkit's own private
            keys; and how many events concern no key that a store here could have.
        """
        at, found, foreign = self._by_bucket(), list[Named](), 0
        for event in events:
            mine = [item for name in at.get((event.family, event.bucket), ()) for item in self._named(name, event)]
            foreign += not mine
            found += [item for item in mine if not item.key.startswith(RESERVED)]
        return found, foreign

    def _named(self, name: str, event: BlobEvent) -> Iterator[Named]:
        calls = self.store(name)._calls
        for kept in keep_for([event], calls.provider, calls.bucket, calls.prefix, account=calls.account):
            for key in dict.fromkeys((kept.key, kept.key if kept.previous is None else kept.previous)):
                if event.kind in PREFIXES or _possible(key):
                    yield Named(name, key, event)

    def _by_bucket(self) -> dict[tuple[str, str], list[str]]:
        with self._lock:
            if self._at is None:
                at: dict[tuple[str, str], list[str]] = {}
                for name in self.names:
                    calls = self.store(name)._calls
                    at.setdefault((calls.provider, calls.bucket), []).append(name)
                self._at = at
            return self._at


def _possible(key: str) -> bool:
    """Whether a key of ours could be this one: what is no key is not worth a question to the database."""
    try:
        check_key(key)
    except InvalidKey:
        return key.startswith(RESERVED)
    return True
