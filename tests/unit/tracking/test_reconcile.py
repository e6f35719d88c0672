"""Reconcile: what is due and nothing else, at the least cost, in parts, by many, and never too much."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert
from tests.unit.tracking.world import World

import blobkit
from blobkit.keys import uuid7
from blobkit.testing.clock import FakeClock
from blobkit.tracking import ReconcileReport, State, Tracker
from blobkit.tracking.beginning import BLANK
from blobkit.tracking.listing import ASK, PAGE, WORTH, Listing
from blobkit.tracking.schema import uploads

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def counted(store: blobkit.Store, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the store was asked, one by one and by listing, page by page."""
    calls = {"head": 0, "page": 0}
    backend = store._calls.backend
    head, listed = backend.head, backend.list

    def counting_head(*given: Any, **named: Any) -> Any:
        calls["head"] += 1
        return head(*given, **named)

    def counting_list(*given: Any, **named: Any) -> Iterator[Any]:
        calls["page"] += 1
        for number, item in enumerate(listed(*given, **named), 1):
            yield item
            calls["page"] += number % PAGE == 0

    monkeypatch.setattr(backend, "head", counting_head)
    monkeypatch.setattr(backend, "list", counting_list)
    return calls


def pending(world: World, count: int) -> list[str]:
    """Uploads that are due, written straight into the table; returns their keys."""
    rows = [
        {
            **{column.name: getattr(BLANK, column.name) for column in uploads.columns},
            "id": uuid7(world.clock.now + timedelta(milliseconds=number)),
            "owner": "u1",
            "store": "media",
            "key": f"uploads/{number:08}-{uuid.uuid4().hex}",
            "spec": json.dumps({"size": 1}),
            "checks": False,
            "created_at": world.clock.now,
            "updated_at": world.clock.now,
            "expires_at": world.clock.now + DAY,
            "url_expires_at": world.clock.now + MINUTE,
            "look_at": world.clock.now,
        }
        for number in range(count)
    ]
    with world.tracker.database.write() as connection:
        connection.execute(insert(uploads), rows)
    return [str(row["key"]) for row in rows]


