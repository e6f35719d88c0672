"""Workers that are killed under load, on PostgreSQL: no upload is lost, and none is told of twice under two names."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.unit.tracking.conftest import emptied
from tests.unit.tracking.workers import TIMING, Directory, File, work

import blobkit
from blobkit.tracking import State, Tracker

UPLOADS = int(os.environ.get("BLOBKIT_SCHEDULES", "120"))
WORKERS = 4
PATIENCE = 60.0


def test_workers_killed_under_load_lose_nothing_and_tell_nothing_twice(migrated_postgres: str, tmp_path: Path) -> None:
    database, url, heard = emptied(migrated_postgres), f"local://{tmp_path}/files", tmp_path / "heard"
    (tmp_path / "events").mkdir()
    heard.touch()
    rng, queue = random.Random(8), Directory(tmp_path / "events")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.unit.tracking.workers", "blobkit_local.plugin", "psycopg"])

    def start() -> BaseProcess:
        process = context.Process(target=work, args=(database, url, str(tmp_path)), daemon=True)
        process.start()
        return process

    workers, kills = [start() for _ in range(WORKERS)], 0
    try:
        with blobkit.open_store(url) as store, Tracker(database, stores={"media": store}, timing=TIMING) as tracker:
            told: list[blobkit.BlobEvent] = []
            store.subscribe(told.append)
            for number in range(UPLOADS):
                upload, _ = tracker.begin(store="media", owner="u1", size=1, checks=False)
                store.write(upload.key, b"x")
                event = told.pop()
                if rng.random() < 0.7:  # the others are lost, and reconcile's to find
                    queue.put(event)
                if number % 12 == 11:
                    before = heard.stat().st_size
                    victim = workers.pop(0)
                    waited = 0.0
                    while heard.stat().st_size == before and waited < PATIENCE:  # it is killed in the midst of work
                        workers[0].join(0.02)
                        waited += 0.02
                    victim.kill()
                    victim.join()
                    assert victim.exitcode == -9, "it ended before it was killed"
                    kills += 1
                    workers.append(start())
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    assert kills >= UPLOADS // 12 - 1

    # Everything that a dead worker had taken is due again: one that lives finishes it.
    def later() -> datetime:
        return datetime.now(UTC) + timedelta(hours=1)

    with (
        blobkit.open_store(url) as store,
        Tracker(database, stores={"media": store}, timing=TIMING, clock=later) as tracker,
    ):
        tracker.reconcile()
        tracker.outbox.deliver(File(heard))
        uploads = list(tracker.uploads())
        assert tracker.outbox.count("waiting") == 0
    assert len(uploads) == UPLOADS
    assert {upload.state for upload in uploads} == {State.AVAILABLE}
    lines = [line.split() for line in heard.read_text().splitlines()]
    available = {name for name, kind in lines if kind == "available"}
    per_upload = Counter(name.partition(".")[0] for name in available)
    assert per_upload == {str(upload.id): 1 for upload in uploads}
