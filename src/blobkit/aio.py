"""The same verbs, awaited: :class:`AsyncStore`, :class:`AsyncUploadSession`, :class:`AsyncKit`.

Everything is decided in :mod:`blobkit.store`; this module only says where it runs. Signing is computed on the event loop as
long as it needs no network (ten microseconds); everything else runs in a worker thread. Cancelling a call leaves no session
behind that nobody knows of: one that was being started is aborted.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Concatenate, Final, ParamSpec, Self, TypeVar

from blobkit import kit as sync_kit
from blobkit import opening
from blobkit.backend import ASGIApp, Capabilities
from blobkit.calling import NeedsThread, inline
from blobkit.config import StoreConfig
from blobkit.session import UploadSession
from blobkit.store import Store

if TYPE_CHECKING:
    from blobkit.blobs import Pin
    from blobkit.cdn.base import Cdn
    from blobkit.events.awaited import AsyncSource
    from blobkit.events.deadletters import DeadLetters
    from blobkit.events.keeping import StoreEvents
    from blobkit.events.model import BlobEvent
    from blobkit.events.shells import Headers
    from blobkit.redaction import Secret

__all__ = ["AsyncFile", "AsyncKit", "AsyncStore", "AsyncUploadSession", "load", "open_events", "open_store"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_PAGE: Final = 256
_log = logging.getLogger("blobkit.aio")


def _threaded(
    method: Callable[Concatenate[Store, P], R],
) -> Callable[Concatenate[AsyncStore, P], Coroutine[Any, Any, R]]:
    """The verb in a worker thread."""

    @functools.wraps(method)
    async def call(self: AsyncStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(method, self.store, *args, **kwargs)

    return call


def _signing(
    method: Callable[Concatenate[Store, P], R],
) -> Callable[Concatenate[AsyncStore, P], Coroutine[Any, Any, R]]:
    """The verb on the event loop if signing needs no network now, else in a worker thread."""

    @functools.wraps(method)
    async def call(self: AsyncStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if not self.store.capabilities.signing_io:
            mark = inline.set(True)
            try:
                return method(self.store, *args, **kwargs)
            except NeedsThread:
                pass
            finally:
                inline.reset(mark)
        return await asyncio.to_thread(method, self.store, *args, **kwargs)

    return call


def _paged(
    method: Callable[Concatenate[Store, P], Iterator[T]],
) -> Callable[Concatenate[AsyncStore, P], AsyncIterator[T]]:
    """The verb's items, fetched in a worker thread some hundred at a time."""

    @functools.wraps(method)
    async def call(self: AsyncStore, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        items = method(self.store, *args, **kwargs)
        while page := await asyncio.to_thread(lambda: list(itertools.islice(items, _PAGE))):
            for item in page:
                yield item

    return call


class AsyncFile:
    """A read-only seekable file over ranged reads, awaited. Made by :meth:`AsyncStore.open`; an async context manager."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    async def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes from here; all that remain when negative."""
        return await asyncio.to_thread(self._file.read, size)

    async def seek(self, offset: int, whence: int = 0) -> int:
        """Move, as ``io.IOBase.seek``."""
        return await asyncio.to_thread(self._file.seek, offset, whence)

    def tell(self) -> int:
        """The next byte's offset."""
        return self._file.tell()

    async def aclose(self) -> None:
        """Close the file. Idempotent."""
        await asyncio.to_thread(self._file.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class AsyncUploadSession:
    """:class:`~blobkit.session.UploadSession`, awaited. The plain session is ``session``."""

    def __init__(self, session: UploadSession) -> None:
        self.session = session
        self.key = session.key
        self.chunks = session.chunks
        self.staged = session.staged
        self.enforcement = session.enforcement
        self.owner = session.owner
        self.upload_id = session.upload_id
        self.expires_at = session.expires_at

    def __repr__(self) -> str:
        return f"Async{self.session!r}"

    async def token(self) -> str:
        """The session's token in clear; sealing may read the key file, hence awaited."""
        return (await asyncio.to_thread(lambda: self.session.token)).reveal()

    @staticmethod
    def _of(
        method: Callable[Concatenate[UploadSession, P], R],
    ) -> Callable[Concatenate[AsyncUploadSession, P], Coroutine[Any, Any, R]]:
        @functools.wraps(method)
        async def call(self: AsyncUploadSession, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return await asyncio.to_thread(method, self.session, *args, **kwargs)

        return call

    sign_chunks = _of(UploadSession.sign_chunks)
    plan = _of(UploadSession.plan)
    status = _of(UploadSession.status)
    complete = _of(UploadSession.complete)
    abort = _of(UploadSession.abort)


def _session(
    method: Callable[Concatenate[Store, P], UploadSession],
) -> Callable[Concatenate[AsyncStore, P], Coroutine[Any, Any, AsyncUploadSession]]:
    """The verb in a worker thread, giving an async session; a cancelled start is aborted when it has come about."""

    @functools.wraps(method)
    async def call(self: AsyncStore, /, *args: P.args, **kwargs: P.kwargs) -> AsyncUploadSession:
        starting = asyncio.ensure_future(asyncio.to_thread(method, self.store, *args, **kwargs))
        try:
            return AsyncUploadSession(await asyncio.shield(starting))
        except asyncio.CancelledError:
            await _undo(starting)
            raise

    return call


def _resumed(
    method: Callable[Concatenate[Store, P], UploadSession],
) -> Callable[Concatenate[AsyncStore, P], Coroutine[Any, Any, AsyncUploadSession]]:
    """The verb in a worker thread, giving an async session. Cancelling it ends nothing: the session was there before."""

    @functools.wraps(method)
    async def call(self: AsyncStore, /, *args: P.args, **kwargs: P.kwargs) -> AsyncUploadSession:
        return AsyncUploadSession(await asyncio.to_thread(method, self.store, *args, **kwargs))

    return call


async def _undo(starting: Awaitable[UploadSession]) -> None:
    try:
        session = await starting
        await asyncio.to_thread(session.abort)
    except Exception as error:
        _log.warning("a cancelled start of an upload could not be undone: %s", type(error).__name__)


class AsyncStore:
    """:class:`~blobkit.store.Store`, awaited. The plain store is ``store``; an async context manager."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __repr__(self) -> str:
        return f"Async{self.store!r}"

    @property
    def provider(self) -> str:
        """``s3 | gcs | azure | local | memory``."""
        return self.store.provider

    @property
    def capabilities(self) -> Capabilities:
        """What this instance can do."""
        return self.store.capabilities

    @property
    def config(self) -> StoreConfig:
        """Its settings, without secrets."""
        return self.store.config

    @property
    def prefix(self) -> str:
        """What all keys here start with in the bucket."""
        return self.store.prefix

    def at(self, prefix: str) -> AsyncStore:
        """A store on a longer prefix. Raises ConfigError."""
        return AsyncStore(self.store.at(prefix))

    def public_url(self, key: str) -> str:
        """The object's plain URL. Raises Unsupported unless the store is configured ``public=true``."""
        return self.store.public_url(key)

    def data_plane(self, *, edge: Cdn | None = None) -> ASGIApp | None:
        """The ASGI application that answers this store's signed URLs, where the provider is embedded; else None."""
        return self.store.data_plane(edge=edge)

    def subscribe(self, listener: Callable[[BlobEvent], None]) -> Callable[[], None] | None:
        """Call ``listener`` after each change that this process makes, where the provider is embedded; in its thread."""
        return self.store.subscribe(listener)

    def parse_events(self, body: object, headers: Headers | None = None) -> StoreEvents:
        """The events of a delivery that concern this store, with keys relative to its prefix. Pure: no I/O.

        It proves nothing: check where the delivery came from first.

        Args:
            body: As for :func:`blobkit.parse_events`.
            headers: Of the HTTP request.

        Returns:
            The events of this store; beside them controls, errors, foreign messages, and ``elsewhere``: other stores' events.

        Raises:
            MalformedEvent: The body as a whole cannot be read.
        """
        return self.store._calls.events_of(self, body, headers)

    sign_upload = _signing(Store.sign_upload)
    sign_uploads = _signing(Store.sign_uploads)
    sign_download = _signing(Store.sign_download)
    sign_delete = _signing(Store.sign_delete)
    verify_upload = _threaded(Store.verify_upload)
    start_upload = _session(Store.start_upload)
    resume_upload = _resumed(Store.resume_upload)
    sweep_uploads = _threaded(Store.sweep_uploads)
    upload = _threaded(Store.upload)
    plan_upload = _threaded(Store.plan_upload)
    stat = _threaded(Store.stat)
    exists = _threaded(Store.exists)
    read = _threaded(Store.read)
    write = _threaded(Store.write)
    delete = _threaded(Store.delete)
    delete_many = _threaded(Store.delete_many)
    list_uploads = _paged(Store.list_uploads)
    list = _paged(Store.list)
    list_dir = _paged(Store.list_dir)

    async def open(self, key: str, *, pin: Pin | None = None) -> AsyncFile:
        """The object as a read-only seekable file, pinned. Raises BlobNotFound, PreconditionFailed."""
        return AsyncFile(await asyncio.to_thread(self.store.open, key, pin=pin))

    copy = _threaded(Store.copy)
    promote = _threaded(Store.promote)

    async def aclose(self) -> None:
        """Close the store. Idempotent."""
        await asyncio.to_thread(self.store.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class AsyncKit:
    """:class:`~blobkit.kit.Kit`, giving async stores. An async context manager."""

    def __init__(self, kit: sync_kit.Kit) -> None:
        self.kit = kit

    @property
    def names(self) -> tuple[str, ...]:
        """The configured names, sorted."""
        return self.kit.names

    def store(self, name: str) -> AsyncStore:
        """The store of this name. Raises ConfigError, ClosedError."""
        return AsyncStore(self.kit.store(name))

    async def aclose(self) -> None:
        """Close every store that was opened. Idempotent."""
        await asyncio.to_thread(self.kit.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _async_store(opener: Callable[P, Store]) -> Callable[P, AsyncStore]:
    @functools.wraps(opener)
    def call(*args: P.args, **kwargs: P.kwargs) -> AsyncStore:
        return AsyncStore(opener(*args, **kwargs))

    return call


def _async_kit(loader: Callable[P, sync_kit.Kit]) -> Callable[P, AsyncKit]:
    @functools.wraps(loader)
    def call(*args: P.args, **kwargs: P.kwargs) -> AsyncKit:
        return AsyncKit(loader(*args, **kwargs))

    return call


def open_events(
    source: str | Mapping[str, str | Secret],
    *,
    dead_letters: DeadLetters | str | os.PathLike[str] | None = None,
    clock: Callable[[], datetime] | None = None,
    timeout: timedelta = timedelta(seconds=30),
    retries: int = 3,
    env: Mapping[str, str] | None = None,
) -> AsyncSource:
    """Open a queue of storage events. See :func:`blobkit.open_events`."""
    from blobkit.events import awaited, sources

    return awaited.AsyncSource(
        sources.open_events(source, dead_letters=dead_letters, clock=clock, timeout=timeout, retries=retries, env=env)
    )


open_store = _async_store(opening.open_store)
load = _async_kit(sync_kit.load)
