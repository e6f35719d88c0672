"""The journal: what is kept and what is not, who may be at it, and uploads whose process is killed at any byte."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import blobkit
from blobkit import errors
from blobkit.serving import serve_in_thread
from blobkit.store import Store
from blobkit.transfer import Progress, Stop
from blobkit.transfer.journal import Journal, fingerprint
from blobkit.transfer.resumable import put_file
from blobkit.transfer.upload import Options

SECRET = "t0ken-c4n4ry"
TARGET = {"store": "local:///x", "key": "k"}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(random.Random(3).randbytes(3_000_000))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with serve_in_thread(lambda at: blobkit.open_store(f"local://{tmp_path}/store?public_endpoint={at}")) as opened:
        yield opened


def test_what_was_begun_is_found_by_the_next_process(journal: Journal, file: Path, tmp_path: Path) -> None:
    with journal.record(file, TARGET) as record:
        assert not record.known
        record.begin(3, {"token": SECRET})
        record.receipt(2, "e2")
    with Journal(tmp_path / "state").record(file, TARGET) as record:
        assert (record.known, record.changed, record.secrets, record.receipts) == (
            True, False, {"token": SECRET}, {2: "e2"},
        )  # fmt: skip
        record.forget()
    assert journal.entries() == []


def test_nothing_in_it_grants_access_and_nobody_else_may_read_it(journal: Journal, file: Path, tmp_path: Path) -> None:
    with journal.record(file, TARGET) as record:
        record.begin(3, {"token": SECRET})
    (path,) = (tmp_path / "state" / "uploads").iterdir()
    assert SECRET not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "state/journal.key").stat().st_mode) == 0o600
    (tmp_path / "state" / "journal.key").write_bytes(os.urandom(32))
    with journal.record(file, TARGET) as record:
        assert not record.known, "without its key it says nothing"


def test_half_a_line_of_a_killed_process_is_no_receipt(journal: Journal, file: Path, tmp_path: Path) -> None:
    with journal.record(file, TARGET) as record:
        record.begin(3, {"token": SECRET})
        record.receipt(1, "e1")
    (path,) = (tmp_path / "state" / "uploads").iterdir()
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with journal.record(file, TARGET) as record:
            assert record.known is (cut >= whole.index(b"\n"))
            assert record.receipts in ({}, {1: "e1"})


def test_one_process_at_a_time(journal: Journal, file: Path, tmp_path: Path) -> None:
    with journal.record(file, TARGET) as record:
        record.begin(3, {"token": SECRET})
        with pytest.raises(errors.TransientError, match="another process"):
            Journal(tmp_path / "state").record(file, TARGET)
        with journal.record(file, {**TARGET, "key": "other"}) as other:
            assert not other.known
    with journal.record(file, TARGET) as record:
        assert record.known


def test_another_content_is_noticed(journal: Journal, file: Path) -> None:
    with journal.record(file, TARGET) as record:
        record.begin(3, {"token": SECRET})
    before = fingerprint(file)
    file.write_bytes(b"another")
    assert fingerprint(file) != before
    with journal.record(file, TARGET) as record:
        assert record.changed


def put(store: Store, journal: Journal, file: Path, options: Options | None = None) -> object:
    return put_file(store, "k", file, journal=journal, target=TARGET, chunk_size=200_000, options=options)


def stopped(store: Store, journal: Journal, file: Path, chunks: int) -> None:
    """A run that ends after so many chunks."""
    stop = Stop()

    def progress(now: Progress) -> None:
        if now.chunks_done == chunks:
            stop.set()

    with pytest.raises(errors.TransientError):
        put(store, journal, file, Options(stop=stop, on_progress=progress, concurrency=1))


def test_only_what_is_missing_moves_and_the_receipts_are_those_of_all_runs(
    store: Store, journal: Journal, file: Path
) -> None:
    stopped(store, journal, file, 5)
    stopped(store, journal, file, 9)
    stored = put_file(store, "k", file, journal=journal, target=TARGET)
    assert (stored.resumed, stored.result.chunks_sent) == (True, 6)
    assert store.read("k") == file.read_bytes()


def test_two_that_go_on_with_one_upload_never_mix_their_bytes(
    store: Store, journal: Journal, file: Path, tmp_path: Path
) -> None:
    """Another machine has the same token and another file of the same size: one of them wins, whole."""
    from blobkit.transfer import upload
    from blobkit.transfer.completing import complete

    stopped(store, journal, file, 5)
    with journal.record(file, TARGET) as record:
        token = record.secrets["token"]
    other = file.read_bytes()[::-1]
    session = store.resume_upload(token)
    receipts = upload(other, session, again=range(1, 16)).receipts
    stored = put(store, journal, file)
    assert stored is not None
    assert store.read("k") == file.read_bytes()
    complete(other, session, receipts)  # idempotent: it tells of the object that won, and changes nothing
    assert store.read("k") == file.read_bytes()


def test_two_at_once_end_in_one_whole_object(store: Store, journal: Journal, file: Path, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from blobkit.transfer import upload
    from blobkit.transfer.completing import complete

    session = store.start_upload("k", size=file.stat().st_size, chunk_size=200_000)
    token, contents = session.token.reveal(), [file.read_bytes(), file.read_bytes()[::-1]]

    def one(data: bytes) -> bool:
        mine = store.resume_upload(token)
        try:
            complete(data, mine, upload(data, mine, again=range(1, 16)).receipts)
        except errors.BlobkitError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        won = list(pool.map(one, contents))
    if store.exists("k"):
        assert store.read("k") in contents
    assert store.exists("k") is any(won)


def test_a_store_without_a_key_uploads_and_cannot_be_resumed(
    store: Store, journal: Journal, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blobkit.session import UploadSession

    def missing(self: UploadSession) -> object:
        raise errors.SealingKeyMissing("no key")

    monkeypatch.setattr("blobkit.calling.Calls.can_seal", lambda self: False)
    monkeypatch.setattr(UploadSession, "token", property(missing))
    put(store, journal, file)
    assert store.read("k") == file.read_bytes()
    assert list(store.list_uploads()) == []
    assert journal.entries() == []


SCRIPT = """
import sys
import blobkit
from blobkit.transfer.journal import Journal
from blobkit.transfer.resumable import put_file
from blobkit.transfer.upload import Options
url, state, file, rate = sys.argv[1:]
from pathlib import Path
print("ready", flush=True)
with blobkit.open_store(url) as store:
    ways = Options(concurrency=4, bandwidth=float(rate), on_progress=lambda now: print(now.bytes_done, flush=True))
    put_file(store, "k", file, journal=Journal(Path(state)), target={"store": "local:///x", "key": "k"},
             chunk_size=200_000, options=ways)
print("done", flush=True)
"""


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_byte_and_again_it_goes_on(
    store: Store, journal: Journal, file: Path, tmp_path: Path, seed: int
) -> None:
    chance, size = random.Random(seed), file.stat().st_size
    url = f"local://{tmp_path}/store?public_endpoint={store.config.text('public_endpoint')}"
    words = [sys.executable, "-c", SCRIPT, url, str(tmp_path / "state"), str(file), "20000000"]
    reached = 0
    for _ in range(2):
        limit = chance.randrange(reached, size)
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip().isdecimal() and int(line) >= limit:
                    process.kill()
                    break
        assert process.returncode == -signal.SIGKILL
        assert not store.exists("k")
        with journal.record(file, TARGET) as record:
            status = store.resume_upload(record.secrets["token"]).status()
        reached = status.received_bytes
    due = size - reached
    stored = put_file(store, "k", file, journal=journal, target=TARGET)
    assert stored.resumed
    in_flight = 2 * 4 * 200_000  # held, and not noted when one of the two died: whose they are nobody knows
    assert stored.result.bytes_sent - stored.result.bytes_resent <= due + in_flight
    assert store.read("k") == file.read_bytes()
    assert list(store.list_uploads()) == []