def test_where_most_objects_are_there_a_listing_answers_for_a_thousand(
    local_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in pending(local_world, 2500):
        local_world.media.write(key, b"x", content_type="text/plain")
    calls = counted(local_world.media, monkeypatch)
    report = local_world.tracker.reconcile(sweep=False)
    assert report.changes == {"accepted": 2500}
    assert calls["page"] <= 3
    assert calls["head"] == 0
    assert (report.looked, report.heads, report.pages) == (2500, 0, 3)


def test_where_strangers_are_in_the_way_each_key_is_asked_for(
    local_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = pending(local_world, 40)
    for key in keys[::2]:
        local_world.media.write(key, b"x")
    for number in range(3000):  # between the first and the second key
        local_world.media.write(f"{keys[0]}/{number}", b"x")
    calls = counted(local_world.media, monkeypatch)
    report = local_world.tracker.reconcile(sweep=False)
    assert report.changes == {"accepted": 20}
    assert calls["page"] <= 2
    assert calls["head"] <= 40


def test_a_few_keys_are_not_worth_a_listing(local_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pending(local_world, WORTH - 1)
    calls = counted(local_world.media, monkeypatch)
    local_world.tracker.reconcile(sweep=False)
    assert calls == {"head": WORTH - 1, "page": 0}


@settings(max_examples=60)
@given(
    st.lists(st.text("ab/é日\U0001f600", min_size=1, max_size=4), max_size=60, unique=True),
    st.lists(st.text("ab/é日\U0001f600", min_size=1, max_size=4), max_size=60, unique=True),
    st.integers(1, 20),
)
def test_a_listing_says_of_every_key_what_a_head_would(there: list[str], wanted: list[str], batch: int) -> None:
    with blobkit.open_store(f"memory://l{uuid.uuid4().hex}") as store:
        for key in there:
            store.write(key, b"x")
        wanted.sort(key=lambda key: key.encode())
        listing = Listing(store)
        for start in range(0, len(wanted), batch):
            keys = wanted[start : start + batch]
            for key, seen in zip(keys, listing.look_up(keys), strict=True):
                if seen != ASK:
                    assert (seen is not None) == (key in there)
                    assert seen is None or (not isinstance(seen, str) and seen.key == key)


def test_a_second_run_does_nothing(world: World) -> None:
    upload = world.begin()
    world.put(upload)
    world.clock.advance(2 * MINUTE)
    assert world.tracker.reconcile().changes == {"accepted": 1}
    again = world.tracker.reconcile()
    assert (again.looked, again.changes, again.complete) == (0, {}, True)


def test_a_rehearsal_says_what_would_be_done_and_does_nothing(world: World) -> None:
    found, lost, refused = world.begin(), world.begin(), world.begin()
    world.put(found)
    world.put(refused, b"wrong")
    world.put(refused, b"wrong!")
    world.tracker.confirm(refused.id)
    world.clock.advance(2 * timedelta(hours=1))
    before = [upload.to_dict() for upload in world.tracker.uploads()]
    report = world.tracker.reconcile(dry_run=True)
    assert report.changes == {"accepted": 1, "lapsed": 1}
    assert (report.swept_objects, report.swept_bytes) == (1, 6)
    assert any(str(lost.id) in action for action in report.actions)
    assert [upload.to_dict() for upload in world.tracker.uploads()] == before
    assert world.media.exists(refused.key)
    real = world.tracker.reconcile()
    assert real.changes == report.changes


def test_one_bad_item_does_not_stop_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [world.begin() for _ in range(5)]
    for item in items:
        world.put(item)
    backend = world.media._calls.backend
    head = backend.head

    def failing(key: str, **named: Any) -> blobkit.BlobInfo:
        if key == items[2].key:
            raise ZeroDivisionError("an SDK's own fault")
        return head(key, **named)

    world.clock.advance(2 * MINUTE)
    with monkeypatch.context() as patched:
        patched.setattr(backend, "head", failing)
        report = world.tracker.reconcile()
    assert (report.changes, report.failures) == ({"accepted": 4}, 1)
    assert str(items[2].id) in report.errors[0]
    world.later(timedelta(hours=1))
    assert world.state(items[2]) == "available"


def test_a_store_that_is_away_is_left_alone_and_the_others_are_asked(
    local_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = local_world.begin(store="kept")
    local_world.put(here)
    pending(local_world, 500)
    asked = []

    def away(*_: object, **__: object) -> None:
        asked.append(1)
        raise blobkit.ConnectionFailed("away")

    local_world.clock.advance(2 * MINUTE)
    with monkeypatch.context() as patched:
        for name in ("head", "list"):
            patched.setattr(local_world.media._calls.backend, name, away)
        report = local_world.tracker.reconcile()
    assert report.changes == {"accepted": 1}
    assert report.failures == len(report.errors) > 0
    assert len(asked) < 100


def test_a_run_can_be_cut_short_and_goes_on(local_world: World) -> None:
    for key in pending(local_world, 30):
        local_world.media.write(key, b"x")
    first = local_world.tracker.reconcile(limit=10)
    assert (first.looked, first.complete) == (10, False)
    assert local_world.tracker.reconcile(stop=lambda: True).looked == 0
    assert local_world.tracker.reconcile().looked == 20


def test_looks_grow_rare_and_the_last_one_is_not_late(local_world: World) -> None:
    upload = local_world.begin()
    seen = 0
    while local_world.state(upload) == "pending":
        local_world.clock.advance(timedelta(seconds=30))
        seen += local_world.tracker.reconcile(sweep=False).looked
    assert local_world.clock.now - upload.expires_at <= timedelta(seconds=30)
    assert seen < 15


# ── orphans ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def owning(sqlite: str, clock: FakeClock) -> Iterator[World]:
    with World(sqlite, clock, {"owned": {"media": "uploads/"}}) as made:
        yield made


def sweep(world: World, **more: Any) -> ReconcileReport:
    return world.tracker.reconcile(sweep=True, **more)


def test_an_object_that_no_upload_knows_is_marked_and_only_later_deleted(owning: World) -> None:
    known = owning.arrived()
    owning.media.write("uploads/stray", b"stray")
    owning.media.write("elsewhere/stray", b"not ours")
    assert sweep(owning).orphans_marked == 0  # too young
    owning.clock.advance(2 * DAY)
    first = sweep(owning)
    assert (first.orphans_marked, first.orphans_deleted) == (1, 0)
    assert sweep(owning, dry_run=True).orphans_deleted == 0
    owning.clock.advance(2 * DAY)
    assert sweep(owning, dry_run=True).orphans_deleted == 1
    assert owning.media.exists("uploads/stray")
    second = sweep(owning)
    assert (second.orphans_deleted, second.orphan_bytes) == (1, 5)
    assert not owning.media.exists("uploads/stray")
    assert owning.media.exists("elsewhere/stray")
    assert owning.media.exists(known.key)


def test_an_orphan_that_was_written_again_is_another_one(owning: World) -> None:
    owning.media.write("uploads/stray", b"one")
    owning.clock.advance(2 * DAY)
    sweep(owning)
    owning.media.write("uploads/stray", b"two")
    owning.clock.advance(2 * DAY)
    again = sweep(owning)
    assert (again.orphans_marked, again.orphans_deleted) == (1, 0)


def test_an_orphan_that_became_somebodys_is_kept(owning: World) -> None:
    upload = owning.begin()
    owning.put(upload)
    with owning.tracker.database.write() as connection:
        row = connection.execute(uploads.select()).mappings().one()
        connection.execute(uploads.delete())
    owning.clock.advance(2 * DAY)
    assert sweep(owning).orphans_marked == 1
    with owning.tracker.database.write() as connection:
        connection.execute(insert(uploads), dict(row))
    owning.clock.advance(2 * DAY)
    assert sweep(owning).orphans_deleted == 0
    assert owning.media.exists(upload.key)


def test_no_more_is_deleted_than_the_cap_allows(owning: World) -> None:
    for number in range(7):
        owning.media.write(f"uploads/stray{number}", b"x")
    owning.clock.advance(2 * DAY)
    sweep(owning)
    owning.clock.advance(2 * DAY)
    first = sweep(owning, max_deletions=3)
    assert (first.orphans_deleted, first.complete) == (3, False)
    assert sweep(owning).orphans_deleted == 4


def test_a_sweep_goes_on_where_it_was_left(owning: World) -> None:
    for number in range(2500):
        owning.media.write(f"uploads/stray{number:05}", b"x")
    owning.clock.advance(2 * DAY)
    rounds = iter([False] * 5 + [True] * 1000)
    first = sweep(owning, stop=lambda: next(rounds))
    assert 0 < first.orphans_marked < 2500
    second = owning.tracker.reconcile()
    assert first.orphans_marked + second.orphans_marked == 2500


def test_one_worker_sweeps_at_a_time(owning: World) -> None:
    other = owning.another_tracker(owned={"media": "uploads/"})
    held = owning.tracker._reconciler.sweeper.tasks.take("orphans:media", even_if_not_due=True)
    assert held is not None
    owning.media.write("uploads/stray", b"x")
    owning.clock.advance(timedelta(seconds=30))
    assert other._reconciler.sweeper.tasks.take("orphans:media", even_if_not_due=True) is None
    owning.clock.advance(2 * MINUTE)  # its lease ran out
    assert other._reconciler.sweeper.tasks.take("orphans:media", even_if_not_due=True) is not None
    with pytest.raises(blobkit.PreconditionFailed):
        held.keep("uploads/a")


def test_sessions_that_nobody_waits_for_are_aborted(owning: World) -> None:
    owning.media.start_upload("uploads/forgotten", size=20 * blobkit.MiB)
    owning.media.start_upload("elsewhere/forgotten", size=20 * blobkit.MiB)
    owning.clock.advance(9 * DAY)
    assert sweep(owning).sessions_aborted == 1
    assert [item.key for item in owning.media.list_uploads()] == ["elsewhere/forgotten"]


def test_without_an_owned_prefix_nothing_is_an_orphan(local_world: World) -> None:
    local_world.media.write("uploads/stray", b"x")
    for _ in range(3):
        local_world.clock.advance(9 * DAY)
        report = local_world.tracker.reconcile(sweep=True)
        assert (report.orphans_marked, report.orphans_deleted) == (0, 0)


def test_all_versions_of_a_refused_upload_are_removed(world: World) -> None:
    upload = world.begin(store="kept")
    world.put(upload, b"wrong!")
    world.put(upload, b"wrong!!")
    world.tracker.confirm(upload.id)
    world.later(MINUTE)
    assert world.state(upload) == "failed"
    result = world.kept.delete(upload.key, purge_versions=True)
    assert not world.kept.exists(upload.key)
    assert not result.versions_left


def test_old_events_and_notices_are_forgotten(world: World) -> None:
    world.arrived()
    world.deliver()
    assert world.tracker.reconcile().purged == 0
    world.clock.advance(timedelta(days=33))
    assert world.tracker.reconcile().purged == 2


def test_many_workers_share_what_is_due(world: World) -> None:
    for key in pending(world, 60):
        world.media.write(key, b"x")
    reports: list[ReconcileReport] = []

    def work(tracker: Tracker) -> None:
        reports.append(tracker.reconcile(limit=15))

    threads = [threading.Thread(target=work, args=(world.another_tracker(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report.looked for report in reports) == 60
    assert sum(report.changes["accepted"] for report in reports) == 60
    assert all(upload.state is State.AVAILABLE for upload in world.tracker.uploads())
