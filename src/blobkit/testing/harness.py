"""What the kit must know of a store: how to open it, and what its server really checks."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType, TracebackType
from typing import Final, Protocol, Self

from blobkit.backend import Feature
from blobkit.blobs import BlobInfo
from blobkit.config import StoreConfig, parse
from blobkit.errors import NotFound
from blobkit.opening import open_store
from blobkit.plugins.manager import find_store_plugin
from blobkit.sealing import ENV, Keyring
from blobkit.serving import data_plane, listening, running
from blobkit.spec import Constraint, Route
from blobkit.store import Store
from blobkit.testing.clients import Client, available_clients
from blobkit.testing.clock import FakeClock
from blobkit.testing.corpus import KEYS

__all__ = ["ALL_CHECKS", "CHECKS", "OTHERS", "Harness", "Opener", "everything_but"]

CHECKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "signature": "a signature with one bit changed is refused",
        "expiry": "a URL that has expired is refused",
        "method": "a URL signed for one method is refused for another",
        "head": "a URL signed for GET is refused for HEAD, and the other way round",
        "key": "a signature made for one key, chunk or set of values is refused for another",
        "signed_headers": "a request without one of the headers or fields that were listed is refused",
        "unsigned_headers": "a provider's header that was not signed is refused",
        "overrides": "a download's response overrides are in the answer",
        "cors": "a browser at another origin may upload, and read the receipts",
        "suffix_range": "the last so many bytes can be asked for",
        "unsatisfiable_range": "a range past the end is answered 416",
        "uncovers": "deleting the newest version by its id makes the one before it the current one",
        "chunk_size": "chunks smaller or larger than planned are noticed",
        **{
            f"{route}.{constraint}": f"{constraint} is enforced on {route}"
            for route in Route
            for constraint in Constraint
        },
    }
)
"""Everything that a server may fail to check though the store declares it, and what it means."""

ALL_CHECKS: Final = frozenset(CHECKS)

OTHERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "missing_bucket": "a store whose bucket does not exist",
        "denied": "a store whose credentials may not do anything",
        "unreachable": "a store whose server does not answer",
        "foreign_keys": "a store on the same place, which signs with keys that the server does not know",
    }
)
"""Other stores that a harness may name, each to provoke an error that the store under test cannot show."""


def everything_but(*names: str) -> frozenset[str]:
    """Every check but these. Raises ValueError for one that does not exist."""
    if unknown := sorted(set(names) - ALL_CHECKS):
        raise ValueError(f"no such check: {', '.join(unknown)}; there are {', '.join(sorted(ALL_CHECKS))}")
    return ALL_CHECKS - set(names)


class Opener(Protocol):
    """Opens the store under test for harnesses that have no URL."""

    def __call__(
        self, prefix: str, *, clock: Callable[[], datetime] | None, endpoint: str | None, sealing: Keyring
    ) -> Store:
        """The store on exactly this prefix of the same bucket; ``endpoint`` is where the kit serves its data plane."""
        ...


@dataclass(eq=False)
class Harness:
    """One store under test. Derive and override, or fill the fields.

    A context manager: entering serves the data plane of an embedded store, leaving deletes what the tests left behind.

    Attributes:
        store_url: The store; each test gets its own prefix below this one's.
        opener: Instead of a URL, for stores that need more than one.
        enforces: What the *server* really checks, of :data:`CHECKS`. A test of anything else ends as "not checkable on
            this server", and is counted.
        reasons: By name of a check: why the server does not check it.
        others: URLs by name, of :data:`OTHERS`.
        refuses: Names of corpus keys that this provider may refuse with InvalidKey.
        clients: HTTP stacks; None for all that are installed.
        origin: The origin that CORS is configured for.
        storage_class: One that the provider has.
        name: As it stands in reports.
    """

    store_url: str | None = None
    opener: Opener | None = None
    enforces: frozenset[str] = ALL_CHECKS
    reasons: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    refuses: frozenset[str] = frozenset(key.name for key in KEYS if key.fragile)
    clients: Sequence[Client] | None = None
    origin: str = "https://app.example"
    storage_class: str = "STANDARD"
    name: str = ""

    def __post_init__(self) -> None:
        if (self.store_url is None) == (self.opener is None):
            raise ValueError("a harness has a store_url or an opener")
        if unknown := sorted((self.enforces | set(self.reasons)) - ALL_CHECKS):
            raise ValueError(f"no such check: {', '.join(unknown)}")
        if unknown := sorted(set(self.others) - set(OTHERS)):
            raise ValueError(f"no such store: {', '.join(unknown)}")
        if unknown := sorted(self.refuses - {key.name for key in KEYS}):
            raise ValueError(f"no such key in the corpus: {', '.join(unknown)}")
        self.name = self.name or (self.store_url or "store").partition("?")[0]
        self.missing: Mapping[str, str] = {}
        if self.clients is None:
            self.clients, self.missing = available_clients()
        self.sealing_text = os.environ.get(ENV) or _random_keys()
        self.sealing = Keyring.from_text(self.sealing_text)
        self._run = f"blobkit-conformance/{uuid.uuid4().hex[:12]}/"
        self._tests = 0
        self._serving = ExitStack()
        self._endpoint: str | None = None
        self._served: Store | None = None
        self._config: StoreConfig | None = None if self.store_url is None else _config(self.store_url)

    # --- opening ---

    def new_prefix(self) -> str:
        """A prefix of the bucket that no other test has."""
        self._tests += 1
        base = self._config.prefix if self._config else ""
        return f"{base}{self._run}{self._tests}/"

    def open(self, prefix: str, *, clock: Callable[[], datetime] | None = None, other: str | None = None) -> Store:
        """The store, rooted at this prefix of the same bucket.

        Args:
            prefix: From :meth:`new_prefix`.
            clock: The time; the real one when None.
            other: Instead, the store of this name in ``others``.
        """
        endpoint = self._endpoint
        if other is not None:
            return open_store(_with(_config(self.others[other]), prefix, endpoint), clock=clock, sealing=self.sealing)
        if self.opener is not None:
            return self.opener(prefix, clock=clock, endpoint=endpoint, sealing=self.sealing)
        return open_store(self.url(prefix), clock=clock, sealing=self.sealing)

    def url(self, prefix: str) -> str:
        """The store's URL at this prefix, for another process. Raises LookupError for a harness without a URL."""
        if self._config is None:
            raise LookupError("the harness has no store_url")
        return _with(self._config, prefix, self._endpoint)

    # --- serving ---

    def start(self) -> None:
        """Serve the data plane if the store is embedded and its URL names no ``public_endpoint`` of its own. Idempotent."""
        if self._served is not None:
            return
        self._served = self.open(self.new_prefix())
        served_elsewhere = self._config is not None and "public_endpoint" in self._config.options
        if not self._served.capabilities.has(Feature.DATA_PLANE) or served_elsewhere:
            return
        self._served.close()
        sock = self._serving.enter_context(listening("127.0.0.1", 0))
        self._endpoint = f"http://127.0.0.1:{sock.getsockname()[1]}"
        self._served = self.open(self.new_prefix())
        self._serving.enter_context(running(data_plane(self._served), sock))

    def stop(self) -> None:
        """Delete what the tests left, stop serving, close. Idempotent."""
        if self._served is None:
            return
        try:
            self.clean()
        finally:
            self._served.close()
            self._served = None
            for client in self.clients or ():
                client.close()
            self._serving.close()
            self._endpoint = None

    def clean(self) -> None:
        """Delete every object and session below this run's prefix; versions hidden by markers remain."""
        base = self._config.prefix if self._config else ""
        with self.open(base + self._run, clock=FakeClock.ago(timedelta(days=-1))) as store:
            if store.capabilities.has(Feature.LIST_UPLOADS):
                with suppress(NotFound):  # rclone has no list of a bucket that never had an upload
                    store.sweep_uploads(older_than=timedelta(hours=1))
            batch: list[BlobInfo] = []
            for blob in list(store.list()):
                batch.append(blob)
                if len(batch) == 500:
                    store.delete_many([info.key for info in batch])
                    batch.clear()
            if batch:
                store.delete_many([info.key for info in batch])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- what tests ask ---

    def checks(self, name: str) -> bool:
        """Whether the server really checks this. Raises KeyError for a check that does not exist."""
        if name not in CHECKS:
            raise KeyError(name)
        return name in self.enforces

    def why_not(self, names: Collection[str]) -> str:
        """The sentence for a report: what the server does not check, and why if that is known."""
        parts = [f"{name} ({self.reasons.get(name, CHECKS[name])})" for name in names]
        return "not checkable on this server: " + ", ".join(parts)


def _config(url: str) -> StoreConfig:
    plugin = find_store_plugin(url.partition("://")[0])
    return parse(
        url,
        scheme=plugin.scheme,
        provider=plugin.provider,
        location=plugin.location,
        options=plugin.options,
        env=os.environ,
    )


def _with(config: StoreConfig, prefix: str, endpoint: str | None) -> str:
    options = dict(config.options)
    if endpoint is not None:
        options["public_endpoint"] = endpoint
    return replace(config, prefix=prefix, options=options).to_url()


def _random_keys() -> str:
    import base64

    return "kit:" + base64.b64encode(os.urandom(32)).decode("ascii")
