"""Pure parts: concurrency, bandwidth, digests put together, what may be resumed of a download."""

from __future__ import annotations

import errno
import gzip
import io
import os
import ssl
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobkit import errors
from blobkit.blobs import Checksum
from blobkit.transfer import Bandwidth, Patience, Progress, Stop, download, stream, upload
from blobkit.transfer.crc import COMBINABLE, combine
from blobkit.transfer.pace import Climb
from blobkit.transfer.sinks import PipeSink

from .certificates import certified
from .storage import Handler, Storage, serving
from .test_upload import Waits, parts, sequential, single

DATA = os.urandom(100_000)


@pytest.fixture
def storage() -> Iterator[Storage]:
    with serving() as served:
        served.object = DATA
        yield served


# --- pace ---


def rounds(climb: Climb, rate: Callable[[int], float], count: int) -> None:
    """Chunks of one MiB, moved at a rate that depends on how many move at once."""
    now = 0.0
    climb.begun(now)
    for _ in range(count):
        for _ in range(climb.limit):
            now += (1 << 20) / rate(climb.limit)
            climb.finished(1 << 20, now)


@pytest.mark.parametrize(("best", "expected"), [(2, range(3, 7)), (9, range(9, 14)), (100, range(16, 17))])
def test_concurrency_climbs_as_long_as_it_helps(best: int, expected: range) -> None:
    climb = Climb(16, 4)
    rounds(climb, lambda limit: min(limit, best) * 1e6, 20)
    assert climb.limit in expected


def test_a_refusal_halves_it_once_a_round_and_calm_brings_it_back() -> None:
    climb = Climb(16, 16)
    climb.refused()
    climb.refused()
    assert climb.limit == 8
    rounds(climb, lambda limit: 1e6, 12)
    assert 8 < climb.limit <= 16


@given(st.lists(st.sampled_from(["done", "refused"]), max_size=200), st.integers(1, 16), st.integers(1, 32))
def test_it_stays_between_one_and_the_most(events: list[str], most: int, start: int) -> None:
    climb, now = Climb(most, start), 0.0
    climb.begun(now)
    for event in events:
        now += 0.1
        climb.finished(1000, now) if event == "done" else climb.refused()
        assert 1 <= climb.limit <= most


@given(st.lists(st.tuples(st.integers(1, 10_000), st.floats(0, 5)), min_size=1, max_size=50))
def test_bandwidth_is_never_exceeded_over_time(moves: list[tuple[int, float]]) -> None:
    now = 0.0
    limit, moved = Bandwidth(1000, lambda: now), 0
    for size, pause in moves:
        now += pause
        now += limit.due(size)  # waited out
        assert moved <= 1000 * (now + 1.0) + 1e-6
        moved += size
    with pytest.raises(errors.InvalidArgument):
        Bandwidth(0)


def test_an_upload_waits_for_its_bandwidth(storage: Storage) -> None:
    now, waited = 0.0, []
    bandwidth = Bandwidth(1_000_000, lambda: now)
    real = bandwidth.due

    def due(size: int) -> float:
        waited.append(real(size))
        return 0.0

    bandwidth.due = due  # type: ignore[method-assign]  # a spy
    upload(DATA, parts(storage), bandwidth=bandwidth, concurrency=1)
    assert max(waited) == pytest.approx(len(DATA) / 1_000_000, rel=0.2)


# --- digests ---


@given(
    st.sampled_from(sorted(COMBINABLE.keys() - {"crc64nvme"})),
    st.binary(max_size=300),
    st.binary(max_size=300),
)
def test_crcs_are_put_together_as_if_read_in_a_row(algorithm: str, first: bytes, second: bytes) -> None:
    def of(data: bytes) -> bytes:
        return Checksum.of(algorithm, data).digest

    assert combine(algorithm, of(first), of(second), len(second)) == of(first + second)
    if algorithm == "crc32":
        assert combine(algorithm, of(first), of(second), len(second)) == zlib.crc32(first + second).to_bytes(4, "big")


