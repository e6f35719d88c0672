"""Events of keys that no upload has: how many are kept, what becomes of the others, and that nothing but time is lost."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select
from tests.counts import examples
from tests.unit.tracking.conftest import emptied
from tests.unit.tracking.world import World

import blobkit
from blobkit.errors import InvalidArgument
from blobkit.testing.clock import FakeClock
from blobkit.tracking import State, Tracker
from blobkit.tracking.schema import inbox, uploads

CAP = 3
MINUTE = timedelta(minutes=1)


def unknown(world: World, count: int, *, store: str = "media", start: int = 0) -> list[blobkit.BlobEvent]:
    """Events of keys that no upload has."""
    place = world.tracker.places.store(store)
    make = blobkit.BlobEvent.make
    return [
        make(
            kind=blobkit.EventKind.CREATED, provider="memory", bucket=place._calls.bucket, key=f"uploads/no-{number}",
            native_type="t",
        )
        for number in range(start, start + count)
    ]  # fmt: skip


def kept(world: World) -> int:
    """How many events of keys that no upload has are in the database."""
    return world.tracker._inbox.count("parked") + world.tracker._inbox.count("orphan")


@pytest.fixture
def capped(world: World) -> World:
    """Keeps few of them."""
    world.tracker = world.another_tracker(max_parked=CAP)
    return world


def test_a_flood_of_unknown_keys_does_not_fill_the_database(capped: World, caplog: pytest.LogCaptureFixture) -> None:
    assert capped.tracker.apply(unknown(capped, 50)).parked == 50
    report = capped.tracker.reconcile()
    assert (report.dropped, kept(capped)) == (50 - CAP, CAP)
    assert report.to_dict()["dropped"] == 50 - CAP
    assert "47 events of media were dropped" in caplog.text
    assert capped.tracker.reconcile().dropped == 0


def test_the_newest_are_kept(capped: World) -> None:
    for number in range(5):
        capped.tracker.apply(unknown(capped, 1, start=number))
        capped.clock.advance(timedelta(seconds=1))
    capped.tracker.reconcile()
    with capped.tracker.database.read() as connection:
        keys = connection.execute(select(inbox.c.key).order_by(inbox.c.key)).scalars().all()
    assert keys == ["uploads/no-2", "uploads/no-3", "uploads/no-4"]


def test_each_store_has_its_own_share(capped: World) -> None:
    capped.tracker.apply(unknown(capped, 2, store="kept"))
    capped.clock.advance(timedelta(seconds=1))
    capped.tracker.apply(unknown(capped, 20))
    capped.tracker.reconcile()
    with capped.tracker.database.read() as connection:
        counts = connection.execute(select(inbox.c.store, func.count()).group_by(inbox.c.store)).all()
    assert sorted(tuple(row) for row in counts) == [("kept", 2), ("media", CAP)]


def test_those_that_waited_their_time_count_too_and_are_no_loss(capped: World) -> None:
    capped.tracker.apply(unknown(capped, CAP))
    capped.later(timedelta(minutes=20))
    assert capped.tracker._inbox.count("orphan") == CAP
    capped.tracker.apply(unknown(capped, 2, start=100))
    report = capped.tracker.reconcile()
    assert (report.dropped, report.purged, kept(capped)) == (0, 2, CAP)


def test_a_rehearsal_drops_nothing(capped: World) -> None:
    capped.tracker.apply(unknown(capped, 10))
    assert capped.tracker.reconcile(dry_run=True).dropped == 0
    assert kept(capped) == 10


def test_what_another_worker_has_in_hand_is_left_to_the_next_run(migrated_postgres: str) -> None:
    """On PostgreSQL; in SQLite writers take turns."""
    with World(emptied(migrated_postgres), FakeClock(), {"max_parked": CAP}) as world:
        world.tracker.apply(unknown(world, 10))
        with world.tracker.database.write() as connection:
            held = select(inbox.c.id).order_by(inbox.c.received_at, inbox.c.id).limit(2).with_for_update()
            assert len(connection.execute(held).all()) == 2
            assert world.tracker.reconcile().dropped == 10 - CAP - 2
        assert world.tracker.reconcile().dropped == 2


def test_no_cap_below_nothing(world: World) -> None:
    with pytest.raises(InvalidArgument):
        world.another_tracker(max_parked=-1)


def test_an_event_that_waits_is_tried_once_in_a_run(local_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the run takes: with a flood the uploads would never have their turn."""
    local_world.tracker.apply(unknown(local_world, 5))
    local_world.clock.advance(MINUTE)
    settle = local_world.tracker._applier.settle

    def slow(*given: Any) -> None:
        settle(*given)
        local_world.clock.advance(timedelta(hours=1))  # all of them are due again

    monkeypatch.setattr(local_world.tracker._applier, "settle", slow)
    assert local_world.tracker.reconcile().events == 5


def test_those_that_wait_are_parked_again_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction for each of ten thousand would take a run of reconcile minutes."""
    world.tracker.apply(unknown(world, 90))
    world.clock.advance(MINUTE)
    write, writes = world.tracker.database.write, list[dict[str, bool]]()

    def counted(**options: bool) -> Any:
        writes.append(options)
        return write(**options)

    monkeypatch.setattr(world.tracker.database, "write", counted)
    assert world.tracker.reconcile().events == 90
    assert len(writes) < 15
    assert world.tracker._inbox.count("parked") == 90


def test_one_whose_upload_came_is_acted_upon_among_those_whose_did_not(world: World) -> None:
    upload = world.begin()
    row = hidden(world, upload.id)
    world.put(upload)
    world.tell()
    world.tracker.apply(unknown(world, 5))
    assert kept(world) == 6
    back(world, row)
    world.clock.advance(timedelta(seconds=10))
    assert world.tracker.reconcile().events == 6
    assert world.state(upload) == State.AVAILABLE
    assert kept(world) == 5


# ── what is dropped is found without it ───────────────────────────────────────────────────────────────────────────


def hidden(world: World, upload_id: object) -> dict[str, Any]:
    """Take an upload's row away, as a replica that lags behind, or a backup, does not have it yet; gives the row."""
    with world.tracker.database.write() as connection:
        row = dict(connection.execute(select(uploads).where(uploads.c.id == upload_id)).mappings().one())
        connection.execute(uploads.delete().where(uploads.c.id == upload_id))
    return row


