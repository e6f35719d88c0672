"""A crash, a full disk or a failing one at any step loses nothing that was answered and shows nothing half made."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.local.crash import WORKLOADS, check_leftovers, expected, open_engine, snapshot, stepping
from tests.unit.local.helpers import Clock, get, put

from blobkit_local.durable import FileEngine

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_crash_at_any_step_loses_nothing_answered_and_leaves_only_what_a_sweep_removes(
    workload: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.local.crash", workload, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["wrong"] == []
    assert report["died"] == report["points"] > 30


def failure(call: Callable[[FileEngine], object], engine: FileEngine) -> OSError | None:
    """What the call raised, if it is the system's."""
    try:
        call(engine)
    except OSError as error:
        return error
    return None


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_full_disk_at_any_step_fails_that_call_alone(workload: str, tmp_path: Path) -> None:
    manners, calls = WORKLOADS[workload]
    snapshots, steps = expected(workload, tmp_path / "clean")
    with stepping(lambda *_: None) as opening:
        open_engine(tmp_path / "clean2", manners).close()
    failed = 0
    for number in range(len(opening), len(steps)):
        root = tmp_path / f"s{number}"
        armed = True

        def full(at: int, when: str, name: str, number: int = number) -> None:
            nonlocal armed
            if armed and (at, when) == (number, "before"):
                armed = False
                raise OSError(errno.ENOSPC, "No space left on device")

        with stepping(full):
            engine = open_engine(root, manners)
            for place, call in enumerate(calls):
                was_armed = armed
                problem = failure(call, engine)
                if problem is not None:
                    assert (was_armed, armed) == (True, False)
                    failed += 1
                    assert problem.errno == errno.ENOSPC
                    assert snapshot(engine) in snapshots[place : place + 2]
                    if snapshot(engine) == snapshots[place]:
                        call(engine)  # the same call succeeds when there is room again
                assert snapshot(engine) == snapshots[place + 1]
            armed = False
            assert check_leftovers(engine) == []
            engine.close()
    assert failed > 5


def test_bytes_are_durable_before_their_name_and_both_before_the_index_says_so(tmp_path: Path) -> None:
    engine = FileEngine(tmp_path / "s", clock=Clock())
    for folder in range(256):
        (tmp_path / f"s/objects/{folder:02x}").mkdir()
    with stepping(lambda *_: None) as steps:
        put(engine, "k", b"data")
    assert steps == ["create", "write", "sync", "publish", "sync_dir", "commit"]
    engine.close()


def test_a_write_that_the_system_cuts_short_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    monkeypatch.setattr("blobkit_local.disk.os.write", lambda fd, data: whole(fd, bytes(data)[:3]))
    engine = FileEngine(tmp_path / "s", clock=Clock())
    put(engine, "k", b"0123456789")
    assert get(engine, "k") == b"0123456789"
    engine.close()
