"""The demo, end to end in a process of its own; and that it fails when what it shows does not hold."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from blobkit import open_store
from blobkit.cli.app import build
from blobkit.cli.demo import client, flow
from blobkit.cli.demo.service import Service
from blobkit.errors import AlreadyExists
from blobkit.session import UploadSession
from blobkit.store import Store

BLOBKIT = str(Path(sys.executable).parent / "blobkit")
STEPS = [
    "begin an upload",
    "upload from another process, SIGKILL it",
    "ask the store, from the token alone",
    "resume: only what is missing moves",
    "complete: the object appears",
    "complete again: nothing happens twice",
    "the event",
    "download by signed URL, in parallel ranges",
    "compare SHA-256",
    "a tampered URL is refused",
    "an expired URL is refused",
    "a second upload with if_absent is refused",
]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """An empty directory for temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def demo(scratch: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BLOBKIT, "demo", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "TMPDIR": str(scratch), "COLUMNS": "200"},
    )


def in_process(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(build(["demo"]), ["demo", "--size", "4MiB", *words], prog_name="blobkit")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout + done.stderr


def steps_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    data = json.loads(done.stdout)
    assert data["ok"] is (done.returncode == 0)
    return list(data["steps"])


def test_the_whole_road_is_walked_with_a_crash_in_the_middle(scratch: Path) -> None:
    done = demo(scratch, "--size", "48MiB")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("ok ")]
    assert [any(step in line for line in lines) for step in STEPS] == [True] * len(STEPS)
    assert "all of it held: 14 steps" in done.stdout
    assert "bk-sig" not in done.stdout + done.stderr
    assert done.stderr == ""
    assert list(scratch.iterdir()) == []


def test_only_what_is_missing_moves_again(scratch: Path) -> None:
    size = 32 << 20
    steps = steps_of(demo(scratch, "--size", "32MiB", "--json"))
    moved = {step["step"]: step["bytes"] for step in steps if step["ok"] and not step["skipped"]}
    assert [step for step in moved if step in STEPS] == STEPS
    first, second = moved[STEPS[1]], moved[STEPS[3]]
    assert 0 < second < size
    assert size <= first + second
    assert moved[STEPS[7]] == moved[STEPS[8]] == size


@pytest.mark.parametrize(
    "url",
    [
        "memory://demo",
        "local://{}/s?commit=last_chunk&sequential=true&chunk_grant=object",
        "local://{}/s?versioning=on&prefix=a/",
    ],
)
def test_it_runs_on_other_stores_and_leaves_nothing_there(scratch: Path, tmp_path: Path, url: str) -> None:
    where = url.format(tmp_path)
    steps = steps_of(demo(scratch, "--size", "8MiB", "--store", where, "--json"))
    assert [step["step"] for step in steps if step["ok"] and not step["skipped"] and step["step"] in STEPS] == STEPS
    with open_store(where) as store:
        assert list(store.list()) == []
        assert list(store.list_uploads()) == []