def back(world: World, row: dict[str, Any]) -> None:
    with world.tracker.database.write() as connection:
        connection.execute(uploads.insert(), row)


def flood(world: World) -> None:
    """Everything that waits is dropped."""
    world.clock.advance(timedelta(seconds=1))
    world.tracker.apply(unknown(world, CAP))
    assert world.tracker.reconcile().dropped > 0
    with world.tracker.database.read() as connection:
        keys = connection.execute(select(inbox.c.key).where(inbox.c.state == "parked")).scalars()
        assert all(key.startswith("uploads/no-") for key in keys)


def test_an_upload_whose_event_was_dropped_arrives_all_the_same(capped: World) -> None:
    upload = capped.begin()
    row = hidden(capped, upload.id)
    capped.put(upload)
    capped.tell()
    flood(capped)
    back(capped, row)
    capped.later(2 * MINUTE)
    assert capped.state(upload) == State.AVAILABLE
    assert capped.deliver() == ["available"]


def test_what_happened_to_a_bound_upload_is_found_by_the_rolling_verify(capped: World) -> None:
    upload = capped.arrived()
    row = hidden(capped, upload.id)
    capped.media.delete(upload.key)
    capped.tell()
    flood(capped)
    back(capped, row)
    capped.later(timedelta(days=8))
    assert capped.state(upload) == State.MISSING


def test_a_late_upload_whose_event_was_dropped_is_swept(capped: World) -> None:
    upload = capped.begin()
    capped.tracker.cancel(upload.id)
    capped.tracker.reconcile()
    row = hidden(capped, upload.id)
    capped.put(upload)
    capped.tell()
    flood(capped)
    back(capped, row)
    capped.later(timedelta(hours=3))
    assert not capped.media.exists(upload.key)
    assert "late_upload" in capped.deliver()


def test_an_object_that_no_upload_ever_has_is_the_orphan_sweeps(capped: World) -> None:
    capped.tracker = capped.another_tracker(max_parked=CAP, owned={"media": "uploads/"})
    capped.media.write("uploads/nobodys", b"x")
    capped.tell()
    flood(capped)
    for _ in range(3):
        capped.clock.advance(timedelta(days=2))
        capped.tracker.reconcile(sweep=True)
    assert not capped.media.exists("uploads/nobodys")


# ── whatever comes, in whatever order ─────────────────────────────────────────────────────────────────────────────

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("events"), st.integers(0, 30), st.integers(1, 12)),
        st.tuples(st.just("reconcile"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("minutes"), st.sampled_from([0, 1, 5, 20, 60 * 24 * 40]), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS, cap=st.integers(0, 8))
def test_every_event_is_kept_or_counted(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path, steps: list[tuple[str, int, int]], cap: int
) -> None:
    file = tmp_path_factory.mktemp("parked") / "uploads.db"
    shutil.copy(migrated_sqlite, file)
    keep_to_the_cap(f"sqlite:///{file}", steps, cap)


@settings(max_examples=examples(5), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS, cap=st.integers(0, 8))
def test_every_event_is_kept_or_counted_on_postgresql(
    migrated_postgres: str, steps: list[tuple[str, int, int]], cap: int
) -> None:
    keep_to_the_cap(emptied(migrated_postgres), steps, cap)


def keep_to_the_cap(database: str, steps: list[tuple[str, int, int]], cap: int) -> None:
    """New events in, those in the database and those counted out: it adds up after every step."""
    with World(database, FakeClock(), {"max_parked": cap}) as world:
        workers: list[Tracker] = [world.tracker, world.another_tracker(max_parked=cap)]
        came = gone = 0
        for what, number, count in steps:
            if what == "events":
                came += world.tracker.apply(unknown(world, count, start=number)).new
            elif what == "minutes":
                world.clock.advance(timedelta(minutes=number))
            else:
                report = workers[number].reconcile()
                gone += report.dropped + report.purged
                assert kept(world) <= cap
            assert kept(world) == came - gone


# ── what it costs ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_cap_reads_an_index_of_these_events_and_nothing_else(world: World) -> None:
    """With an inbox of millions it costs as much as there are of them."""
    engine, asked = world.tracker.database.engine, list[tuple[str, Any]]()

    def noted(_: object, __: object, statement: str, parameters: object, *more: object) -> None:
        if statement.startswith("DELETE"):
            asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", noted)
    world.tracker._inbox.drop("media", 10, 100)
    event.remove(engine, "before_cursor_execute", noted)
    ((statement, parameters),) = asked
    shared = engine.dialect.name == "postgresql"
    with engine.connect() as connection:
        if shared:
            for way in ("seqscan", "bitmapscan"):  # which are as good for a table that is nearly empty
                connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        rows = connection.exec_driver_sql(f"EXPLAIN {'' if shared else 'QUERY PLAN '}{statement}", parameters)
        plan = "\n".join(str(row) for row in rows)
    assert "ix_blobkit_inbox_unknown" in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE FOR ORDER" not in plan
