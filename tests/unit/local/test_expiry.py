"""What a sweep removes, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.local.helpers import Clock, begin, get, keys, put, send

from blobkit.errors import BlobNotFound, InvalidArgument, Unavailable
from blobkit_local import disk
from blobkit_local.durable import FileEngine
from blobkit_local.engine import Attributes, ExpiryRule, Wanted
from blobkit_local.indexed import IndexedEngine

LONG_AGO = timedelta(days=36500)
NOTHING = {"sessions": 0, "files": 0, "objects": 0, "bytes": 0}


def sweep(
    engine: IndexedEngine, clock: Clock, *, sessions: timedelta = LONG_AGO, temps: timedelta = LONG_AGO
) -> object:
    """Sweep by ages."""
    now = clock()
    return engine.sweep(now=now, sessions_older_than=now - sessions, temps_older_than=now - temps)


def test_objects_past_a_rule_go_and_others_stay(engine: IndexedEngine, clock: Clock) -> None:
    engine.set_expiry_rules([ExpiryRule("tmp/", timedelta(days=1))])
    put(engine, "tmp/old", b"123")
    put(engine, "other", b"123")
    clock.tick(days=1, seconds=1)
    put(engine, "tmp/new", b"123")
    assert sweep(engine, clock) == {**NOTHING, "objects": 1, "bytes": 3}
    assert keys(engine) == ["other", "tmp/new"]
    assert sweep(engine, clock) == NOTHING


def test_more_objects_than_a_batch_expire_at_once(engine: IndexedEngine, clock: Clock) -> None:
    engine.set_expiry_rules([ExpiryRule("", timedelta(seconds=1))])
    for number in range(450):
        put(engine, f"{number}", b"")
    clock.tick(days=1)
    assert sweep(engine, clock) == {**NOTHING, "objects": 450}
    assert keys(engine) == []


def test_old_versions_and_markers_expire_too(versioned: IndexedEngine, clock: Clock) -> None:
    one = put(versioned, "k", b"1")
    put(versioned, "k", b"2")
    versioned.delete("k")
    put(versioned, "kept", b"1")
    clock.tick(days=2)
    kept = put(versioned, "kept", b"2")
    versioned.set_expiry_rules([ExpiryRule("", timedelta(days=1))])
    assert sweep(versioned, clock) == {**NOTHING, "objects": 3, "bytes": 3}
    with pytest.raises(BlobNotFound):
        versioned.head("k", version=one.version)
    assert versioned.head("kept") == kept
    assert versioned.delete("k") == (False, 0)


def test_rules_are_kept_and_replaced(engine: IndexedEngine) -> None:
    rules = [ExpiryRule("a/", timedelta(hours=1)), ExpiryRule("b/", timedelta(days=2))]
    engine.set_expiry_rules(rules)
    assert list(engine.expiry_rules()) == rules
    with pytest.raises(InvalidArgument):
        engine.set_expiry_rules([rules[0], ExpiryRule("a/", timedelta(days=1))])
    assert list(engine.expiry_rules()) == rules
    engine.set_expiry_rules([])
    assert list(engine.expiry_rules()) == []
    with pytest.raises(InvalidArgument):
        ExpiryRule("a/", timedelta(0))


def test_a_session_is_abandoned_by_its_last_chunk_not_by_its_start(engine: IndexedEngine, clock: Clock) -> None:
    dead, alive = begin(engine), begin(engine)
    send(engine, dead, 1, b"0123")
    clock.tick(days=5)
    send(engine, alive, 1, b"0123")
    clock.tick(days=3)
    assert sweep(engine, clock, sessions=timedelta(days=7)) == {**NOTHING, "sessions": 1, "bytes": 4}
    assert [item.upload_id for item in engine.sessions("")] == [alive.upload_id]


def test_left_over_files_go_and_files_in_use_stay(tmp_path: Path, clock: Clock) -> None:
    engine = FileEngine(tmp_path / "s", clock=clock)
    put(engine, "k", b"data")
    state = begin(engine)
    send(engine, state, 1, b"0123")
    (tmp_path / "s/objects/ab").mkdir(exist_ok=True)
    (tmp_path / "s/objects/ab" / ("0" * 30)).write_bytes(b"12345")
    (tmp_path / "s/incoming/abc").write_bytes(b"123")
    assert sweep(engine, clock) == NOTHING
    assert sweep(engine, clock, temps=-LONG_AGO) == {**NOTHING, "files": 2, "bytes": 8}
    assert get(engine, "k") == b"data"
    send(engine, state, 2, b"4567")
    engine.close()


def test_a_write_whose_bytes_were_swept_fails_and_leaves_what_was_there(tmp_path: Path, clock: Clock) -> None:
    engine = FileEngine(tmp_path / "s", clock=clock)
    put(engine, "k", b"before")
    with engine.incoming("k", Attributes(), Wanted()) as incoming:
        incoming.write(b"data")
        assert sweep(engine, clock, temps=-LONG_AGO) == {**NOTHING, "files": 1, "bytes": 4}
        with pytest.raises(Unavailable):
            incoming.commit()
    assert get(engine, "k") == b"before"
    engine.close()


@pytest.mark.parametrize("what", ["object", "session", "chunk"])
def test_what_is_swept_between_its_file_and_its_row_fails_and_leaves_what_was_there(
    what: str, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FileEngine(tmp_path / "s", clock=clock)
    put(engine, "k", b"before")
    state = begin(engine)
    held = send(engine, state, 1, b"0123")
    sync_dir = disk.sync_dir

    def sweeping(path: Path) -> None:
        sync_dir(path)
        if path.parent.name == "objects":
            sweep(engine, clock, temps=-LONG_AGO)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "sync_dir", sweeping)
        calls: dict[str, Callable[[], object]] = {
            "object": lambda: put(engine, "k", b"after"),
            "session": lambda: begin(engine),
            "chunk": lambda: send(engine, state, 1, b"xxxx"),
        }
        with pytest.raises(Unavailable, match="swept"):
            calls[what]()
    assert get(engine, "k") == b"before"
    assert engine.held(state.upload_id) == [held]
    assert len(list(engine.sessions(""))) == 1
    engine.close()


def test_an_older_version_comes_back_when_a_clock_that_went_backwards_made_the_current_one_expire_first(
    versioned: IndexedEngine, clock: Clock
) -> None:
    put(versioned, "k", b"first")
    clock.tick(days=-10)
    put(versioned, "k", b"second")
    clock.tick(days=10)
    versioned.set_expiry_rules([ExpiryRule("", timedelta(days=5))])
    assert sweep(versioned, clock) == {**NOTHING, "objects": 1, "bytes": 6}
    assert get(versioned, "k") == b"first"
