"""Where the demo happens: a store that can be opened again, as another process would, or with a clock that is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

from blobkit.backend import Feature
from blobkit.opening import open_store
from blobkit.sealing import ENV, Keyring, SealingKey
from blobkit.serving import serve_in_thread
from blobkit.store import Store

__all__ = ["Place", "opened"]


class Place:
    """One store, open, and served when it is embedded.

    Attributes:
        store: The service's own.
        where: Its provider, its place, and where its data plane is served from this process.
    """

    def __init__(
        self, store: Store, again: Callable[[Callable[[], datetime] | None], Store], served: str | None
    ) -> None:
        self.store = store
        self.where = f"{store.provider} {'/'.join(store.config.location.values())}"
        if served is not None:
            self.where += f", served at {served}"
        self._again = again

    @contextmanager
    def afresh(self) -> Iterator[Store]:
        """The same store opened anew, as a service would after a restart."""
        with self._again(None) as store:
            yield store

    @contextmanager
    def in_the_past(self, ago: timedelta) -> Iterator[Store]:
        """The same store with a clock that is behind."""
        with self._again(lambda: datetime.now(UTC) - ago) as store:
            yield store


@contextmanager
def opened(settings: Mapping[str, str]) -> Iterator[Place]:
    """The store of these settings. An embedded one is served on a free port, unless its ``public_endpoint`` says where it is.

    Where nobody configured keys for session tokens, and the provider keeps none, the demo's own are used: it ends with this
    process, and so do its tokens.
    """
    with open_store(settings) as probe:
        embedded = probe.capabilities.has(Feature.DATA_PLANE)
        serve = embedded and "public_endpoint" not in settings
        ring = None if embedded or os.environ.get(ENV) else Keyring([SealingKey("demo", os.urandom(32))])
        with ExitStack() as closing:  # the probe stays open: what is in memory may live no longer than its last store
            given = dict(settings)

            def again(clock: Callable[[], datetime] | None) -> Store:
                return open_store(given, clock=clock, sealing=ring)

            def at(endpoint: str) -> Store:
                given["public_endpoint"] = endpoint
                return again(None)

            store = closing.enter_context(serve_in_thread(at) if serve else again(None))
            yield Place(store, again, given["public_endpoint"] if serve else None)
