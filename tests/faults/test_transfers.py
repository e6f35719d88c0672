"""Seeded schedules of trouble in front of every backend: they end with the right bytes, or with a typed error and a state from
which the same call goes on; never with a wrong object.

``BLOBKIT_SCHEDULES=1000 pytest tests/faults/test_transfers.py`` runs that many on each backend instead of a few.
"""

from __future__ import annotations

import io
import os
import random
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from blobkit.blobs import Checksum
from blobkit.errors import BlobkitError, BlobNotFound
from blobkit.session import UploadSession
from blobkit.store import Store
from blobkit.testing import faulty
from blobkit.testing.proxy import any_trouble
from blobkit.transfer import Patience, Progress, Stop, download, stream, upload
from blobkit.transfer.completing import complete

from .places import PLACES, Place

ASKED = os.environ.get("BLOBKIT_SCHEDULES", "")
USUAL = {"local": 12, "in-order": 8, "s3": 6, "ceph": 12, "gcs": 8, "gcs-parts": 4, "azure": 8}
BYTES = random.Random(1).randbytes(16 << 20)
PATIENT = Patience(retries=3, base=0.0)


@dataclass(frozen=True)
class Trial:
    """A place, and its store opened twice: for the process that fails, and for the one that goes on."""

    place: Place
    here: Store
    there: Store


