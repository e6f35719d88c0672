"""The Backend of ``local:///dir`` and ``memory://name``: an engine, keys, and what the core asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from blobkit.backend import (
    ASGIApp,
    Backend,
    Classified,
    HeldChunk,
    Received,
    SessionOrder,
    SessionState,
    Signer,
)
from blobkit.blobs import AbortResult, BlobInfo, DeleteResult, PendingUpload, Pin, Prefix
from blobkit.config import OpenContext
from blobkit.errors import BlobkitError, InvalidArgument, SourceChanged
from blobkit.spec import UploadSpec
from blobkit_local import sessions
from blobkit_local.capabilities import capabilities
from blobkit_local.config import LocalConfig
from blobkit_local.credentials import Keys, load_keys
from blobkit_local.durable import FileEngine, prepare_directory
from blobkit_local.engine import Attributes, Engine, ExpiryRule, Wanted
from blobkit_local.errors import classify
from blobkit_local.indexed import Manners
from blobkit_local.memory import MemoryEngine
from blobkit_local.notify import Webhook

if TYPE_CHECKING:
    from blobkit.cdn.base import Cdn
    from blobkit.events.model import BlobEvent
    from blobkit_local.signing import LocalSigner

__all__ = ["LocalBackend", "open_directory", "open_memory"]

_BLOCK: Final = 1 << 20
ABANDONED: Final = timedelta(days=7)
"""A session that has got no chunk for so long is swept, unless the caller says otherwise."""
LEFT_OVER: Final = timedelta(days=1)
"""A file without an owner is swept when it is that old, unless the caller says otherwise."""


def open_directory(path: Path, config: LocalConfig, context: OpenContext) -> LocalBackend:
    """The durable store in a directory.

    Raises:
        ConfigError: The directory, its key file, its index or an option cannot be used; the message says why.
    """
    prepare_directory(path)
    keys = load_keys(path / ".blobkit" / "keys")
    engine = FileEngine(path, clock=context.clock, manners=_manners(config), webhook=_webhook(config, keys))
    return _backend(engine, config, lambda: load_keys(path / ".blobkit" / "keys"), context, durable=True)


def open_memory(name: str, config: LocalConfig, context: OpenContext) -> LocalBackend:
    """The store of that name in this process's memory. Raises ConfigError."""
    keys = Keys(MemoryEngine.secret_of(name))
    engine = MemoryEngine(clock=context.clock, name=name, manners=_manners(config), webhook=_webhook(config, keys))
    return _backend(engine, config, lambda: keys, context, durable=False)


