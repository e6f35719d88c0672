"""Executing plans: everything that may go wrong on the way, and what must never leak."""

from __future__ import annotations

import dataclasses
import gzip
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blobkit import errors
from blobkit.chunking import ChunkLimits, plan
from blobkit.plans import PlanChunk, PlanChunks, PlanLimits, PlanLinks, PlanRequest, UploadPlan
from blobkit.signed import Receipt
from blobkit.transfer import Progress, upload
from blobkit.transfer.retry import Patience, retry_after
from blobkit.transfer.source import BLOCK

from .storage import SIGNATURE, Fault, Handler, Storage, serving

LATER = datetime.now(UTC) + timedelta(hours=1)
DATA = os.urandom(100_000)
_MANY: list[Fault] = ["503"] * 50
LIMITS = ChunkLimits(min_chunk=1, max_count=1000)


@pytest.fixture
def storage() -> Iterator[Storage]:
    with serving() as served:
        yield served


def chunk_url(storage: Storage, number: int) -> str:
    return f"{storage.url}/k?n={number}&X-Amz-Signature={SIGNATURE}"


def parts(storage: Storage, data: bytes = DATA, chunk_size: int = 10_000, sign: str = "inline") -> UploadPlan:
    cut = plan(len(data), LIMITS, chunk_size=chunk_size)
    items = [PlanChunk(c.number, c.offset, c.size, "PUT", chunk_url(storage, c.number), {}, LATER) for c in cut]
    return UploadPlan(
        id="u", key="k", expires_at=LATER, content_type=None, size=len(data), strategy="parts",
        parts=PlanChunks(chunk_size, len(cut), 1, 1000, 1, False, "any", sign, items if sign == "inline" else [],  # type: ignore[arg-type]
                         Receipt("header", "ETag", required=True), (200,)),
        links=PlanLinks(sign="/sign/{n}"),
    )  # fmt: skip


def sequential(storage: Storage, data: bytes = DATA, chunk_size: int = 30_000) -> UploadPlan:
    cut = plan(len(data), LIMITS, chunk_size=chunk_size)
    url = f"{storage.url}/k?session=1&upload_id={SIGNATURE}"
    items = [PlanChunk(c.number, c.offset, c.size, "PUT", url, {}, LATER) for c in cut]
    return UploadPlan(
        id="u", key="k", expires_at=LATER, content_type=None, size=len(data), strategy="session",
        parts=PlanChunks(chunk_size, len(cut), 1, None, 1, True, "sequential", "inline", items,
                         Receipt("range", None), (200, 201), 308, content_range=True),
    )  # fmt: skip


def single(storage: Storage, method: str = "PUT", fields: dict[str, str] | None = None) -> UploadPlan:
    request = PlanRequest(method, chunk_url(storage, 0), {"content-type": "image/png"}, fields, (200, 201), LATER)
    return UploadPlan(
        id="u",
        key="k",
        expires_at=LATER,
        content_type="image/png",
        size=None,
        strategy="single",
        single=request,
        overwrite="deny",
    )


def assembled(storage: Storage) -> bytes:
    return b"".join(storage.chunks[number] for number in sorted(storage.chunks))


