"""uploads list | show, reconcile, worker: on a local store and SQLite."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import blobkit
from blobkit.testing.clock import FakeClock
from blobkit.tracking import Tracker

from .conftest import Cli


@pytest.fixture
def records(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """One upload that arrived and of which nobody told, one that did not arrive; its ids."""
    (tmp_path / "blobkit.toml").write_text(f'[stores]\nmedia = "{url}"\n')
    database = f"sqlite:///{tmp_path}/uploads.db"
    monkeypatch.setenv("BLOBKIT_DATABASE", database)

    earlier = FakeClock.ago(timedelta(hours=3))
    with (
        blobkit.open_store(url, clock=earlier) as store,
        Tracker(database, stores={"media": store}, clock=earlier) as tracker,
    ):
        there, _ = tracker.begin(store="media", owner="u1", size=5)
        earlier.advance(timedelta(seconds=1))
        lost, _ = tracker.begin(store="media", owner="u2", size=5)
        store.write(there.key, b"hello")
    return str(there.id), str(lost.id)


def test_uploads_are_listed_newest_first_and_filtered(cli: Cli, records: tuple[str, str]) -> None:
    there, lost = records
    assert [row["id"] for row in cli("uploads", "list", "--json").json] == [lost, there]
    assert [row["id"] for row in cli("uploads", "list", "--owner", "u1", "--json").json] == [there]
    assert cli("uploads", "list", "--state", "available", "--json").json == []
    assert cli("uploads", "list", "--limit", "1").stdout.startswith(f"{lost}  pending")
    assert cli("uploads", "list", "--state", "lost").code == 2


def test_an_upload_is_shown_with_what_was_told_of_it(cli: Cli, records: tuple[str, str]) -> None:
    there, _ = records
    assert cli("reconcile", "--no-sweep").code == 0
    shown = cli("uploads", "show", there, "--json").json
    assert (shown["state"], shown["size"]) == ("available", 5)
    assert [(entry["kind"], entry["delivery"]) for entry in shown["history"]] == [("available", "waiting")]
    assert "available" in cli("uploads", "show", there).stdout
    assert cli("uploads", "show", "0" * 32).code == 4


def test_reconcile_rehearses_and_then_does_it(cli: Cli, records: tuple[str, str]) -> None:
    _, lost = records
    plan = cli("reconcile", "--dry-run", "--json").json
    assert plan["changes"] == {"accepted": 1, "lapsed": 1}
    assert lost in cli("reconcile", "--dry-run").stdout
    assert {row["state"] for row in cli("uploads", "list", "--json").json} == {"pending"}
    assert cli("reconcile", "--json", "--owned", "media:uploads/", "--sweep").json["changes"] == plan["changes"]
    assert cli("uploads", "show", lost, "--json").json["state"] == "expired"
    assert cli("reconcile", "--owned", "media").code == 2


def test_what_could_not_be_dealt_with_is_said_and_is_no_success(
    cli: Cli, records: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "blobkit.toml").write_text("[stores]\n")
    done = cli("reconcile")
    assert done.code == 9
    assert "failed:" in done.stderr


def test_the_worker_tells_its_handler(cli: Cli, records: tuple[str, str]) -> None:
    done = cli("worker", "--once", "--print")
    assert done.code == 0
    assert sorted(json.loads(line)["kind"] for line in done.stdout.splitlines()) == ["available", "expired"]
    assert cli("worker", "--once", "--print").stdout == ""
    assert cli("worker", "--once", "--handler", "no.such:thing").code == 3
    assert cli("worker", "--once", "--print", "--handler", "json:dumps").code == 2


def test_the_records_have_to_be_named(cli: Cli) -> None:
    done = cli("uploads", "list", env={"BLOBKIT_DATABASE": ""})
    assert done.code == 3
    assert "BLOBKIT_DATABASE" in done.stderr


def test_the_worker_stops_when_it_is_told_to(cli: Cli, records: tuple[str, str], tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("blobkit")), "worker", "--print"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        kinds = sorted(json.loads(process.stdout.readline())["kind"] for _ in range(2))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, kinds) == (0, ["available", "expired"])
    assert "stopped" in said


def test_the_worker_hears_the_events_of_a_queue(cli: Cli, url: str, tmp_path: Path, records: tuple[str, str]) -> None:
    database = f"sqlite:///{tmp_path}/uploads.db"
    path = url.partition("?")[0]
    command = [
        str(Path(sys.executable).with_name("blobkit")), "worker", "--print", "--every", "1h",
        "--events", f"{path}?consumer=worker",
    ]  # fmt: skip
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert "working" in process.stderr.readline()  # its queue is known from now on
        with (
            blobkit.open_store(url) as store,
            Tracker(database, stores={"media": store}) as tracker,
        ):
            upload, _ = tracker.begin(store="media", owner="u3", size=5)
            store.write(upload.key, b"hello")
        told = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert (str(upload.id), "available") in {(line["upload"], line["kind"]) for line in told}
