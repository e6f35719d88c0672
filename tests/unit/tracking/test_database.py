"""The schema, and a database that does not answer."""

from __future__ import annotations

import dataclasses
import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, event, insert, select, text
from sqlalchemy.exc import OperationalError
from tests.servers.postgres import Postgres
from tests.unit.tracking.world import World

import blobkit
from blobkit.tracking import MOVES, State, Tracker, Upload, migrations, states
from blobkit.tracking.database import Database, DatabaseUnavailable
from blobkit.tracking.schema import metadata, orphans, uploads


@pytest.fixture(params=["sqlite", "postgresql"])
def nothing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without a table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/new.db"
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


def test_the_migrations_make_exactly_the_tables_of_the_schema(nothing: str) -> None:
    engine = create_engine(nothing)
    migrations.upgrade(engine)
    migrations.upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": migrations.VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
        assert migrations.current(connection) == migrations.newest()
    engine.dispose()


def test_tables_may_live_in_the_services_own_database_and_migration(nothing: str) -> None:
    engine = create_engine(nothing)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE mine (id INTEGER)"))
        migrations.upgrade(connection)
    with Tracker(engine, stores={}, migrate=False) as tracker:
        assert list(tracker.uploads()) == []
    with engine.connect() as connection:  # the tracker leaves the service's engine open
        assert connection.execute(text("SELECT count(*) FROM mine")).scalar() == 0
    engine.dispose()


def test_an_older_schema_is_an_error_unless_it_may_be_migrated(nothing: str) -> None:
    with pytest.raises(blobkit.ConfigError, match="none"):
        Tracker(nothing, stores={}, migrate=False)
    Tracker(nothing, stores={}).close()
    Tracker(nothing, stores={}, migrate=False).close()


def test_an_upload_has_the_columns_of_its_table_in_their_order() -> None:
    assert [field.name for field in dataclasses.fields(Upload)] == [column.name for column in uploads.columns]


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "no url", "nothing+at+all://x"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises((blobkit.ConfigError, blobkit.PluginMissing)):
        Tracker(url, stores={})


def test_times_come_back_aware_and_in_utc(world: World) -> None:
    odd = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=5)))
    row = {"store": "s", "key": "k", "size": 1, "marked_at": odd}
    with world.tracker.database.write() as connection:
        connection.execute(insert(orphans), row)
        found = connection.execute(select(orphans.c.marked_at)).scalar_one()
    assert found == odd
    assert found.tzinfo is UTC
    with pytest.raises(Exception, match="zone"), world.tracker.database.write() as connection:
        connection.execute(insert(orphans), {**row, "key": "l", "marked_at": odd.replace(tzinfo=None)})


def test_keys_compare_by_their_bytes_in_both_databases(world: World) -> None:
    keys = ["a", "B", "é", "z", "日", "\U0001f600", "_", "a/", "a0"]
    with world.tracker.database.write() as connection:
        connection.execute(
            insert(orphans), [{"store": "s", "key": key, "size": 1, "marked_at": world.clock.now} for key in keys]
        )
        found = [row.key for row in connection.execute(select(orphans.c.key).order_by(orphans.c.key))]
    assert found == sorted(keys, key=lambda key: key.encode())


@contextmanager
def down(database: Database) -> Iterator[None]:
    """Whoever needs a connection finds that the server is gone, or the disk full."""

    def refuse(*_: object) -> None:
        raise OperationalError("INSERT", {"key": "somebody's"}, sqlite3.OperationalError("database or disk is full"))

    event.listen(database.engine, "checkout", refuse)
    try:
        yield
    finally:
        event.remove(database.engine, "checkout", refuse)


class Message:
    """A message of a queue."""

    def __init__(self, events: list[blobkit.BlobEvent]) -> None:
        self.events = blobkit.ParsedEvents(events)
        self.ended: list[str] = []

    def ack(self) -> None:
        self.ended.append("ack")

    def retry(self, after: timedelta | None = None) -> None:
        self.ended.append("retry")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_file_that_another_process_keeps_locked_is_unavailable(world: World) -> None:
    upload = world.begin()
    world.put(upload)
    engine = world.tracker.database.engine
    event.listen(engine, "checkout", lambda connection, *_: connection.execute("PRAGMA busy_timeout = 1"))
    message = Message(world.events)
    with world.another_tracker().database.write(), pytest.raises(blobkit.Unavailable) as caught:
        world.tracker.apply(message)
    assert (caught.value.http_status, caught.value.retryable) == (503, True)
    assert message.ended == ["retry"]
    assert world.tracker.apply(Message(world.events)).changed == 1


def test_while_the_database_is_away_nothing_is_acknowledged_and_nothing_is_lost(world: World) -> None:
    upload = world.begin()
    world.put(upload)
    message = Message(world.events)
    with down(world.tracker.database):
        with pytest.raises(blobkit.Unavailable) as caught:
            world.tracker.apply(message)
        for call in (
            lambda: world.tracker.apply(world.events),
            lambda: world.tracker.confirm(upload.id),
            world.tracker.reconcile,
            lambda: world.tracker.outbox.deliver(print),
            world.begin,
        ):
            with pytest.raises(blobkit.Unavailable):
                call()
    assert message.ended == ["retry"]
    assert caught.value.retryable
    assert caught.value.http_status == 503
    assert "somebody's" not in str(caught.value)
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), DatabaseUnavailable)
    again = Message(world.events)
    world.tracker.apply(again)
    assert again.ended == ["ack"]
    assert world.state(upload) == "available"


def test_a_database_without_an_answer_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(blobkit.Unavailable):
        Tracker("postgresql+psycopg://nobody@127.0.0.1:9/none?connect_timeout=2", stores={})
    with pytest.raises(blobkit.Unavailable):
        Tracker(f"sqlite:///{tmp_path}/no/such/folder/u.db", stores={})


def test_terminal_states_have_no_way_out_and_available_is_announced_once() -> None:
    assert {str(state) for state in states.TERMINAL} == {
        "failed", "rejected", "expired", "canceled", "deleted",
    }  # fmt: skip
    for move in MOVES.values():
        if move.notice == "available":
            ways = set(move.sources)
            reached, more = set[State](), {State.AVAILABLE}
            while more:
                reached |= more
                more = {other.target for other in MOVES.values() if set(other.sources) & reached} - reached
            assert not ways & reached