@pytest.mark.parametrize("algorithm", ["crc32", "crc32c", "md5", "sha1", "sha256"])
@pytest.mark.parametrize("make", [parts, sequential, single])
@pytest.mark.parametrize("faults", [[], ["503", "drop", "drop-after"]], ids=["calm", "trouble"])
def test_the_checksum_is_that_of_the_source_however_it_moved(
    storage: Storage, algorithm: str, make: Callable[..., object], faults: list[str], tmp_path: Path
) -> None:
    storage.faults.extend(faults)  # type: ignore[arg-type]  # the names of faults
    file = tmp_path / "f"
    file.write_bytes(DATA)
    done = upload(file, make(storage), checksum=algorithm, sleep=Waits(), concurrency=3)  # type: ignore[arg-type]
    assert done.checksum == Checksum.of(algorithm, DATA)
    there = upload(file, parts(storage), held=[1, 4], checksum=algorithm, sleep=Waits())
    assert there.checksum == done.checksum, "of all of it, not of what moved"


@pytest.mark.parametrize("make", [parts, sequential, single])
def test_a_source_that_is_not_what_was_promised_is_never_completed(
    storage: Storage, make: Callable[..., object]
) -> None:
    with pytest.raises(errors.ChecksumMismatch):
        upload(DATA, make(storage), checksum=Checksum.of("sha256", b"other"), sleep=Waits())  # type: ignore[arg-type]
    assert 0 not in storage.chunks, "one request stores nothing: its last block never left"


def test_downloads_are_digested_as_they_come(storage: Storage, tmp_path: Path) -> None:
    for algorithm in ("crc32c", "sha256"):
        storage.faults.extend(["truncate", "503"])
        done = download(storage.url, tmp_path / "f", checksum=algorithm, range_size=9_000, sleep=Waits())
        assert done.checksum == Checksum.of(algorithm, DATA)


# --- downloads that go on ---


def broken_off(storage: Storage, path: Path, ranges: int = 4) -> None:
    """A download that ends after so many ranges."""
    stop = Stop()

    def progress(now: Progress) -> None:
        if now.chunks_done == ranges:
            stop.set()

    with pytest.raises(errors.TransientError):
        download(storage.url, path, resume=True, range_size=10_000, concurrency=1, on_progress=progress, stop=stop)
    assert not path.exists()


def test_only_what_is_missing_comes_again(storage: Storage, tmp_path: Path) -> None:
    broken_off(storage, tmp_path / "f")
    before, seen = len(storage.requests), list[Progress]()
    done = download(storage.url, tmp_path / "f", resume=True, range_size=10_000, on_progress=seen.append)
    assert (done.resumed, len(storage.requests) - before) == (40_000, 6)
    assert (seen[0].bytes_done, seen[-1].bytes_done) == (40_000, 100_000)
    assert all(headers["if-match"] == '"v1"' for _, _, headers in storage.requests[before:])
    assert (tmp_path / "f").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_an_object_that_was_replaced_between_two_runs_is_fetched_anew(storage: Storage, tmp_path: Path) -> None:
    broken_off(storage, tmp_path / "f")
    storage.object, storage.etag = DATA[::-1] + b"x", '"v2"'
    done = download(storage.url, tmp_path / "f", resume=True, range_size=10_000, checksum="crc32c")
    assert (done.resumed, done.checksum) == (0, Checksum.of("crc32c", storage.object))
    assert (tmp_path / "f").read_bytes() == storage.object


def test_what_the_caller_wants_rules_over_what_an_earlier_run_left(storage: Storage, tmp_path: Path) -> None:
    broken_off(storage, tmp_path / "f")
    storage.object, storage.etag = b"new", '"v2"'
    assert download(storage.url, tmp_path / "f", resume=True, etag="v2").size == 3


