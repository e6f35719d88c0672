"""Reading: ranges, seekable files, signed ranges, response overrides, public URLs, versions."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final, Literal
from urllib.parse import unquote

import pytest

from blobkit.backend import Feature
from blobkit.errors import BlobNotFound, InvalidArgument, PreconditionFailed, Unsupported
from blobkit.testing.clients import Answer
from blobkit.testing.trial import Trial, random_bytes

DATA: Final = random_bytes(5000, seed=3)
LIFE: Final = timedelta(minutes=5)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, None),
        (0, 0),
        (0, 1),
        (0, 5000),
        (0, 9999),
        (1, None),
        (4999, None),
        (4999, 5000),
        (5000, None),
        (5001, 6000),
        (7, 7),
    ],
)
def test_read_gives_exactly_the_range(trial: Trial, start: int, end: int | None) -> None:
    trial.store.write("k", DATA)
    assert trial.store.read("k", start, end) == DATA[start:end]


@pytest.mark.parametrize("size", [0, 1])
def test_objects_of_no_byte_and_of_one_byte_are_read_like_others(trial: Trial, size: int) -> None:
    data = DATA[:size]
    trial.store.write("k", data)
    assert trial.store.read("k") == data
    assert trial.store.read("k", 0, 10) == data
    assert trial.store.read("k", 1) == b""
    with trial.store.open("k") as file:
        assert file.read() == data
    assert trial.download(trial.store.sign_download("k", expires_in=LIFE)).body == data


@pytest.mark.parametrize(("start", "end"), [(-1, None), (5, 4), (-5, -1)])
def test_a_range_that_is_none_is_an_argument_error(trial: Trial, start: int, end: int | None) -> None:
    trial.store.write("k", DATA)
    with pytest.raises(InvalidArgument):
        trial.store.read("k", start, end)


def test_an_object_opens_as_a_seekable_file(trial: Trial) -> None:
    trial.store.write("k", DATA)
    with trial.store.open("k") as file:
        assert file.readable()
        assert file.seekable()
        assert not file.writable()
        assert file.read(10) == DATA[:10]
        assert file.tell() == 10
        assert file.seek(-20, os.SEEK_END) == 4980
        assert file.read() == DATA[-20:]
        assert file.read() == b""
        file.seek(100)
        assert file.read(50) == DATA[100:150]
        file.seek(10, os.SEEK_CUR)
        assert file.read(1) == DATA[160:161]
        file.seek(6000)
        assert file.read() == b""
        with pytest.raises((InvalidArgument, io.UnsupportedOperation, ValueError)):
            file.seek(-1)


def test_an_open_file_never_mixes_two_contents(trial: Trial) -> None:
    """It is pinned to what it was at opening: after a replacement it reads the old bytes, or says so."""
    trial.store.write("k", DATA)
    with trial.store.open("k") as file:
        trial.store.write("k", DATA[::-1])
        with suppress(PreconditionFailed):
            assert file.read() == DATA


RANGES: Final = [
    ("bytes=0-9", 0, 10),
    ("bytes=0-0", 0, 1),
    ("bytes=4990-", 4990, 5000),
    ("bytes=-5", 4995, 5000),
    ("bytes=-9999", 0, 5000),
    ("bytes=4999-9999", 4999, 5000),
]


@pytest.mark.parametrize(("header", "start", "end"), RANGES)
def test_a_signed_download_serves_ranges(trial: Trial, header: str, start: int, end: int) -> None:
    trial.store.write("k", DATA)
    if header.startswith("bytes=-"):
        trial.needs("suffix_range")
    answer = ranged(trial, header)
    assert answer.status == 206
    assert answer.body == DATA[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/5000"
    assert answer.headers["content-length"] == str(end - start)


def test_a_range_past_the_end_is_unsatisfiable(trial: Trial) -> None:
    trial.store.write("k", DATA)
    trial.needs("unsatisfiable_range")
    answer = ranged(trial, "bytes=5000-")
    assert answer.status == 416
    assert DATA[:10] not in answer.body


def ranged(trial: Trial, header: str) -> Answer:
    """A signed download of ``k`` with a Range header, which no signature covers."""
    request = trial.store.sign_download("k", expires_in=LIFE)
    return trial.client.send("GET", request.url.reveal(), {**request.headers, "Range": header})


def test_a_signed_download_of_nothing_is_answered_404(trial: Trial) -> None:
    answer = trial.send(trial.store.sign_download("nothing", expires_in=LIFE))
    assert answer.status == 404


def test_a_download_tells_type_size_and_etag(trial: Trial) -> None:
    info = trial.store.write("k", DATA, content_type="image/png")
    answer = trial.download(trial.store.sign_download("k", expires_in=LIFE))
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == "5000"
    assert answer.headers["etag"].strip('"') == info.etag


NAMES: Final = ["plain.txt", "two words.txt", "é 日本.pdf", 'quo"te.txt', "100%.txt", "a;b,c=d'e.txt", "🎬.mp4"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", NAMES)
def test_a_download_is_saved_under_the_name_that_was_signed(
    trial: Trial, name: str, method: Literal["GET", "HEAD"]
) -> None:
    trial.store.write("k", DATA)
    if not trial.declares(Feature.RESPONSE_OVERRIDES):
        with pytest.raises(Unsupported):
            trial.store.sign_download("k", expires_in=LIFE, filename=name)
        return
    if method == "HEAD" and not trial.declares(Feature.SIGN_HEAD):
        with pytest.raises(Unsupported):
            trial.store.sign_download("k", expires_in=LIFE, filename=name, method="HEAD")
        return
    request = trial.store.sign_download("k", expires_in=LIFE, filename=name, method=method)
    answer = trial.download(request)
    trial.needs("overrides")
    assert filename_in(answer.headers["content-disposition"]) == ("attachment", name)


def filename_in(header: str) -> tuple[str, str]:
    """Disposition and file name, as a browser reads them (RFC 6266 section 4.3): ``filename*`` rules over ``filename``."""
    kind, _, rest = header.partition(";")
    _, star, encoded = rest.partition("filename*=UTF-8''")
    if star:
        return kind.strip(), unquote(encoded.strip(), errors="strict")
    return kind.strip(), rest.partition('filename="')[2].rpartition('"')[0]


def test_a_download_says_what_was_signed_instead_of_what_is_stored(trial: Trial) -> None:
    trial.store.write("k", DATA, content_type="text/html", cache_control="public, max-age=5")
    if not trial.declares(Feature.RESPONSE_OVERRIDES):
        with pytest.raises(Unsupported):
            trial.store.sign_download("k", expires_in=LIFE, content_type="application/octet-stream")
        return
    cache_control: str | None = "private, no-store"
    try:
        trial.store.sign_download("k", expires_in=LIFE, cache_control=cache_control)
    except Unsupported:
        trial.undeclared("a Cache-Control that a download's signature says")
        cache_control = None
    request = trial.store.sign_download(
        "k",
        expires_in=LIFE,
        content_type="application/octet-stream",
        cache_control=cache_control,
        disposition="inline",
        filename="x.bin",
    )
    answer = trial.download(request)
    assert answer.body == DATA
    trial.needs("overrides")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["cache-control"] == (cache_control or "public, max-age=5")
    assert filename_in(answer.headers["content-disposition"]) == ("inline", "x.bin")
    assert trial.store.stat("k").content_type == "text/html"


def test_overrides_cannot_be_changed_by_the_client(trial: Trial) -> None:
    trial.store.write("k", DATA, content_type="text/plain")
    if not trial.declares(Feature.RESPONSE_OVERRIDES):
        with pytest.raises(Unsupported):
            trial.store.sign_download("k", expires_in=LIFE, content_type="image/png")
        return
    url = trial.store.sign_download("k", expires_in=LIFE, content_type="image/png").url.reveal()
    forged = url.replace("image%2Fpng", "text%2Fhtml").replace("=image/png", "=text/html")
    assert forged != url, "the override is not in the URL"
    trial.needs("signature")
    assert trial.client.send("GET", forged, {}).refused


@pytest.mark.parametrize("filename", ["", "a/b", "a\\b", "a\nb", "a\r\nSet-Cookie: x=1", "x" * 300])
def test_a_file_name_that_could_harm_is_an_argument_error(trial: Trial, filename: str) -> None:
    error = InvalidArgument if trial.declares(Feature.RESPONSE_OVERRIDES) else (InvalidArgument, Unsupported)
    with pytest.raises(error):
        trial.store.sign_download("k", expires_in=LIFE, filename=filename)


def test_a_public_url_serves_anybody_and_only_where_it_is_declared(trial: Trial) -> None:
    trial.store.write("a b.txt", DATA)
    if not (trial.store.config.flag("public") and trial.declares(Feature.PUBLIC_URL)):
        with pytest.raises(Unsupported):
            trial.store.public_url("a b.txt")
        return
    answer = trial.client.send("GET", trial.store.public_url("a b.txt"), {})
    assert (answer.status, answer.body) == (200, DATA)


def test_without_a_signature_nothing_is_served(trial: Trial) -> None:
    trial.store.write("k", DATA)
    url = trial.store.sign_download("k", expires_in=LIFE).url.reveal().partition("?")[0]
    if trial.store.config.flag("public"):
        trial.undeclared("privacy")
        return
    trial.needs("signature")
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        answer = trial.client.send(method, url, {}, b"forged" if method == "PUT" else None)
        assert answer.refused, f"an unsigned {method} was answered {answer.status}"
    trial.holds("k", DATA)


def test_versions_are_read_and_deleted_one_by_one_where_they_are_declared(trial: Trial) -> None:
    store = trial.store
    first = store.write("k", b"first")
    second = store.write("k", b"second")
    if not trial.declares(Feature.VERSIONS):
        calls: tuple[Callable[[], object], ...] = (
            lambda: store.stat("k", version="1"),
            lambda: store.sign_download("k", expires_in=LIFE, version="1"),
            lambda: store.delete("k", version="1"),
            lambda: store.delete("k", purge_versions=True),
        )
        for call in calls:
            with pytest.raises(Unsupported) as refusal:
                call()
            assert refusal.value.features == (Feature.VERSIONS,)
        trial.holds("k", b"second")
        return
    assert first.version
    assert second.version
    assert first.version != second.version
    assert store.stat("k").version == second.version
    assert store.stat("k", version=first.version).size == 5
    old = store.sign_download("k", expires_in=LIFE, version=first.version)
    assert trial.download(old).body == b"first"
    result = store.delete("k")
    assert result.marker
    with pytest.raises(BlobNotFound):
        store.stat("k")
    assert trial.download(old).body == b"first", "a marker hides a version from nobody who names it"
    store.delete("k", version=first.version)
    assert trial.send(old).refused
    store.delete("k", purge_versions=True)
    with pytest.raises(BlobNotFound):
        store.stat("k", version=second.version)
    assert not store.exists("k")


def test_deleting_the_newest_version_uncovers_the_one_before(trial: Trial) -> None:
    store = trial.store
    store.write("k", b"first")
    second = store.write("k", b"second")
    if not trial.declares(Feature.VERSIONS) or second.version is None:
        with pytest.raises(Unsupported):
            store.delete("k", version="x")
        return
    store.delete("k", version=second.version)
    if not trial.harness.checks("uncovers"):
        trial.nothing_at("k")
    trial.needs("uncovers")
    trial.holds("k", b"first")
    store.delete("k", purge_versions=True)