def test_a_users_own_file_is_only_read(scratch: Path, tmp_path: Path) -> None:
    own = tmp_path / "Ferien é.webm"
    data = os.urandom(3_000_001)
    own.write_bytes(data)
    for words in ([str(own)], ["--file", str(own)]):
        done = demo(scratch, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "2.9 MiB" in done.stdout
        assert "video/webm" in done.stdout
    assert own.read_bytes() == data


@pytest.mark.parametrize(
    "words", [["--size", "1000"], ["--size", "1EB"], ["x.bin", "--file", "y.bin"], ["--size", "900TiB"]]
)
def test_what_cannot_be_shown_is_refused_before_anything_is_made(scratch: Path, words: list[str]) -> None:
    done = demo(scratch, *words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("blobkit: ")
    assert list(scratch.iterdir()) == []


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def until(met: Callable[[], bool]) -> bool:
    end = time.monotonic() + 120
    while not met() and time.monotonic() < end:
        time.sleep(0.005)
    return met()


@pytest.fixture
def heeding_interrupts() -> Iterator[None]:
    """A shell's background job ignores SIGINT, and so would every process that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
@pytest.mark.usefixtures("heeding_interrupts")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_neither_files_nor_processes(scratch: Path, ending: signal.Signals) -> None:
    words = [BLOBKIT, "demo", "--size", "64MiB"]
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(scratch)}
    ) as run:
        try:
            assert until(lambda: bool(children_of(run.pid)))
            children = children_of(run.pid)
            run.send_signal(ending)
            _, said = run.communicate(timeout=60)
        finally:
            run.kill()
    assert run.returncode == 130, said
    assert said == b"interrupted\n"
    assert list(scratch.iterdir()) == []
    assert until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


# --- the demo would notice --------------------------------------------------------------------------------------------


def refused(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    code, said = in_process()
    assert code == 1, said
    assert why in said
    assert "FAILED" in said
    assert "all of it held" not in said


def test_it_fails_when_a_bad_url_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "_other_signature", lambda url: url)
    refused(monkeypatch, "a changed signature was answered 206")


def test_it_fails_when_an_expired_url_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    from blobkit.cli.demo.place import Place

    monkeypatch.setattr(Place, "in_the_past", lambda self, ago: self.afresh())
    refused(monkeypatch, "an expired URL was answered 206")


def test_it_fails_when_the_bytes_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "digest_of", lambda path, progress: bytes(32))
    refused(monkeypatch, "the bytes differ")


def test_it_fails_when_everything_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, lambda answer: {**answer, "received": []} if "received" in answer else answer)
    refused(monkeypatch, "were missing")


def test_it_fails_when_the_client_begins_anew_instead_of_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, lambda answer: {**answer, "state": "gone"} if "state" in answer else answer)
    refused(monkeypatch, "another upload was begun, and one was to be resumed")


def answering(monkeypatch: pytest.MonkeyPatch, otherwise: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """What the demo's service says becomes something else."""
    real = Service.answer
    monkeypatch.setattr(Service, "answer", lambda self, *asked: otherwise(dict(real(self, *asked))))


def test_it_fails_when_an_object_is_there_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "exists", lambda self, key: True)
    refused(monkeypatch, "there is an object before complete()")


def test_it_fails_when_a_second_upload_may_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Store.start_upload

    def lax(self: Store, key: str, **given: Any) -> UploadSession:
        try:
            return real(self, key, **given)
        except AlreadyExists:
            return real(self, key, **{**given, "if_absent": False})

    monkeypatch.setattr(Store, "start_upload", lax)
    refused(monkeypatch, "a second session began")


def test_it_fails_when_completing_twice_makes_two_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    real = UploadSession.complete

    def again(self: UploadSession, *args: Any, **given: Any) -> Any:
        info = real(self, *args, **given)
        self._calls.backend.copy(self._target, self._target, pin=None, if_absent=False)
        return info

    monkeypatch.setattr(UploadSession, "complete", again)
    refused(monkeypatch, "not what complete() said")


def test_it_fails_when_no_event_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    from blobkit_local.backend import LocalBackend

    monkeypatch.setattr(LocalBackend, "subscribe", lambda self, listener: lambda: None)
    refused(monkeypatch, "0 events of one object")


def test_a_client_that_cannot_work_is_told_with_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(
        monkeypatch,
        lambda answer: {**answer, "url": answer["url"].replace("bk-sig=", "bk-sig=0")} if "url" in answer else answer,
    )
    refused(monkeypatch, "the client ended with status 1: the storage answered 403")


def test_a_client_that_is_faster_than_the_signal_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    real = client.Client.kill_at
    limits: list[int] = []

    def late(self: client.Client, limit: int, progress: Callable[[int], None]) -> int:
        limits.append(limit)
        return real(self, limit if len(limits) > 1 else 1 << 40, progress)

    monkeypatch.setattr(client.Client, "kill_at", late)
    code, said = in_process()
    assert code == 0, said
    assert limits == [2 << 20, 1 << 20]
    assert "had sent everything before the signal came" in said


@pytest.fixture(autouse=True)
def no_client_survives() -> Iterator[None]:
    """Whatever happened, this process has no child left."""
    before = set(children_of(os.getpid()))
    yield
    assert set(children_of(os.getpid())) <= before