def test_bytes_that_only_memory_held_are_not_trusted_after_a_restart(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(storage, tmp_path / "f")
    monkeypatch.setattr("blobkit.transfer.parts._boot", lambda: "another boot")
    assert download(storage.url, tmp_path / "f", resume=True).resumed == 0
    assert (tmp_path / "f").read_bytes() == DATA


def test_a_journal_that_says_nonsense_is_nothing_to_go_on_with(storage: Storage, tmp_path: Path) -> None:
    broken_off(storage, tmp_path / "f")
    (journal,) = tmp_path.glob("*.json")
    text = journal.read_text()
    for nonsense in ("", "{}\n", text.replace('"v": 1', '"v": 9'), text.replace('"size": 100000', '"size": 7'), "[\n"):
        journal.write_text(nonsense)
        assert download(storage.url, tmp_path / "f", resume=True).resumed == 0
        assert (tmp_path / "f").read_bytes() == DATA
        (tmp_path / "f").unlink()
        broken_off(storage, tmp_path / "f")


def test_two_at_once_do_not_write_one_file(storage: Storage, tmp_path: Path) -> None:
    inner: list[Path] = []

    def again(now: Progress) -> None:
        if not inner:
            inner.append(tmp_path / "f")
            assert download(storage.url, tmp_path / "f", resume=True).resumed == 0

    download(storage.url, tmp_path / "f", resume=True, range_size=10_000, on_progress=again)
    assert (tmp_path / "f").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_disk_that_fills_up_leaves_nothing(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: object, at: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    for resume in (False, True):
        with pytest.raises(OSError, match="No space"):
            download(storage.url, tmp_path / "f", resume=resume)
    assert list(tmp_path.iterdir()) == []


# --- streams, in both directions ---


class Pipe(io.RawIOBase):
    """A stream that cannot seek, and gives what it likes."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1, /) -> bytes:
        taken, self._rest = self._rest[: min(size, 777)], self._rest[min(size, 777) :]
        return taken


def test_a_stream_needs_a_session(storage: Storage) -> None:
    with pytest.raises(errors.InvalidArgument, match="session"):
        upload(Pipe(DATA), parts(storage))  # type: ignore[arg-type]  # readable in binary


def test_a_pipe_gets_each_byte_once(storage: Storage) -> None:
    storage.faults.extend(["truncate", "503", "drop"])
    out = io.BytesIO()
    done = stream(storage.url, out, checksum=Checksum.of("sha256", DATA), sleep=Waits())
    assert out.getvalue() == DATA
    assert done.checksum == Checksum.of("sha256", DATA)


def test_a_pipe_never_gets_two_contents(storage: Storage) -> None:
    storage.faults.extend(["truncate", "changed"])
    out = io.BytesIO()
    with pytest.raises(errors.SourceChanged):
        stream(storage.url, out, sleep=Waits())
    assert DATA.startswith(out.getvalue())
    with pytest.raises(errors.ChecksumMismatch):
        stream(storage.url, io.BytesIO(), checksum=Checksum.of("md5", b"other"))


def test_a_pipe_that_takes_a_part_gets_the_rest() -> None:
    class Slow(io.RawIOBase):
        def __init__(self) -> None:
            self.got = b""

        def write(self, data: object, /) -> int:
            block = bytes(data)[:3]  # type: ignore[call-overload]  # a buffer
            self.got += block
            return len(block)

    out = Slow()
    sink = PipeSink(out)  # type: ignore[arg-type]  # writable in binary
    sink.write(memoryview(b"0123456789"), 0)
    sink.begin_anew(same=True)
    sink.write(memoryview(b"0123456789abc"), 0)
    assert out.got == b"0123456789abc"
    with pytest.raises(errors.SourceChanged):
        sink.begin_anew(same=False)


# --- what storages do ---


def test_what_is_stored_compressed_arrives_compressed_and_is_said_so(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cloud Storage unpacks for who does not accept gzip, and then knows neither ranges nor lengths."""
    packed = gzip.compress(DATA)
    real = Handler.do_GET

    def do_get(self: Handler) -> None:
        if "gzip" in self.headers.get("accept-encoding", ""):
            self.storage.object = packed
            more = {"content_encoding": "gzip", "x_goog_stored_content_encoding": "gzip"}
            answer = self._answer
            self._answer = lambda status, body=b"", **headers: answer(status, body, **headers, **more)  # type: ignore[method-assign]
            real(self)
            return
        self.send_response(200)
        self.send_header("x-goog-stored-content-encoding", "gzip")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(DATA), DATA))

    monkeypatch.setattr(Handler, "do_GET", do_get)
    done = download(storage.url, tmp_path / "f", range_size=30_000)
    assert (tmp_path / "f").read_bytes() == packed
    assert done.content_encoding == "gzip"


