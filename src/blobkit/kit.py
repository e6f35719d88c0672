"""Kit: the named stores and CDNs of a service, from one file, dict or environment."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from blobkit.config import load_settings
from blobkit.errors import ClosedError, ConfigError
from blobkit.opening import open_store
from blobkit.redaction import Secret
from blobkit.store import Store

if TYPE_CHECKING:
    from blobkit.cdn.base import Cdn
    from blobkit.plugins.spec import Observer
    from blobkit.sealing import Keyring

__all__ = ["Kit", "load"]


Entry = str | Mapping[str, str | Secret]


class Kit:
    """Opens stores and CDNs by name, each once, when they are first asked for. Thread-safe, a context manager."""

    def __init__(
        self,
        stores: Mapping[str, Entry],
        opener: Callable[[Entry], Store],
        cdns: Mapping[str, Entry] | None = None,
        cdn_opener: Callable[[Entry, Callable[[str], str]], Cdn] | None = None,
    ) -> None:
        self._settings = dict(stores)
        self._opener = opener
        self._open: dict[str, Store] = {}
        self._cdn_settings = dict(cdns or {})
        self._cdn_opener = cdn_opener
        self._open_cdns: dict[str, Cdn] = {}
        self._lock = threading.RLock()  # a CDN opens the store that it names
        self._closed = False

    def __repr__(self) -> str:
        return f"Kit({', '.join(self.names)})"

    @property
    def names(self) -> tuple[str, ...]:
        """The configured names of stores, sorted."""
        return tuple(sorted(self._settings))

    @property
    def cdn_names(self) -> tuple[str, ...]:
        """The configured names of CDNs, sorted."""
        return tuple(sorted(self._cdn_settings))

    def store(self, name: str) -> Store:
        """The store of this name; the same object for every call.

        Raises:
            ConfigError: No such name, or settings that cannot work.
            ClosedError.
        """
        wanted = str(name).lower().replace("_", "-")
        with self._lock:
            if self._closed:
                raise ClosedError("the kit is closed")
            if wanted not in self._open:
                if wanted not in self._settings:
                    raise ConfigError(
                        f"no store is named {name!r}", hint=f"configured: {', '.join(self.names) or 'none'}"
                    )
                self._open[wanted] = self._opener(self._settings[wanted])
            return self._open[wanted]

    def cdn(self, name: str) -> Cdn:
        """The CDN of this name; the same object for every call. It knows the prefix of the store that its settings name.

        Raises:
            ConfigError: No such name, or settings that cannot work.
            ClosedError.
        """
        wanted = name.lower().replace("_", "-")
        with self._lock:
            if self._closed:
                raise ClosedError("the kit is closed")
            if wanted not in self._open_cdns:
                if wanted not in self._cdn_settings or self._cdn_opener is None:
                    raise ConfigError(
                        f"no CDN is named {name!r}", hint=f"configured: {', '.join(self.cdn_names) or 'none'}"
                    )
                self._open_cdns[wanted] = self._cdn_opener(
                    self._cdn_settings[wanted], lambda store: self.store(store).prefix
                )
            return self._open_cdns[wanted]

    def close(self) -> None:
        """Close every store and CDN that was opened. Idempotent."""
        with self._lock:
            self._closed = True
            stores, self._open = list(self._open.values()), {}
            cdns, self._open_cdns = list(self._open_cdns.values()), {}
        for cdn in cdns:
            cdn.close()
        for store in stores:
            store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load(
    source: str | os.PathLike[str] | Mapping[str, object] | None = None,
    *,
    clock: Callable[[], datetime] | None = None,
    timeout: timedelta = timedelta(seconds=30),
    retries: int = 3,
    sealing: Keyring | None = None,
    observers: Sequence[Observer] = (),
    env: Mapping[str, str] | None = None,
) -> Kit:
    """A kit from ``blobkit.toml``, a dict ``{"stores": {"media": "s3://…"}, "cdns": {…}}``, or the environment alone.

    The environment (``BLOBKIT_STORE_MEDIA=s3://…``, ``BLOBKIT_CDN_MEDIA=cloudfront://…``) rules over a file; a dict rules over
    both. The other arguments are those of :func:`~blobkit.opening.open_store`.

    Raises:
        ConfigError: An unreadable file, or settings of another form. A store's own settings are checked when it is opened.
    """
    environment = os.environ if env is None else env
    settings = load_settings(source, environment)

    def opener(entry: Entry) -> Store:
        return open_store(
            entry, clock=clock, timeout=timeout, retries=retries, sealing=sealing, observers=observers, env=environment
        )

    def cdn_opener(entry: Entry, prefix_of: Callable[[str], str]) -> Cdn:
        from blobkit.cdn.opening import open_cdn

        return open_cdn(entry, prefix_of=prefix_of, clock=clock, env=environment)

    return Kit(settings["stores"], opener, settings["cdns"], cdn_opener)
