"""The same transfers, awaited; and cancelled."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from blobkit import errors
from blobkit.transfer import aio

from .storage import Storage, serving
from .test_upload import parts

DATA = os.urandom(100_000)


@pytest.fixture
def storage() -> Iterator[Storage]:
    with serving() as served:
        served.object = DATA
        yield served


def test_all_three_move_bytes(storage: Storage, tmp_path: Path) -> None:
    async def run() -> bytes:
        done = await aio.upload(DATA, parts(storage), concurrency=2)
        assert done.bytes_sent == len(DATA)
        got, out = await aio.download(storage.url, tmp_path / "f"), io.BytesIO()
        assert got.size == len(DATA)
        await aio.stream(storage.url, out)
        return out.getvalue()

    assert asyncio.run(run()) == (tmp_path / "f").read_bytes() == DATA


def test_cancelling_stops_it_at_once_and_the_loop_never_waited(storage: Storage) -> None:
    inside, release = threading.Event(), threading.Event()

    def gate(number: int) -> None:
        inside.set()
        release.wait(30)

    storage.gate = gate

    async def run() -> None:
        task = asyncio.ensure_future(aio.upload(DATA, parts(storage)))
        await asyncio.to_thread(inside.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    release.set()


def test_errors_come_as_they_are(storage: Storage) -> None:
    storage.faults.append("404")
    with pytest.raises(errors.SessionNotFound):
        asyncio.run(aio.upload(DATA, parts(storage)))