def test_a_storage_that_says_200_to_a_range_is_not_taken_for_whole(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Handler._answer

    def wrong(self: Handler, status: int, body: bytes = b"", **headers: str) -> None:
        answer(self, 200 if status == 206 else status, body, **headers)

    monkeypatch.setattr(Handler, "_answer", wrong)
    download(storage.url, tmp_path / "f", range_size=9_000)
    assert (tmp_path / "f").read_bytes() == DATA


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirection_is_an_error_and_is_not_followed(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    def away(self: Handler) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self._answer(status, b"", location=f"{self.storage.url}/elsewhere?X-Amz-Signature=s3cret")

    monkeypatch.setattr(Handler, "do_GET", away)
    monkeypatch.setattr(Handler, "do_PUT", away)
    with pytest.raises(errors.Unsupported, match=r"redirection to 127\.0\.0\.1") as caught:
        download(storage.url, tmp_path / "f")
    assert "s3cret" not in repr(caught.value)
    with pytest.raises(errors.Unsupported):
        upload(DATA, single(storage))
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_stops_moving_is_given_up_and_the_chunk_started_again(storage: Storage) -> None:
    import threading

    release = threading.Event()
    calls: list[int] = []

    def gate(number: int) -> None:
        calls.append(number)
        if len(calls) == 1:
            release.wait(30)  # the storage says nothing, and does not hang up

    storage.gate = gate
    done = upload(
        DATA, parts(storage), timeout=timedelta(seconds=0.3), sleep=Waits(), concurrency=1, patience=Patience(retries=5)
    )
    release.set()
    assert calls[:2] == [1, 1]
    assert (done.bytes_resent, len(done.receipts)) == (10_000, 10)


def test_stop_ends_a_transfer_that_hangs_at_once(storage: Storage) -> None:
    import threading

    release, stop = threading.Event(), Stop()

    def gate(number: int) -> None:
        stop.set()
        release.wait(30)

    storage.gate = gate
    with pytest.raises(errors.TransientError):
        upload(DATA, parts(storage), stop=stop, timeout=timedelta(seconds=60), concurrency=2)
    release.set()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certified(tmp_path_factory.mktemp("tls") / "both.pem", "localhost")


def test_tls_is_verified_and_carries_all_that_plain_http_does(certificate: Path, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(context) as storage:
        storage.object = DATA
        url = storage.url.replace("http://127.0.0.1", "https://localhost")
        waits = Waits()
        with pytest.raises(errors.ConnectionFailed) as caught:
            download(url, tmp_path / "f", sleep=waits)
        assert (caught.value.retryable, waits, list(tmp_path.iterdir())) == (False, [], [])
        assert "certificate" in (caught.value.hint or "")
        storage.url = url
        trust = ssl.create_default_context(cafile=str(certificate))
        download(url, tmp_path / "f", tls=trust, range_size=10_000)
        assert (tmp_path / "f").read_bytes() == DATA
        upload(tmp_path / "f", parts(storage), tls=trust)
        assert b"".join(storage.chunks[number] for number in sorted(storage.chunks)) == DATA


def test_nothing_but_the_standard_library_moves_the_bytes() -> None:
    code = (
        "import sys, blobkit.transfer\n"
        "bad = {'urllib3', 'requests', 'httpx', 'platformdirs', 'pluggy'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