class LocalBackend(Backend):
    """One local store. See :class:`blobkit.backend.Backend`; beyond that it has what its data plane needs, and clean-up.

    Attributes:
        engine: Index and bytes.
        config: Its options.
        clock: The time, aware.
        signing_key: What signs its URLs.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        config: LocalConfig,
        keys: Callable[[], Keys],
        clock: Callable[[], datetime],
        durable: bool,
    ) -> None:
        self.engine = engine
        self.config = config
        self.clock = clock
        self.capabilities = capabilities(config, multi_process=durable)
        self._read_keys = keys
        self._keys = keys()
        self.signing_key = self._keys.signing
        self._own_signer: Signer | None = None

    # --- signing ---

    def signer(self, until: datetime) -> Signer:
        """A signer; its key does not end."""
        if self.config.signing_io:
            from blobkit_local.played import SignerWithIO

            return SignerWithIO(lambda: self._signer(self._read_keys().signing))
        if self._own_signer is None:
            self._own_signer = self._signer(self.signing_key)
        return self._own_signer

    def ready_signer(self, until: datetime) -> Signer | None:
        """The same, unless I/O is played."""
        return None if self.config.signing_io else self.signer(until)

    def _signer(self, key: bytes) -> LocalSigner:
        from blobkit_local.signing import LocalSigner

        wide = self.config.chunk_grant == "object"
        return LocalSigner(key, self.config.endpoint, base_path=self.config.base_path, wide=wide)

    def public_url(self, key: str) -> str:
        """Where the data plane serves the object to anybody."""
        from blobkit_local.signing import public_url

        return public_url(key, self.config.endpoint, base_path=self.config.base_path)

    def sealing_key(self) -> bytes | None:
        """From the key file; of a store in memory, random and as lasting as the store."""
        return self._keys.sealing

    # --- errors ---

    def classify(self, error: Exception) -> Classified | None:
        """See :mod:`blobkit_local.errors`."""
        return classify(error)

    # --- objects ---

    def head(self, key: str, *, version: str | None = None) -> BlobInfo:
        """See Backend."""
        return self.engine.head(key, version=version)

    def get(
        self, key: str, *, start: int = 0, end: int | None = None, pin: Pin | None = None, version: str | None = None
    ) -> tuple[BlobInfo, IO[bytes]]:
        """See Backend."""
        from blobkit_local.extents import limited

        info, stream = self.engine.open(key, version=version, pin=pin)
        return info, limited(stream, start, info.size if end is None else min(end, info.size))

    def put(
        self, key: str, body: IO[bytes], size: int, *, spec: UploadSpec, upload_id: str, if_match: Pin | None = None
    ) -> BlobInfo:
        """See Backend."""
        wanted = Wanted.of(spec, if_match=if_match)
        with self.engine.incoming(key, Attributes.of(spec, upload_id), wanted) as incoming:
            left = size
            while left:
                block = body.read(min(left, _BLOCK))
                if not block:
                    raise SourceChanged(f"the source ended after {size - left} of {size} bytes")
                incoming.write(block)
                left -= len(block)
            return incoming.commit()

    def copy(
        self, source: str, target: str, *, pin: Pin | None, if_absent: bool, to: Backend | None = None
    ) -> BlobInfo:
        """See Backend; between two local stores the bytes are read and written."""
        if to is not None and not isinstance(to, LocalBackend):
            raise InvalidArgument("the target is not a local store")
        return self.engine.copy(source, target, pin=pin, if_absent=if_absent, to=None if to is None else to.engine)

    def delete(
        self, key: str, *, pin: Pin | None = None, version: str | None = None, purge_versions: bool = False
    ) -> DeleteResult:
        """See Backend."""
        marker, left = self.engine.delete(key, pin=pin, version=version, purge_versions=purge_versions)
        return DeleteResult(key, marker=marker, versions_left=left)

    def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        """See Backend."""
        return [self._delete_one(key) for key in keys]

    def _delete_one(self, key: str) -> DeleteResult:
        try:
            return self.delete(key)
        except BlobkitError as error:
            return DeleteResult(key, error=error)
        except Exception as error:
            known = classify(error)
            if known is None:
                raise
            failure = known.error(known.message, code=known.code, retryable=known.retryable, hint=known.hint)
            failure.__cause__ = error
            return DeleteResult(key, error=failure)

    def list(
        self, prefix: str, *, start_after: str | None = None, delimiter: str | None = None
    ) -> Iterator[BlobInfo | Prefix]:
        """See Backend."""
        return self.engine.list(prefix, start_after=start_after, delimiter=delimiter)

    # --- chunked sessions ---

    def open_session(self, order: SessionOrder, now: datetime) -> SessionState:
        """See Backend."""
        return sessions.open_session(self.engine, order, now)

    def received(self, state: SessionState) -> Received:
        """See Backend."""
        return sessions.received(self.engine, state, sequential=self.config.sequential)

    def commit(self, state: SessionState, chunks: Sequence[HeldChunk], total: int) -> BlobInfo:
        """See Backend."""
        return sessions.commit(self.engine, state, chunks, total)

    def discard(self, state: SessionState) -> AbortResult:
        """See Backend."""
        self.engine.discard_session(state.upload_id)
        return AbortResult(discarded=True)

    def pending(self, prefix: str) -> Iterator[PendingUpload]:
        """See Backend."""
        return self.engine.sessions(prefix)

    # --- clean-up and events ---

    def expiry_rules(self) -> Sequence[ExpiryRule]:
        """The rules that :meth:`sweep` applies; they are kept with the store."""
        return self.engine.expiry_rules()

    def set_expiry_rules(self, rules: Sequence[ExpiryRule]) -> None:
        """Replace them. Raises InvalidArgument for two of one prefix."""
        self.engine.set_expiry_rules(rules)

    def sweep(
        self, *, sessions_older_than: timedelta = ABANDONED, temps_older_than: timedelta = LEFT_OVER
    ) -> Mapping[str, int]:
        """Remove abandoned sessions, left-over files and expired objects; returns counts (see :meth:`Engine.sweep`)."""
        now = self.clock()
        return self.engine.sweep(
            now=now, sessions_older_than=now - sessions_older_than, temps_older_than=now - temps_older_than
        )

    def subscribe(self, listener: Callable[[BlobEvent], None]) -> Callable[[], None]:
        """Call ``listener`` after each change that this process makes; returns how to stop that."""
        return self.engine.subscribe(listener)

    # --- the rest ---

    def data_plane(self, *, edge: Cdn | None = None) -> ASGIApp | None:
        """The ASGI application that answers this store's signed URLs."""
        from blobkit_local.dataplane.app import create_app

        return create_app(self, edge=edge)

    def close(self) -> None:
        """Close the engine. What a store in memory holds stays with its name."""
        self.engine.close()


def _backend(
    engine: FileEngine | MemoryEngine,
    config: LocalConfig,
    keys: Callable[[], Keys],
    context: OpenContext,
    *,
    durable: bool,
) -> LocalBackend:
    try:
        return LocalBackend(engine, config=config, keys=keys, clock=context.clock, durable=durable)
    except BaseException:
        engine.close()
        raise


def _manners(config: LocalConfig) -> Manners:
    return Manners(
        versioning=config.versioning,
        publish_last_chunk=config.commit == "last_chunk",
        sequential=config.sequential,
    )


def _webhook(config: LocalConfig, keys: Keys) -> Webhook | None:
    if config.webhook is None:
        return None
    secret = config.webhook_secret
    return Webhook(config.webhook, keys.webhook if secret is None else secret.reveal().encode())
