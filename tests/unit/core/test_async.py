"""AsyncStore: the same verbs, the same results, and an event loop that keeps beating."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

import pytest

from blobkit import aio, errors
from blobkit.aio import AsyncStore, AsyncUploadSession
from blobkit.backend import SessionOrder, SessionState, Signer
from blobkit.session import UploadSession
from blobkit.store import Store

from .conftest import Open
from .fakes import EVERYTHING, FakeBackend

T = TypeVar("T")


def run(coroutine: Coroutine[object, object, T]) -> T:
    return asyncio.run(coroutine)


def public(cls: type) -> set[str]:
    return {name for name, value in vars(cls).items() if not name.startswith("_") and inspect.isfunction(value)}


def test_both_stores_have_the_same_verbs_with_the_same_arguments() -> None:
    assert public(Store) - {"close"} == public(AsyncStore) - {"aclose"}
    assert public(UploadSession) - {"from_token"} <= public(AsyncUploadSession)
    for name in public(Store) - {"close", "at", "open", "public_url", "data_plane", "subscribe"}:
        assert inspect.signature(getattr(AsyncStore, name)) == inspect.signature(getattr(Store, name)), name
        assert getattr(AsyncStore, name).__doc__ == getattr(Store, name).__doc__


def test_the_main_flow_awaited(fake: Open) -> None:
    plain, backend = fake()

    async def flow() -> bytes:
        async with AsyncStore(plain) as store:
            session = await store.start_upload("k", size=8, chunk_size=4)
            again = await store.resume_upload(await session.token(), key="k")
            for chunk in await session.sign_chunks():
                backend.put_chunk(again.upload_id, chunk.number, b"abcd")
            assert (await again.status()).missing == ()
            assert (await again.complete()).size == 8
            assert [info.key async for info in store.list()] == ["k"]
            async with await store.open("k") as file:
                await file.seek(4)
                assert await file.read() == b"abcd"
            assert (await store.sign_download("k")).method == "GET"
            return await store.read("k")

    assert run(flow()) == b"abcdabcd"
    assert backend.closed == 1


def test_listings_come_page_by_page(fake: Open) -> None:
    plain, _ = fake()
    for number in range(600):
        plain.write(f"k{number:04}", b"")

    async def keys() -> list[str]:
        return [info.key async for info in AsyncStore(plain).list("k")]

    assert run(keys()) == [f"k{number:04}" for number in range(600)]


def test_signing_stays_on_the_loop_unless_credentials_must_be_fetched(fake: Open) -> None:
    threads: list[str] = []

    class Watched(FakeBackend):
        def signer(self, until: datetime) -> Signer:
            threads.append(threading.current_thread().name)
            return super().signer(until)

    backend = Watched()
    plain, _ = fake(backend=backend)

    async def sign() -> None:
        store = AsyncStore(plain)
        for _ in range(3):
            await store.sign_upload("k")

    run(sign())
    assert len(threads) == 1
    assert threads[0] != threading.main_thread().name, "the one fetch of credentials ran in a worker thread"


def test_signing_that_needs_the_network_never_runs_on_the_loop(fake: Open) -> None:
    plain, backend = fake(replace(EVERYTHING, signing_io=True))
    where: list[threading.Thread] = []
    signed = backend.fake_signer.upload

    def watched(*args, **kwargs):  # type: ignore[no-untyped-def]
        where.append(threading.current_thread())
        return signed(*args, **kwargs)

    backend.fake_signer.upload = watched  # type: ignore[method-assign]
    run(AsyncStore(plain).sign_upload("k"))
    assert where
    assert where[0] is not threading.main_thread()


def test_a_cancelled_start_leaves_no_session_behind(fake: Open) -> None:
    started, go_on = threading.Event(), threading.Event()

    class Slow(FakeBackend):
        def open_session(self, order: SessionOrder, now: datetime) -> SessionState:
            state = super().open_session(order, now)
            started.set()
            go_on.wait(10)
            return state

    plain, backend = fake(backend=Slow())

    async def cancel() -> None:
        task = asyncio.ensure_future(AsyncStore(plain).start_upload("k", size=4))
        await asyncio.to_thread(started.wait, 10)
        task.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancel())
    assert backend.open_sessions == {}
    assert "discard" in backend.calls


def test_a_cancelled_resume_ends_nothing(fake: Open) -> None:
    """The request that resumed it went away; the upload is still the client's."""
    asked, go_on = threading.Event(), threading.Event()
    plain, backend = fake()
    token = plain.start_upload("k", size=4).token
    opened = plain._calls.keyring().open

    def slow(text: object) -> dict[str, object]:
        asked.set()
        go_on.wait(10)
        return opened(text)  # type: ignore[arg-type]

    class SlowRing:
        open = staticmethod(slow)

    plain._calls._ring = SlowRing()  # type: ignore[assignment]

    async def cancel() -> None:
        task = asyncio.ensure_future(AsyncStore(plain).resume_upload(token))
        await asyncio.to_thread(asked.wait, 10)
        task.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancel())
    assert len(backend.open_sessions) == 1
    assert "discard" not in backend.calls


def test_a_thousand_signatures_and_a_session_do_not_block_the_loop(fake: Open) -> None:
    plain, _ = fake()
    gaps: list[float] = []

    async def heartbeat(stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while not stop.is_set():
            await asyncio.sleep(0)
            now = loop.time()
            gaps.append(now - last)
            last = now

    async def work() -> None:
        stop = asyncio.Event()
        beating = asyncio.ensure_future(heartbeat(stop))
        store = AsyncStore(plain)
        await asyncio.gather(*(store.sign_upload(f"k{n}") for n in range(1000)))
        session = await store.start_upload("k", size=4)
        await session.abort()
        stop.set()
        await beating

    run(work())
    # Counted, not timed: one slow turn of a busy machine must not fail this, a call that blocks on I/O would starve the beat.
    assert len(gaps) > 10
    assert sorted(gaps)[len(gaps) // 2] < 0.02


def test_errors_are_the_same(fake: Open) -> None:
    plain, _ = fake()
    with pytest.raises(errors.BlobNotFound) as caught:
        run(AsyncStore(plain).stat("nothing"))
    assert caught.value.key == "nothing"
    with pytest.raises(errors.InvalidExpiry):
        run(AsyncStore(plain).sign_upload("k", expires_in=timedelta(0)))


def test_an_async_kit_gives_async_stores(fake: Open) -> None:
    fake()
    kit = aio.load({"stores": {"media": "fake://bucket/"}}, env={})

    async def use() -> None:
        async with kit:
            assert kit.names == ("media",)
            assert isinstance(kit.store("media"), AsyncStore)
            with pytest.raises(errors.ConfigError):
                kit.store("other")
        with pytest.raises(errors.ClosedError):
            kit.store("media")

    run(use())
