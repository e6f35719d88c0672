"""AsyncStore on S3: a thousand signatures and a session, while the event loop keeps beating."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from datetime import timedelta

import httpx

import blobkit
from blobkit.aio import AsyncStore
from blobkit_aws import client
from blobkit_aws.credentials import ChainKeys
from blobkit_aws.signing.sigv4 import Credentials

from .conftest import Opened
from .strict import Fault, StrictS3

DATA = b"a chunk"
COUNT = 1000


def test_a_thousand_signatures_and_a_session_never_block_the_loop(server: StrictS3, opened: Opened) -> None:
    """What the code does to the loop it does every time; what the machine does under it, now and then."""
    assert any(longest_silence(AsyncStore(opened()), f"target{again}") < 0.02 for again in range(3))


def longest_silence(store: AsyncStore, key: str) -> float:
    """Seconds of the processor that the loop's own thread took between two beats, while somebody works."""
    longest, beats = 0.0, 0

    async def heartbeat(stop: asyncio.Event) -> None:
        nonlocal longest, beats
        last = time.thread_time()
        while not stop.is_set():
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, beats, last = max(longest, now - last), beats + 1, now

    async def one(number: int) -> None:
        spec = {"content_type": "image/png", "metadata": {"owner": f"u{number}"}}
        request = await store.sign_upload(f"k{number}", size=number, **spec)  # type: ignore[arg-type]
        assert request.method == "PUT"
        await asyncio.sleep(0)

    async def work() -> None:
        stop = asyncio.Event()
        beating = asyncio.ensure_future(heartbeat(stop))
        for number in range(COUNT):
            await one(number)
        session = await store.start_upload(key, size=len(DATA))
        (chunk,) = await session.sign_chunks()
        sent = await asyncio.to_thread(httpx.put, chunk.url.reveal(), content=DATA, trust_env=False)
        assert sent.status_code == 200
        assert (await session.status()).missing == ()
        assert (await session.complete()).size == len(DATA)
        stop.set()
        await beating

    gc.collect()
    gc.disable()  # the collector walks through what the whole test run holds
    try:
        asyncio.run(work())
    finally:
        gc.enable()
    assert beats > COUNT
    return longest


def test_what_asks_the_network_runs_in_another_thread(server: StrictS3, opened: Opened) -> None:
    loop_thread = threading.get_ident()
    threads: set[int] = set()
    store = opened()
    client(store).meta.events.register("before-send.s3", lambda **_: threads.add(threading.get_ident()))

    async def work() -> None:
        awaited = AsyncStore(store)
        session = await awaited.start_upload("k", size=1)
        await session.status()
        await session.abort()
        await awaited.write("small", b"1")
        assert [info.key async for info in awaited.list()] == ["small"]
        await awaited.delete("small")

    asyncio.run(work())
    assert threads
    assert loop_thread not in threads


def test_a_start_that_is_cancelled_leaves_no_upload_behind(server: StrictS3, opened: Opened) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert go_on.wait(10)

    server.faults.append(Fault("CreateMultipartUpload", first=wait))

    async def work() -> None:
        store = AsyncStore(opened())
        starting = asyncio.ensure_future(store.start_upload("k", size=1))
        await asyncio.to_thread(begun.wait, 10)
        starting.cancel()
        go_on.set()
        try:
            await starting
        except asyncio.CancelledError:
            return
        raise AssertionError("it was not cancelled")

    asyncio.run(work())
    assert "CreateMultipartUpload" in server.operations()
    assert server.uploads == {}


def test_signing_with_keys_of_the_chain_waits_in_a_thread_and_then_no_more() -> None:
    asked: list[int] = []

    class Slow(ChainKeys):
        def get(self, until: int) -> Credentials:
            asked.append(threading.get_ident())
            self._last = Credentials("AK", "SK", "T", until + 3600)
            return self._last

    with blobkit.open_store("s3://media/?region=eu-west-1", env={}) as store:
        backend = store._calls.backend
        backend.sdk._keys = Slow(object())  # type: ignore[attr-defined, arg-type]

        async def work() -> None:
            awaited = AsyncStore(store)
            for _ in range(10):
                await awaited.sign_download("k", expires_in=timedelta(minutes=5))

        asyncio.run(work())
    assert len(asked) == 1
    assert asked[0] != threading.get_ident()
