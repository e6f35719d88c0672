"""A wrong argument gets an error of its own before the backend is asked for anything, whichever verb it is given to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import blobkit
from blobkit import errors
from blobkit.blobs import Checksum
from blobkit.config import load_settings
from blobkit.sealing import Keyring
from blobkit.spec import UploadSpec

from .conftest import Open

MINUTE = timedelta(minutes=1)
DIGEST = Checksum.of("crc32c", b"")

WRONG: dict[str, tuple[Callable[[Any], object], type[errors.BlobkitError], str]] = {
    "expires_in a number": (lambda s: s.sign_upload("k", expires_in=60), errors.InvalidExpiry, "timedelta"),
    "expires_in nothing": (lambda s: s.sign_upload("k", expires_in=timedelta(0)), errors.InvalidExpiry, "one second"),
    "expires_in years": (lambda s: s.sign_upload("k", expires_in=timedelta.max), errors.InvalidExpiry, "longer"),
    "expires_at naive": (lambda s: s.sign_upload("k", expires_at=datetime(2030, 1, 1)), errors.InvalidExpiry, "zone"),  # noqa: DTZ001
    "expires_at past": (
        lambda s: s.sign_upload("k", expires_at=datetime(2020, 1, 1, tzinfo=UTC)),
        errors.InvalidExpiry,
        "one second",
    ),
    "both expiries": (
        lambda s: s.sign_upload("k", expires_in=MINUTE, expires_at=datetime(2030, 1, 1, tzinfo=UTC)),
        errors.InvalidExpiry,
        "not both",
    ),
    "stable_for a number": (lambda s: s.sign_download("k", stable_for=60), errors.InvalidExpiry, "timedelta"),
    "a key of bytes": (lambda s: s.sign_download(b"k"), errors.InvalidKey, "bytes"),
    "a key of None": (lambda s: s.stat(None), errors.InvalidKey, "NoneType"),
    "letters for keys": (lambda s: s.delete_many("abc"), errors.InvalidArgument, "collection"),
    "letters to sign": (lambda s: s.sign_uploads("abc"), errors.InvalidArgument, "collection"),
    "a number for keys": (lambda s: s.delete_many(5), errors.InvalidArgument, "collection"),
    "spec a text": (lambda s: s.sign_upload("k", spec="image/png"), errors.InvalidArgument, "UploadSpec"),
    "spec and keywords": (lambda s: s.write("k", b"", spec=UploadSpec(), size=1), errors.InvalidArgument, "not both"),
    "verify_after a name": (lambda s: s.sign_upload("k", verify_after="size"), errors.InvalidArgument, "collection"),
    "verify_after a number": (lambda s: s.sign_upload("k", verify_after=5), errors.InvalidArgument, "collection"),
    "verify_after unknown": (lambda s: s.sign_upload("k", verify_after=["sizes"]), errors.InvalidArgument, "sizes"),
    "another method": (lambda s: s.sign_download("k", method="POST"), errors.InvalidArgument, "GET"),
    "another disposition": (lambda s: s.sign_download("k", disposition="evil"), errors.InvalidArgument, "inline"),
    "filename a path": (lambda s: s.sign_download("k", filename="a/b"), errors.InvalidArgument, "path"),
    "filename a number": (lambda s: s.sign_download("k", filename=5), errors.InvalidArgument, "path"),
    "content_type a number": (lambda s: s.sign_download("k", content_type=5), errors.InvalidArgument, "media type"),
    "cache_control two lines": (
        lambda s: s.sign_download("k", cache_control="a\r\nb"),
        errors.InvalidArgument,
        "ASCII",
    ),
    "verify a text": (lambda s: s.verify_upload("k", "size"), errors.InvalidArgument, "UploadSpec"),
    "verify another pin": (lambda s: s.verify_upload("k", UploadSpec(), pin="e"), errors.InvalidArgument, "Pin"),
    "a size of text": (lambda s: s.start_upload("k", size="5"), errors.InvalidArgument, "bytes"),
    "a size of less than nothing": (lambda s: s.start_upload("k", size=-1), errors.InvalidArgument, "0 or more"),
    "a size that no plan holds": (lambda s: s.start_upload("k", size=6401), errors.InvalidArgument, "largest"),
    "chunk_size a text": (lambda s: s.start_upload("k", size=5, chunk_size="4"), errors.InvalidChunk, "bytes"),
    "chunk_size too small": (lambda s: s.start_upload("k", size=50, chunk_size=3), errors.InvalidChunk, "least"),
    "owner a number": (lambda s: s.start_upload("k", size=5, owner=5), errors.InvalidArgument, "owner"),
    "owner too long": (lambda s: s.start_upload("k", size=5, owner="o" * 257), errors.InvalidArgument, "owner"),
    "origin a number": (lambda s: s.start_upload("k", size=5, origin=5), errors.InvalidArgument, "origin"),
    "staging a text": (lambda s: s.start_upload("k", size=5, staging="no"), errors.InvalidArgument, "staging"),
    "a size against the spec": (lambda s: s.start_upload("k", size=5, max_size=4), errors.ConstraintViolated, "5"),
    "a token of None": (lambda s: s.resume_upload(None), errors.InvalidToken, "tampered"),
    "a plan of no size": (lambda s: s.plan_upload("k", "5"), errors.InvalidArgument, "size"),
    "a range of text": (lambda s: s.read("k", "0"), errors.InvalidArgument, "start"),
    "a range of halves": (lambda s: s.read("k", 0.5), errors.InvalidArgument, "start"),
    "a range backwards": (lambda s: s.read("k", 5, 3), errors.InvalidArgument, "range"),
    "a range before the start": (lambda s: s.read("k", -1), errors.InvalidArgument, "0 or more"),
    "open another pin": (lambda s: s.open("k", pin="e"), errors.InvalidArgument, "Pin"),
    "data a text": (lambda s: s.write("k", "text"), errors.InvalidArgument, "str"),
    "if_match an etag": (lambda s: s.write("k", b"", if_match="e"), errors.InvalidArgument, "Pin"),
    "copy to a name": (lambda s: s.copy("a", "b", to="media"), errors.InvalidArgument, "Store"),
    "copy another pin": (lambda s: s.copy("a", "b", pin="e"), errors.InvalidArgument, "Pin"),
    "promote a key": (lambda s: s.promote("a", "b"), errors.InvalidArgument, "BlobInfo"),
    "delete another pin": (lambda s: s.delete("k", pin="e"), errors.InvalidArgument, "Pin"),
    "delete one and all": (lambda s: s.delete("k", version="1", purge_versions=True), errors.InvalidArgument, "all"),
    "list a number": (lambda s: list(s.list(5)), errors.InvalidArgument, "prefix"),
    "list a surrogate": (lambda s: list(s.list("\ud800")), errors.InvalidArgument, "UTF-8"),
    "list after a number": (lambda s: list(s.list(start_after=5)), errors.InvalidArgument, "start_after"),
    "an empty delimiter": (lambda s: list(s.list_dir(delimiter="")), errors.InvalidArgument, "delimiter"),
    "a delimiter of a number": (lambda s: list(s.list_dir(delimiter=5)), errors.InvalidArgument, "delimiter"),
    "list_uploads a number": (lambda s: list(s.list_uploads(older_than=5)), errors.InvalidArgument, "timedelta"),
    "sweep the future": (lambda s: s.sweep_uploads(older_than=-MINUTE), errors.InvalidArgument, "0 or more"),
    "sweep a number": (lambda s: s.sweep_uploads(older_than=5), errors.InvalidArgument, "timedelta"),
    "no concurrency": (lambda s: s.upload("k", b"", concurrency=0), errors.InvalidArgument, "1 or more"),
    "a prefix of a number": (lambda s: s.at(5), errors.ConfigError, "text"),
    "a prefix without its slash": (lambda s: s.at("tenants"), errors.ConfigError, "ends in"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_refused_before_the_backend_is_asked(fake: Open, name: str) -> None:
    store, backend = fake()
    call, kind, says = WRONG[name]
    with pytest.raises(kind, match=says):
        call(store)
    assert backend.calls == []
    assert backend.fake_signer.signed == []


SESSION_WRONG: dict[str, tuple[Callable[[Any], object], type[errors.BlobkitError], str]] = {
    "number zero": (lambda s: s.sign_chunks([0]), errors.InvalidChunk, "0"),
    "a number past the end": (lambda s: s.sign_chunks([6]), errors.InvalidChunk, "6"),
    "numbers a number": (lambda s: s.sign_chunks(1), errors.InvalidArgument, "collection"),
    "numbers a text": (lambda s: s.sign_chunks("12"), errors.InvalidArgument, "collection"),
    "an expiry of a number": (lambda s: s.sign_chunks([1], expires_in=5), errors.InvalidExpiry, "timedelta"),
    "a checksum of another chunk": (
        lambda s: s.sign_chunks([1], checksums={2: DIGEST}),
        errors.InvalidChunk,
        "not being signed",
    ),
    "a checksum of text": (lambda s: s.sign_chunks([1], checksums={1: "AAAAAA=="}), errors.InvalidArgument, "Checksum"),
    "checksums in a list": (lambda s: s.sign_chunks([1], checksums=[DIGEST]), errors.InvalidArgument, "number"),
    "receipts in a list": (lambda s: s.complete(["etag"]), errors.InvalidArgument, "receipts"),
    "receipts by text": (lambda s: s.complete({"1": "etag"}), errors.InvalidArgument, "receipts"),
    "a size of text": (lambda s: s.complete(size="18"), errors.InvalidArgument, "bytes"),
    "another size": (lambda s: s.complete(size=17), errors.SessionMismatch, "18"),
    "a checksum that is a text": (lambda s: s.complete(checksum="abc"), errors.InvalidArgument, "Checksum"),
    "an unknown way to sign": (lambda s: s.plan(sign="eager"), errors.InvalidArgument, "lazy"),
    "lazy without links": (lambda s: s.plan(sign="lazy"), errors.InvalidArgument, "links"),
}


@pytest.mark.parametrize("name", SESSION_WRONG)
def test_a_wrong_argument_to_a_session_is_refused_before_the_backend_is_asked(fake: Open, name: str) -> None:
    store, backend = fake()
    session = store.start_upload("k", size=18, chunk_size=4)
    for chunk in session.chunks:
        backend.put_chunk(session.upload_id, chunk.number, b"x" * chunk.size)
    backend.calls.clear()
    call, kind, says = SESSION_WRONG[name]
    with pytest.raises(kind, match=says):
        call(session)
    assert backend.calls == []


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"timeout": 5}, errors.InvalidArgument, "timeout"),
        ({"timeout": timedelta(0)}, errors.InvalidArgument, "timeout"),
        ({"retries": -1}, errors.InvalidArgument, "retries"),
        ({"retries": "3"}, errors.InvalidArgument, "retries"),
        ({"clock": 5}, errors.InvalidArgument, "clock"),
        ({"clock": lambda: datetime(2026, 1, 1)}, errors.InvalidArgument, "aware"),  # noqa: DTZ001
        ({"sealing": "k1:abc"}, errors.InvalidArgument, "Keyring"),
        ({"observers": [5]}, errors.ConfigError, "Observer"),
        ({"require": "chunked"}, errors.InvalidArgument, "collection"),
        ({"require": ["chunks"]}, errors.InvalidArgument, "chunks"),
    ],
)
def test_a_store_is_not_opened_with_what_cannot_work(
    options: dict[str, Any], kind: type[errors.BlobkitError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        blobkit.open_store("memory://wrong-arguments", **options)


@pytest.mark.parametrize(
    "source",
    [
        None,
        5,
        b"memory://x",
        [],
        {},
        {"provider": "memory"},
        {"provider": "memory", "name": None},
        {"provider": "memory", "name": 5},
        {"provider": "memory", "name": blobkit.Secret("x")},
        {"provider": "memory", "scheme": "s3", "name": "x"},
        {"provider": "memory", "name": "x", "prefix": 5},
        {"provider": "memory", "name": "x", "max_expiry": [1]},
        {"provider": "memory", "name": "x", "versioning": None},
        {"provider": "memory", "name": "x", "versioning": blobkit.Secret("true")},
        "local:///a\0b",
        "memory://x?max_expiry=inf",
        "memory://x?versioning",
        "memory://x?=1",
    ],
)
def test_what_names_no_store_is_a_configuration_error(source: Any) -> None:
    with pytest.raises(errors.ConfigError):
        blobkit.open_store(source)


def test_two_names_that_differ_only_in_their_dashes_are_refused() -> None:
    with pytest.raises(errors.ConfigError, match="two entries"):
        load_settings({"stores": {"a-b": "memory://x", "A_B": "memory://y"}}, {})


@pytest.mark.parametrize("text", [5, None, "", "k1", "k1:YQ==", "a:b:c"])
def test_what_is_no_keyring_is_refused_without_printing_it(text: Any) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        Keyring.from_text(text)
    assert "YQ==" not in str(caught.value)


@pytest.mark.parametrize("keys", [[], ["k1"], None])
def test_a_keyring_holds_sealing_keys(keys: Any) -> None:
    with pytest.raises(errors.ConfigError):
        Keyring(keys)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"owner": 5}, errors.InvalidArgument),
        ({"owner": "a\nb"}, errors.InvalidKey),
        ({"owner": "\ud800"}, errors.InvalidKey),
        ({"owner": ".blobkit"}, errors.InvalidKey),
        ({"owner": ""}, errors.InvalidArgument),
        ({"owner": "u", "filename": None}, errors.InvalidArgument),
        ({"owner": "u", "clock": lambda: datetime(2026, 1, 1)}, errors.InvalidArgument),  # noqa: DTZ001
    ],
)
def test_a_value_that_could_steer_a_key_is_refused(given: dict[str, Any], kind: type[errors.BlobkitError]) -> None:
    with pytest.raises(kind):
        blobkit.KeyTemplate("{owner}/{date}/{uuid7}{ext}").render(**given)
    with pytest.raises(errors.ConfigError):
        blobkit.KeyTemplate(5)  # type: ignore[arg-type]


def test_a_file_that_is_not_there_is_the_systems_own_error(fake: Open, tmp_path: Path) -> None:
    store, backend = fake()
    with pytest.raises(FileNotFoundError, match=r"clip\.mp4"):
        store.upload("k", tmp_path / "clip.mp4")
    assert backend.calls == []