class Waits(list[float]):
    """Instead of sleeping."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def test_chunks_arrive_whole_and_their_receipts_come_back(storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(DATA)
    seen: list[Progress] = []
    result = upload(file, parts(storage).as_json(), on_progress=seen.append)
    assert assembled(storage) == DATA
    assert result.receipts == {number: f"e{number}" for number in range(1, 11)}
    assert (result.bytes_sent, result.bytes_resent, result.chunks_sent) == (100_000, 0, 10)
    assert (seen[-1].bytes_done, seen[-1].bytes_total, seen[-1].chunks_done) == (100_000, 100_000, 10)


def test_only_what_is_missing_moves(storage: Storage) -> None:
    result = upload(DATA, parts(storage), held=[1, 2, 10])
    assert sorted(storage.chunks) == list(range(3, 10))
    assert result.bytes_sent == 70_000


@pytest.mark.parametrize("fault", ["503", "429", "drop", "drop-after"])
def test_a_passing_failure_is_tried_again(storage: Storage, fault: Fault) -> None:
    storage.faults.extend((fault, fault))
    waits = Waits()
    result = upload(DATA, parts(storage), sleep=waits, concurrency=1)
    assert assembled(storage) == DATA
    assert len(waits) == 2
    assert result.bytes_resent == 20_000
    if fault in ("503", "429"):
        assert waits == [7.0, 7.0], "the server said when to come back"


@pytest.mark.parametrize(
    ("fault", "error"),
    [("404", errors.SessionNotFound), ("412", errors.PreconditionFailed), ("403", errors.PermissionDenied)],
)
def test_a_refusal_is_final(storage: Storage, fault: Fault, error: type[errors.BlobkitError]) -> None:
    storage.faults.append(fault)
    waits = Waits()
    with pytest.raises(error) as caught:
        upload(DATA, parts(storage), sleep=waits, concurrency=1)
    assert caught.value.code == "AccessDenied"
    assert waits == []
    assert len(storage.requests) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [("501", errors.Unavailable), ("digest", errors.ChecksumMismatch), ("exists", errors.AlreadyExists)],
)
def test_what_waiting_cannot_change_is_not_tried_again(
    storage: Storage, fault: Fault, error: type[errors.BlobkitError]
) -> None:
    storage.faults.append(fault)
    waits = Waits()
    with pytest.raises(error) as caught:
        upload(DATA, single(storage), sleep=waits)
    assert (waits, caught.value.retryable, len(storage.requests)) == ([], False, 1)


def test_a_refusal_in_the_middle_of_the_body_is_heard(storage: Storage) -> None:
    storage.faults.append("early-403")
    with pytest.raises(errors.PermissionDenied) as caught:
        upload(bytes(32 * BLOCK), single(storage), sleep=Waits())
    assert caught.value.code == "AccessDenied"


def test_a_chunk_that_waits_does_not_hold_up_the_failure_of_another(storage: Storage) -> None:
    waiting = threading.Event()

    class Long(Patience):
        def wait(self, attempt: int, error: errors.BlobkitError, asked: float | None = None) -> float | None:
            if not error.retryable:
                return None
            waiting.set()
            return 3600.0

    def gate(number: int) -> None:
        assert waiting.wait(30)  # until the other one has begun its hour
        storage.faults.append("404")

    storage.gate = gate
    storage.faults.append("503")
    with pytest.raises(errors.SessionNotFound):
        upload(DATA, parts(storage), patience=Long(), concurrency=2)


def test_patience_ends(storage: Storage) -> None:
    storage.faults.extend(_MANY)
    with pytest.raises(errors.Unavailable):
        upload(DATA, parts(storage), sleep=Waits(), patience=Patience(retries=3), concurrency=1)
    assert len(storage.requests) == 4


def test_the_first_failure_is_the_one_that_is_told(storage: Storage) -> None:
    storage.faults.append("404")
    with pytest.raises(errors.SessionNotFound):
        upload(DATA, parts(storage, chunk_size=1000), sleep=Waits(), concurrency=8)


def test_a_url_that_expired_on_the_way_is_signed_anew(storage: Storage) -> None:
    storage.faults.append("403")
    asked: list[list[int]] = []

    def sign(numbers: Sequence[int]) -> Iterable[PlanChunk]:
        asked.append(list(numbers))
        return [PlanChunk(n, 0, 0, "PUT", chunk_url(storage, n), {}, LATER) for n in numbers]

    upload(DATA, parts(storage, sign="lazy"), sign=sign, concurrency=1)
    assert assembled(storage) == DATA
    assert asked[0] == list(range(1, 11)), "chunks are signed some at a time"
    assert asked[1] == [1]


def test_a_url_that_ends_soon_is_replaced_before_it_is_used(storage: Storage) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=5)
    ending = parts(storage, DATA[:10_000])
    assert ending.parts is not None
    old = dataclasses.replace(ending.parts.items[0], url=f"{storage.url}/old", expires_at=soon)
    ending = dataclasses.replace(ending, parts=dataclasses.replace(ending.parts, items=[old]))
    upload(DATA[:10_000], ending, sign=lambda numbers: parts(storage, DATA[:10_000]).parts.items)  # type: ignore[union-attr]
    assert "/old" not in storage.requests[0][1]


def test_a_lazy_plan_without_a_signer_says_so(storage: Storage) -> None:
    with pytest.raises(errors.InvalidArgument, match="lazy"):
        upload(DATA, parts(storage, sign="lazy"))


def test_a_storage_that_gives_no_receipt_is_not_believed(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    from . import storage as module

    original = module.Handler._answer
    monkeypatch.setattr(
        module.Handler, "_answer", lambda self, status, body=b"", **headers: original(self, status, body)
    )
    with pytest.raises(errors.ChunkMismatch):
        upload(DATA, parts(storage), sleep=Waits())


@pytest.mark.parametrize("make", [parts, sequential, single])
def test_a_source_of_another_size_is_refused_before_a_byte_moves(
    storage: Storage, make: Callable[[Storage], UploadPlan]
) -> None:
    with pytest.raises(errors.SessionMismatch):
        upload(DATA + b"x", dataclasses.replace(make(storage), size=len(DATA)))
    with pytest.raises(errors.ConstraintViolated, match="max_size"):
        upload(DATA, dataclasses.replace(make(storage), limits=PlanLimits(1, 99_999, "provider")))
    with pytest.raises(errors.ConstraintViolated, match="min_size"):
        upload(DATA, dataclasses.replace(make(storage), limits=PlanLimits(100_001, None, "provider")))
    assert storage.requests == []


def test_a_plan_whose_chunks_leave_a_hole_is_refused_before_a_byte_moves(storage: Storage) -> None:
    whole = parts(storage)
    assert whole.parts is not None
    items = list(whole.parts.items)
    items[3] = dataclasses.replace(items[3], offset=20_000)
    with pytest.raises(errors.SessionMismatch, match="chunk 4"):
        upload(DATA, dataclasses.replace(whole, parts=dataclasses.replace(whole.parts, items=items)))
    with pytest.raises(errors.InvalidChunk, match="11"):
        upload(DATA, whole, held=[1, 11])
    assert storage.requests == []


def test_a_file_that_changes_under_us_is_noticed(storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(DATA)

    def touch(now: Progress) -> None:
        if now.chunks_done == 5:
            os.utime(file, ns=(1, 1))

    with pytest.raises(errors.SourceChanged):
        upload(file, parts(storage), on_progress=touch)
    file.write_bytes(DATA)

    def cut(now: Progress) -> None:
        os.truncate(file, 10)

    with pytest.raises(errors.SourceChanged):
        upload(file, parts(storage), on_progress=cut, concurrency=1)


def test_a_file_that_changes_is_never_stored_by_one_request(storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(bytes(3 * BLOCK))

    def touch(now: Progress) -> None:
        os.utime(file, ns=(1, 1))

    with pytest.raises(errors.SourceChanged):
        upload(file, single(storage), on_progress=touch)
    assert storage.chunks == {}


def test_a_file_that_fails_to_be_read_is_no_failure_of_the_connection(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "f"
    file.write_bytes(DATA)

    def broken(*args: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", broken)
    waits = Waits()
    with pytest.raises(errors.SourceChanged, match="Input/output error"):
        upload(file, single(storage), sleep=waits)
    assert waits == []


def test_a_source_is_read_from_where_it_stands(storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"0123456789")
    with file.open("rb") as opened:
        opened.seek(4)
        upload(opened, single(storage))
    assert storage.chunks[0] == b"456789"
    with gzip.open(file, "wb") as packed:
        packed.write(DATA)
    with gzip.open(file, "rb") as unpacked:
        upload(unpacked, parts(storage))
    del storage.chunks[0]
    assert assembled(storage) == DATA
    with file.open(encoding="latin-1") as text, pytest.raises(errors.InvalidArgument, match="text"):
        upload(text, parts(storage))  # type: ignore[arg-type]


def test_a_pipe_is_refused_without_waiting_for_its_writer(storage: Storage, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(errors.InvalidArgument, match="plain file"):
        upload(tmp_path / "pipe", parts(storage))


@pytest.mark.parametrize("source", ["/no/such/file", "/dev"])
def test_what_cannot_be_read_is_said_before_anything_moves(storage: Storage, source: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        upload(source, parts(storage))
    assert storage.requests == []


def test_a_sequential_session_sends_ranges_in_order(storage: Storage) -> None:
    upload(DATA, sequential(storage))
    assert bytes(storage.session) == DATA
    assert storage.finished
    assert [headers["content-range"] for _, _, headers in storage.requests] == [
        "bytes 0-29999/100000", "bytes 30000-59999/100000", "bytes 60000-89999/100000", "bytes 90000-99999/100000",
    ]  # fmt: skip


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.lists(st.sampled_from(["503", "drop", "drop-after", None]), max_size=8))
def test_a_sequential_session_survives_any_order_of_failures(faults: list[Fault | None]) -> None:
    with serving() as storage:
        storage.faults.extend(fault for fault in faults if fault is not None)
        upload(DATA, sequential(storage), sleep=Waits(), patience=Patience(retries=10))
        assert bytes(storage.session) == DATA
        assert storage.finished
        queries = [h["content-range"] for _, _, h in storage.requests if h["content-range"].startswith("bytes */")]
        assert set(queries) <= {"bytes */*"}, "asking with the total would commit"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=st.lists(st.sampled_from(["503", "429", "drop", "drop-after"]), max_size=12), concurrency=st.integers(1, 6)
)
def test_parallel_chunks_survive_any_order_of_failures(faults: list[Fault], concurrency: int) -> None:
    with serving() as storage:
        storage.faults.extend(faults)
        upload(DATA, parts(storage), sleep=Waits(), patience=Patience(retries=20), concurrency=concurrency)
        assert assembled(storage) == DATA


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=st.lists(st.sampled_from(["503", "429", "drop", "drop-after", "forget"]), max_size=8),
    there=st.integers(0, len(DATA)),
    chunk_size=st.integers(9_000, 150_000),
)
def test_a_sequential_session_goes_on_from_any_byte(faults: list[Fault], there: int, chunk_size: int) -> None:
    seen: list[Progress] = []
    with serving() as storage:
        storage.faults.extend(faults)
        storage.session[:] = DATA[:there]
        plan = sequential(storage, chunk_size=chunk_size)
        assert plan.parts is not None
        held = [item.number for item in plan.parts.items if item.offset + item.size <= there]
        upload(DATA, plan, held=held, sleep=Waits(), patience=Patience(retries=20), on_progress=seen.append)
        if len(held) < plan.parts.count:
            assert bytes(storage.session) == DATA
            assert storage.finished
    assert seen[-1].bytes_done == len(DATA)
    assert seen[-1].chunks_done == seen[-1].chunks_total == plan.parts.count


def test_a_session_that_keeps_nothing_is_given_up(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "_sequential", lambda self, data: self._answer(308))
    with pytest.raises(errors.Unavailable, match="keeps none"):
        upload(DATA, sequential(storage), sleep=Waits(), patience=Patience(retries=3))
    assert len(storage.requests) == 4


def test_an_empty_object_finishes_a_session(storage: Storage) -> None:
    storage.faults.append("503")
    seen: list[Progress] = []
    upload(b"", sequential(storage, b""), sleep=Waits(), on_progress=seen.append)
    assert "bytes */0" in [headers["content-range"] for _, _, headers in storage.requests]
    assert (seen[-1].chunks_done, storage.finished) == (1, True)


def test_one_request_is_a_put_with_exactly_its_headers(storage: Storage) -> None:
    storage.faults.append("503")
    upload(DATA, single(storage), sleep=Waits())
    assert storage.chunks[0] == DATA
    assert storage.requests[-1][2]["content-type"] == "image/png"
    upload(b"", single(storage))
    assert storage.chunks[0] == b""


def test_one_request_may_be_a_form_with_the_file_last(storage: Storage) -> None:
    upload(b"the file", single(storage, "POST", {"key": "k", "policy": "p"}))
    _, _, headers = storage.requests[0]
    boundary = headers["content-type"].partition("boundary=")[2]
    fields = storage.chunks[0].split(f"--{boundary}".encode())
    assert [f.partition(b"\r\n\r\n")[2].strip() for f in fields[1:-1]] == [b"k", b"p", b"the file"]
    form = single(storage, "POST", {'a"\r\nb': "1"})
    assert form.single is not None
    form = dataclasses.replace(form, single=dataclasses.replace(form.single, headers={"x-asked": "yes"}))
    upload(b"the file", form)
    assert storage.requests[-1][2]["x-asked"] == "yes"
    assert b'name="a%22%0D%0Ab"' in storage.chunks[0]


def test_an_object_that_is_there_is_told_from_one_that_may_be_ours(storage: Storage) -> None:
    storage.faults.append("412")
    with pytest.raises(errors.AlreadyExists) as caught:
        upload(DATA, single(storage))
    assert caught.value.hint is None
    storage.faults.extend(["drop-after", "412"])
    with pytest.raises(errors.AlreadyExists) as caught:
        upload(DATA, single(storage), sleep=Waits())
    assert "ask the service" in (caught.value.hint or "")


@pytest.mark.parametrize("fault", ["403", "404", "drop", "503"])
@pytest.mark.parametrize("name", ["X-Amz-Signature", "a-name-that-nobody-knows"])
def test_no_signature_reaches_an_error_or_a_log(
    storage: Storage, fault: Fault, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    import traceback

    storage.faults.extend((fault, fault, fault))
    text = parts(storage).as_json().replace("X-Amz-Signature", name)
    with caplog.at_level(logging.DEBUG), pytest.raises(errors.BlobkitError) as caught:
        upload(DATA, text, sleep=Waits(), patience=Patience(retries=2), concurrency=1)
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value)) + caplog.text
    assert SIGNATURE not in shown
    assert caplog.text == "", "nothing of a signed request is logged"


def test_the_client_is_a_process_of_its_own(storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(DATA)
    command = [sys.executable, "-m", "blobkit.transfer", "upload", str(file), "-", "--held", "1,2"]
    done = subprocess.run(command, input=parts(storage).as_json(), capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert {line["event"] for line in lines} == {"progress", "done"}
    assert (lines[-1]["bytes_sent"], sorted(storage.chunks)) == (80_000, list(range(3, 11)))
    assert SIGNATURE not in done.stdout
    storage.faults.append("404")
    done = subprocess.run(command, input=parts(storage).as_json(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["error"] == "SessionNotFound"


def test_a_client_that_is_killed_leaves_only_what_is_missing_to_its_successor(storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(DATA)
    half, killed = threading.Semaphore(0), threading.Event()

    def gate(number: int) -> None:
        if number > 5:
            half.release()
            assert killed.wait(60)
            raise ConnectionAbortedError  # the server is told of the death before it has stored the chunk

    storage.gate = gate
    command = [sys.executable, "-m", "blobkit.transfer", "upload", str(file), "-", "--concurrency", "2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdin is not None
        first.stdin.write(parts(storage).as_json().encode())
        first.stdin.close()
        assert half.acquire(timeout=60)
        assert half.acquire(timeout=60)
        first.kill()
        first.wait()
        killed.set()
    assert first.returncode == -signal.SIGKILL
    held = sorted(storage.chunks)
    assert held == [1, 2, 3, 4, 5]
    storage.gate = lambda number: None
    before = len(storage.requests)
    result = upload(file, parts(storage), held=held)
    assert sorted(int(path.partition("n=")[2].partition("&")[0]) for _, path, _ in storage.requests[before:]) == [
        6, 7, 8, 9, 10,
    ]  # fmt: skip
    assert (result.bytes_sent, result.chunks_sent, assembled(storage)) == (50_000, 5, DATA)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_memory_stays_flat_however_large_the_file_is(storage: Storage, tmp_path: Path) -> None:
    size = 384 * BLOCK
    file = tmp_path / "sparse"
    with file.open("wb") as out:
        out.truncate(size)
    storage.discard = True
    cut = plan(size, LIMITS, chunk_size=64 * BLOCK)
    chunks = [PlanChunk(c.number, c.offset, c.size, "PUT", chunk_url(storage, c.number), {}, LATER) for c in cut]
    small = parts(storage)
    assert small.parts is not None
    large = dataclasses.replace(small, size=size, parts=dataclasses.replace(small.parts, items=chunks, count=len(cut)))
    code = (
        "import re, sys\n"
        "from blobkit.transfer import upload\n"
        "def peak(): return int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "text = sys.stdin.read()\n"
        "before = peak()\n"
        "assert upload(sys.argv[1], text).bytes_sent == int(sys.argv[2])\n"
        "print(peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file), str(size)],
        input=large.as_json(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 24 * 1024, "KiB: a block for each thread"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("Wed, 21 Oct 2026 07:28:10 GMT", 10.0),
        ("Wed, 21 Oct 2020 07:28:00 GMT", 0.0),
        ("soon", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_http_has_it(text: str | None, seconds: float | None) -> None:
    assert retry_after(text, datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds


@given(attempt=st.integers(1, 40), asked=st.none() | st.floats(0, 10**6))
def test_waits_are_bounded(attempt: int, asked: float | None) -> None:
    seconds = Patience(retries=30).wait(attempt, errors.Throttled("slow down"), asked)
    assert seconds is None if attempt > 30 else 0 <= (seconds or 0.0) <= 120
    assert Patience().wait(1, errors.PermissionDenied("no")) is None