@pytest.fixture(scope="module", params=PLACES)
def trial(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    with (
        PLACES[request.param](tmp_path_factory.mktemp(request.param)) as place,
        place.open() as here,
        place.open() as there,
    ):
        yield Trial(place, here, there)


def seeds(request: pytest.FixtureRequest) -> range:
    return range(int(ASKED) if ASKED else USUAL[request.node.callspec.params["trial"]])


class Schedule:
    """What happens to one transfer, all of it from one seed."""

    def __init__(self, place: Place, seed: int) -> None:
        self.chance = random.Random(seed)
        self.place = place
        size = self.chance.randrange(1, place.chunk * place.chunks)
        start = self.chance.randrange(len(BYTES) - size + 1)
        self.data = BYTES[start : start + size]
        self.key = f"t/{uuid.uuid4().hex}"
        self.concurrency = self.chance.choice([None, 1, 2, 4])
        self.dies_at = self.chance.randrange(size) if self.chance.random() < 0.3 else None

    def trouble(self) -> None:
        self.place.proxy.clear()
        for _ in range(self.chance.randrange(1, 6)):
            self.place.proxy.expect(
                any_trouble(self.chance, min(self.place.chunk, len(self.data))), skip=self.chance.randrange(3)
            )

    def stop(self) -> Stop:
        """Set when so many bytes have moved, as if the process died there."""
        return Stop()

    def dying(self, stop: Stop) -> object:
        def progress(now: Progress) -> None:
            if self.dies_at is not None and now.bytes_done >= self.dies_at:
                stop.set()

        return progress


def typed(error: BlobkitError, seed: int) -> None:
    assert type(error) is not BlobkitError, f"schedule {seed}: {error!r} has no type"


def right_or_absent(store: Store, schedule: Schedule, seed: int) -> bool:
    """Whether the object is there; it must be right then."""
    try:
        found = store.read(schedule.key)
    except BlobNotFound:
        return False
    assert found == schedule.data, f"schedule {seed}: a wrong object"
    return True


def test_an_upload_ends_right_or_can_be_resumed(request: pytest.FixtureRequest, trial: Trial) -> None:
    for seed in seeds(request):
        one_upload(trial, seed)


def one_upload(trial: Trial, seed: int) -> None:
    place, again = trial.place, trial.there
    schedule = Schedule(place, seed)
    store, control = faulty(trial.here)
    session = store.start_upload(schedule.key, size=len(schedule.data), chunk_size=place.chunk, allow_session_life=True)
    token = session.token.reveal()
    schedule.trouble()
    if schedule.chance.random() < 0.3:
        control.lose("commit")
    if schedule.chance.random() < 0.2:
        control.fail("received", skip=schedule.chance.randrange(2))
    stop = schedule.stop()
    try:
        result = upload(
            schedule.data,
            session,
            concurrency=schedule.concurrency,
            patience=PATIENT,
            timeout=timedelta(seconds=place.patience),
            stop=stop,
            on_progress=schedule.dying(stop),  # type: ignore[arg-type]
            checksum=schedule.chance.choice([None, "crc32c", "sha256"]),
        )
        assert result.checksum in (None, *(Checksum.of(name, schedule.data) for name in ("crc32c", "sha256")))
        session.complete(result.receipts)
    except BlobkitError as error:
        typed(error, seed)
    finally:
        place.proxy.clear()
        control.clear()
    if not right_or_absent(again, schedule, seed):
        finish(again.resume_upload(token), schedule, seed)
        assert right_or_absent(again, schedule, seed), f"schedule {seed}: nothing is there after all"
    again.delete(schedule.key)


def finish(session: UploadSession, schedule: Schedule, seed: int) -> None:
    """Without trouble the rest moves, and only the rest."""
    before = session.status()
    assert before.state != "gone", f"schedule {seed}: it cannot be resumed"
    due = 0 if before.state == "committed" else len(schedule.data) - before.received_bytes
    done = upload(schedule.data, session, patience=PATIENT)
    assert done.bytes_sent - done.bytes_resent <= due, f"schedule {seed}: {done.bytes_sent} moved, {due} were missing"
    complete(schedule.data, session, done.receipts)


def test_a_download_ends_right_or_can_be_resumed(request: pytest.FixtureRequest, trial: Trial, tmp_path: Path) -> None:
    for seed in seeds(request):
        one_download(trial.here, trial.place, tmp_path, seed)


def one_download(store: Store, place: Place, folder: Path, seed: int) -> None:
    schedule = Schedule(place, seed)
    store.write(schedule.key, schedule.data)
    url, target = store.sign_download(schedule.key), folder / "file"
    ranges, checksum = max(1, len(schedule.data) // 5), Checksum.of("crc32c", schedule.data)
    schedule.trouble()
    stop = schedule.stop()
    try:
        download(
            url,
            target,
            resume=True,
            checksum=checksum,
            range_size=ranges,
            concurrency=schedule.concurrency,
            patience=PATIENT,
            timeout=timedelta(seconds=place.patience),
            stop=stop,
            on_progress=schedule.dying(stop),  # type: ignore[arg-type]
        )
    except BlobkitError as error:
        typed(error, seed)
        assert not target.exists(), f"schedule {seed}: half a file"
    place.proxy.clear()
    if not target.exists():
        download(url, target, resume=True, checksum=checksum, range_size=ranges)
    assert target.read_bytes() == schedule.data, f"schedule {seed}: a wrong file"
    assert [path.name for path in folder.iterdir()] == ["file"], f"schedule {seed}: something is left behind"
    target.unlink()
    store.delete(schedule.key)


def test_what_goes_to_a_pipe_is_right_as_far_as_it_goes(request: pytest.FixtureRequest, trial: Trial) -> None:
    place, store = trial.place, trial.here
    for seed in seeds(request)[::4]:
        schedule = Schedule(place, seed)
        store.write(schedule.key, schedule.data)
        schedule.trouble()
        out = io.BytesIO()
        with suppress(BlobkitError):
            stream(store.sign_download(schedule.key), out, patience=PATIENT, timeout=timedelta(seconds=place.patience))
            assert out.getvalue() == schedule.data, f"schedule {seed}"
        place.proxy.clear()
        assert schedule.data.startswith(out.getvalue()), f"schedule {seed}: wrong bytes went out"
        store.delete(schedule.key)


class Pipe(io.RawIOBase):
    """A stream that cannot seek."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def seekable(self) -> bool:
        return False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        taken = self._rest if size < 0 else self._rest[: max(1, size // 3)]
        self._rest = self._rest[len(taken) :]
        return taken


def test_a_stream_of_unknown_length_ends_right_or_in_a_typed_error(
    request: pytest.FixtureRequest, trial: Trial
) -> None:
    for seed in seeds(request)[::4]:
        place, store = trial.place, trial.here
        schedule = Schedule(place, seed)
        session = store.start_upload(schedule.key, chunk_size=place.chunk, allow_session_life=True)
        schedule.trouble()
        try:
            result = upload(
                Pipe(schedule.data),  # type: ignore[arg-type]
                session,
                concurrency=schedule.concurrency,
                checksum="md5",
                patience=PATIENT,
                timeout=timedelta(seconds=place.patience),
            )
            place.proxy.clear()
            assert (result.size, result.checksum) == (len(schedule.data), Checksum.of("md5", schedule.data))
            session.complete(result.receipts, size=result.size)
            assert right_or_absent(store, schedule, seed)
        except BlobkitError as error:
            typed(error, seed)
            place.proxy.clear()
            assert not right_or_absent(store, schedule, seed)
            session.abort()
        store.delete(schedule.key)
