"""Uploads that are given a session: it is asked first, signs as the upload goes, and signs again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from blobkit import errors
from blobkit.blobs import Checksum
from blobkit.chunking import ChunkLimits, ChunkPlan, plan
from blobkit.session import SessionStatus
from blobkit.signed import ChunkTemplate, Receipt, SignedChunk
from blobkit.transfer import Progress, upload
from blobkit.transfer.retry import Patience

from .storage import SIGNATURE, Storage, serving

DATA = os.urandom(100_000)
SEQUENTIAL = ChunkTemplate("PUT", {}, (200, 201), 308, Receipt("range", None), content_range=True)


class FakeSession:
    """What a service's session is to the engine, with the clock and the failures of a test."""

    def __init__(self, storage: Storage, chunk_size: int = 1_000, template: ChunkTemplate | None = None) -> None:
        self.chunks: ChunkPlan = plan(len(DATA), ChunkLimits(max_count=1000), chunk_size=chunk_size)
        self.sequential = template is not None
        self.template = template or ChunkTemplate()
        self.storage = storage
        self.asked: list[list[int]] = []
        self.life = timedelta(minutes=15)
        self.failing: set[int] = set()  # which calls of sign_chunks, from 1
        self.answer: SessionStatus | None = None

    def status(self) -> SessionStatus:
        if self.answer is not None:
            return self.answer
        received = tuple(sorted(self.storage.chunks))
        return SessionStatus("open", received, sum(map(len, self.storage.chunks.values())))

    def sign_chunks(
        self,
        numbers: Iterable[int] | None = None,
        *,
        expires_in: timedelta | None = None,
        checksums: Mapping[int, Checksum] | None = None,
    ) -> Sequence[SignedChunk]:
        wanted = list(numbers or ())
        self.asked.append(wanted)
        if len(self.asked) in self.failing:
            raise errors.ConnectionFailed("the service does not answer")
        ends = int((datetime.now(UTC) + self.life).timestamp())
        query = "session=1" if self.sequential else "n={}"
        url = f"{self.storage.url}/k?{query}&sig={SIGNATURE}"
        return [SignedChunk(self.template, url.format(n), ends, self.chunks.chunk(n)) for n in wanted]


@pytest.fixture
def storage() -> Iterator[Storage]:
    with serving() as served:
        yield served


def assembled(storage: Storage) -> bytes:
    return b"".join(storage.chunks[number] for number in sorted(storage.chunks))


def test_a_session_is_asked_what_it_holds_and_the_rest_moves(storage: Storage) -> None:
    storage.chunks = {number: DATA[(number - 1) * 1000 : number * 1000] for number in (1, 2, 50)}
    seen: list[Progress] = []
    result = upload(DATA, FakeSession(storage), on_progress=seen.append)
    assert assembled(storage) == DATA
    assert (result.chunks_sent, result.bytes_sent, len(storage.requests)) == (97, 97_000, 97)
    assert seen[0] == Progress(3_000, 100_000, 3, 100)


def test_chunks_are_signed_some_at_a_time_and_never_twice_without_need(storage: Storage) -> None:
    session = FakeSession(storage)
    upload(DATA, session, concurrency=3)
    batches = [batch for batch in session.asked if len(batch) > 1]
    assert [number for batch in batches for number in batch] == list(range(1, 101))
    assert max(map(len, batches)) < 100


def test_urls_that_end_at_once_are_signed_for_every_chunk(storage: Storage) -> None:
    session = FakeSession(storage, chunk_size=10_000)
    session.life = timedelta(seconds=10)
    upload(DATA, session, concurrency=1)
    assert [batch[0] for batch in session.asked[1:]] == list(range(1, 11))
    assert assembled(storage) == DATA


def test_a_refused_url_is_signed_anew_once(storage: Storage) -> None:
    storage.faults.extend(["403"])
    upload(DATA, FakeSession(storage, 10_000), concurrency=1)
    assert assembled(storage) == DATA
    storage.chunks.clear()
    storage.faults.extend(["403", "403"])
    with pytest.raises(errors.PermissionDenied):
        upload(DATA, FakeSession(storage, 10_000), concurrency=1)


def test_a_service_that_cannot_sign_now_is_asked_again(storage: Storage) -> None:
    session, waits = FakeSession(storage, 10_000), list[float]()
    session.failing = {2, 3}
    upload(DATA, session, sleep=waits.append, concurrency=1)
    assert len(waits) == 2
    assert assembled(storage) == DATA


def test_a_session_that_is_gone_or_done_moves_nothing(storage: Storage) -> None:
    session = FakeSession(storage)
    session.answer = SessionStatus("gone")
    with pytest.raises(errors.SessionNotFound):
        upload(DATA, session)
    session.answer = SessionStatus("committed", received_bytes=len(DATA))
    assert upload(DATA, session).bytes_sent == 0
    assert storage.requests == []


def test_a_source_of_another_size_is_not_the_sessions(storage: Storage) -> None:
    with pytest.raises(errors.SessionMismatch):
        upload(DATA[:-1], FakeSession(storage))


def test_a_session_of_unknown_size_takes_the_sources(storage: Storage) -> None:
    session = FakeSession(storage)
    session.chunks = plan(None, ChunkLimits(max_count=1000), chunk_size=7_000)
    upload(DATA, session)
    assert assembled(storage) == DATA


def test_a_sequential_session_goes_on_at_the_very_byte_where_it_was(storage: Storage) -> None:
    storage.session[:] = DATA[:45_678]
    session = FakeSession(storage, 10_000, SEQUENTIAL)
    session.answer = SessionStatus("open", (1, 2, 3, 4), 45_678)
    result = upload(DATA, session)
    assert bytes(storage.session) == DATA
    assert storage.requests[0][2]["content-range"] == "bytes 45678-55677/100000"
    assert result.bytes_sent == 100_000 - 45_678


def test_a_sequential_sessions_url_is_renewed_too(storage: Storage) -> None:
    storage.faults.extend(["403"])
    upload(DATA, FakeSession(storage, 30_000, SEQUENTIAL), patience=Patience(retries=0))
    assert bytes(storage.session) == DATA
