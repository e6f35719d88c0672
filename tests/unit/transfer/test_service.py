"""Uploads that a service plans: lazy, inline, in one request; interrupted and resumed; and who sees which secret."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from blobkit import errors
from blobkit.blobs import Checksum
from blobkit.transfer import Patience, Progress, Stop
from blobkit.transfer.journal import Journal
from blobkit.transfer.resumable import put_to_service
from blobkit.transfer.service import upload_to_service
from blobkit.transfer.upload import Options

from .service import AUTHORIZED, Api, service

DATA = os.urandom(500_000)
HEADERS = {"authorization": AUTHORIZED}
EAGER = Options(patience=Patience(retries=3, base=0.0))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with service(tmp_path) as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state")


@pytest.mark.parametrize("mode", ["lazy", "inline", "single"])
def test_a_file_goes_straight_to_the_services_storage(api: Api, file: Path, mode: str) -> None:
    api.mode = mode
    done = upload_to_service(file, api.url, EAGER, headers=HEADERS, checksum="sha256")
    assert api.store.read("in/film.mp4") == DATA
    wanted = Checksum.of("sha256", DATA)
    assert done.checksum == wanted
    if mode != "single":
        assert dict(done.answer) == {"key": "in/film.mp4", "size": len(DATA)}
        assert api.completed[0]["checksum"] == {"algorithm": "sha256", "value": wanted.base64}
        assert set(api.completed[0]["receipts"]) == {str(n) for n in range(1, 9)}  # type: ignore[call-overload]


def test_a_service_that_stumbles_is_asked_again(api: Api, file: Path) -> None:
    api.fail = [503, 429, 500]
    upload_to_service(file, api.url, EAGER, headers=HEADERS)
    assert api.store.read("in/film.mp4") == DATA


def test_what_the_service_refuses_is_told_in_its_words(api: Api, file: Path) -> None:
    with pytest.raises(errors.PermissionDenied, match="who are you"):
        upload_to_service(file, api.url, EAGER)
    with pytest.raises(errors.InvalidArgument):
        upload_to_service(file, "http://user:secret@127.0.0.1/", EAGER)


def test_what_the_service_wants_to_see_never_goes_elsewhere(
    api: Api, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blobkit.transfer import http

    seen: list[tuple[str, bool]] = []
    real = http.Http.send

    def send(self: http.Http, method: str, url: str, headers: dict[str, str], *rest: object, **more: object) -> object:
        seen.append((url, "authorization" in headers))
        return real(self, method, url, headers, *rest, **more)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(http.Http, "send", send)
    upload_to_service(file, api.url, EAGER, headers=HEADERS)
    origin = api.url.removesuffix("/uploads")
    assert {told for url, told in seen if url.startswith(origin)} == {True}
    assert {told for url, told in seen if not url.startswith(origin)} == {False}


def test_an_interrupted_upload_goes_on_from_the_journal_alone(api: Api, file: Path, journal: Journal) -> None:
    stop = Stop()

    def half(now: Progress) -> None:
        if now.chunks_done == 4:
            stop.set()

    options = Options(stop=stop, on_progress=half, concurrency=1)
    with pytest.raises(errors.TransientError):
        put_to_service(file, api.url, journal=journal, headers=HEADERS, options=options)
    (entry,) = journal.entries()
    assert (entry.size, dict(entry.target), entry.chunks) == (len(DATA), {"service": api.url}, 4)
    asked = len(api.asked)
    done = put_to_service(file, api.url, journal=journal, headers=HEADERS, options=EAGER)
    assert api.asked[asked][0] == "GET", "the service is asked what is held, and for no new plan"
    assert done.chunks_sent == 4
    assert api.store.read("in/film.mp4") == DATA
    assert len(api.completed[0]["receipts"]) == 8  # type: ignore[arg-type]  # those of the first run too
    assert journal.entries() == []


def test_another_process_goes_on_with_what_the_journal_knows(
    api: Api, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from blobkit.transfer.__main__ import main

    monkeypatch.setenv("BLOBKIT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("BLOBKIT_SERVICE_TOKEN", "nobody's")
    assert main(["upload", str(file), api.url]) == 1
    monkeypatch.setenv("BLOBKIT_SERVICE_TOKEN", AUTHORIZED.removeprefix("Bearer "))
    stop = Stop()
    halfway = Options(stop=stop, on_progress=lambda now: stop.set() if now.chunks_done == 4 else None, concurrency=1)
    with pytest.raises(errors.TransientError):
        put_to_service(file, api.url, journal=Journal(), headers=HEADERS, options=halfway)
    assert main(["resume", "0000"]) == 1
    (entry,) = Journal().entries()
    assert main(["resume", entry.id]) == 0
    assert api.store.read("in/film.mp4") == DATA
    api.store.delete("in/film.mp4")
    assert main(["upload", str(file), api.url]) == 0
    assert api.store.read("in/film.mp4") == DATA
    assert Journal().entries() == []
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    ends = [(line["event"], line.get("error"), line.get("chunks_sent")) for line in said if line["event"] != "progress"]
    assert ends == [
        ("error", "PermissionDenied", None),
        ("error", "NotFound", None),
        ("done", None, 4),
        ("done", None, 8),
    ]


def test_a_session_that_is_gone_is_begun_anew(api: Api, file: Path, journal: Journal) -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(errors.TransientError):
        put_to_service(file, api.url, journal=journal, headers=HEADERS, options=Options(stop=stop))
    api.sessions.clear()
    put_to_service(file, api.url, journal=journal, headers=HEADERS, options=EAGER)
    assert api.store.read("in/film.mp4") == DATA


def test_a_source_that_changes_is_dropped_at_the_service(api: Api, file: Path, journal: Journal) -> None:
    def touch(now: Progress) -> None:
        os.utime(file, ns=(1, 1))

    with pytest.raises(errors.SourceChanged):
        put_to_service(file, api.url, journal=journal, headers=HEADERS, options=Options(on_progress=touch))
    assert ("DELETE", api.asked[-1][1]) == api.asked[-1]
    assert journal.entries() == []
