"""The signer: what is parsed once, remembered within bounds, made side by side; and forms, hosts and payers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from google.cloud.storage import Client
from tests.unit.gcs.strict import TRUST

import blobkit
import blobkit_gcs
from blobkit import Checksum, Route, UploadSpec
from blobkit.backend import UploadOrder
from blobkit.errors import ClosedError, ConfigError, InvalidArgument
from blobkit.store import Store
from blobkit_gcs import signing
from blobkit_gcs.hosts import site
from blobkit_gcs.signer import GcsSigner
from blobkit_gcs.signing import HmacKey, RsaKey
from blobkit_gcs.testing import StrictGcs

LIFE = timedelta(minutes=5)


@pytest.fixture(scope="module")
def server() -> Iterator[StrictGcs]:
    with StrictGcs() as running:
        running.create_bucket("media", versioning=True)
        running.bind_host("media.example.test", "media")
        yield running


@pytest.fixture
def options(server: StrictGcs, tmp_path: Path) -> str:
    key = tmp_path / "key.json"
    key.write_text(json.dumps(server.service_account.info))
    return f"service_account_file={quote(str(key), safe='')}&endpoint={quote(server.endpoint, safe='')}"


@pytest.fixture
def store(options: str) -> Iterator[Store]:
    with blobkit.open_store(f"gs://media/?{options}") as opened:
        yield opened


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(verify=TRUST) as client:
        yield client


# --- the key ---


def test_a_key_is_parsed_once_for_signing_and_for_logging_in(options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    load = serialization.load_pem_private_key

    def counted(data: bytes, password: bytes | None) -> object:
        parsed.append(1)
        return load(data, password)

    monkeypatch.setattr(serialization, "load_pem_private_key", counted)
    signing._parsed.cache_clear()
    for _ in range(2):
        with blobkit.open_store(f"gs://media/?{options}") as store:
            assert len(store.sign_uploads([f"k{number}" for number in range(20)], expires_in=LIFE)) == 20
            assert not store.exists("nothing")
    assert len(parsed) == 1


def test_a_batch_is_signed_on_every_core_as_one_by_one(server: StrictGcs) -> None:
    threads: set[str] = set()

    class Watched(RsaKey):
        def sign(self, text: bytes, date: str) -> str:
            threads.add(threading.current_thread().name)
            return super().sign(text, date)

    account = server.service_account
    key, place = Watched(account.email, account.private_key_pem), site("media", server.endpoint)
    order = UploadOrder(UploadSpec(content_type="image/png"), Route.PUT, {})
    items = [(f"k{number}", order) for number in range(64)]
    batch = GcsSigner(key, place, "media", threads=4).uploads(items, 0, 60)
    assert len(threads) > 1
    assert all("blobkit-gcs-sign" in name for name in threads)
    alone = GcsSigner(key, place, "media")
    assert [one.url.reveal() for one in batch] == [alone.upload(*item, 0, 60).url.reveal() for item in items]


def test_what_is_remembered_of_a_long_window_is_bounded() -> None:
    key, place = HmacKey("GOOG1E", "s"), site("media", "https://storage.googleapis.com")
    window = signing.window(key, 0, 86_400)
    for number in range(3000):
        signing.sign_url(
            key, place, "k", signing.Shape.of("GET", place, query={"response-content-type": str(number)}), window
        )
    assert len(window.shapes) <= 1024


def test_nothing_of_a_key_is_printed(server: StrictGcs) -> None:
    account = server.service_account
    for key, secret in (
        (RsaKey(account.email, account.private_key_pem), account.private_key_pem[40:80]),
        (HmacKey(*server.hmac), server.hmac[1]),
    ):
        assert secret not in repr(key)
        assert secret not in repr(GcsSigner(key, site("media", server.endpoint), "media"))


@pytest.mark.parametrize("pem", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_text_that_is_no_key_is_refused(pem: str) -> None:
    with pytest.raises(ConfigError, match="private key"):
        RsaKey("a@b.test", pem)


# --- forms ---

EVERYTHING = UploadSpec(
    content_type="image/png",
    min_size=2,
    max_size=5,
    checksum=Checksum.of("md5", b"abc"),
    metadata={"owner": "u 1"},
    cache_control="no-store",
    content_disposition="inline",
    content_encoding="identity",
    storage_class="NEARLINE",
)


def test_a_form_binds_everything_that_was_asked(server: StrictGcs, http: httpx.Client) -> None:
    account = server.service_account
    for name, key in (("rsa é", RsaKey(account.email, account.private_key_pem)), ("hmac é", HmacKey(*server.hmac))):
        signer = GcsSigner(key, site("media", server.endpoint), "media")
        now = int(datetime.now(UTC).timestamp())
        request = signer.upload(name, UploadOrder(EVERYTHING, Route.POST, {}), now, now + 300)
        assert request.method == "POST"
        assert request.fields is not None
        fields, url = dict(request.fields), request.url.reveal()

        def send(data: bytes, **changed: str) -> int:
            return http.post(url, data={**fields, **changed}, files={"file": ("f", data)}).status_code  # noqa: B023

        for wrong in (
            {"content-type": "text/html"}, {"x-goog-meta-owner": "u2"}, {"cache-control": "public"}, {"key": "other"},
            {"content-disposition": "attachment"}, {"content-encoding": "gzip"}, {"x-goog-storage-class": "STANDARD"},
            {"content-md5": Checksum.of("md5", b"abd").base64}, {"x-goog-meta-more": "1"},
        ):  # fmt: skip
            assert send(b"abc", **wrong) == 400, wrong
        assert send(b"a") == send(b"abcdef") == send(b"abd") == 400
        assert server.find("media", name) is None
        assert send(b"abc") == 204
        stored = server.find("media", name)
        assert stored is not None
        assert (stored.data, stored.properties.storage_class) == (b"abc", "NEARLINE")


# --- hosts that name the bucket, and who pays ---


@pytest.mark.parametrize(
    ("more", "host"),
    [
        ("&addressing=virtual&public_endpoint=http://127.0.0.1:8443", "media.127.0.0.1"),
        ("&addressing=virtual&public_endpoint=https://storage.googleapis.com", "media.storage.googleapis.com"),
        ("&addressing=bound&public_endpoint=https://media.example.test", "media.example.test"),
        ("&addressing=bound&public_endpoint=https://MEDIA.example.test:8443", "media.example.test"),
    ],
)
@pytest.mark.parametrize("chunks", ["", "&chunks=multipart"])
def test_a_url_for_every_kind_of_host_is_understood(
    server: StrictGcs, http: httpx.Client, options: str, more: str, host: str, chunks: str
) -> None:
    """The server is where it is: what counts is the host that the request names."""

    def send(method: str, url: str, **how: object) -> httpx.Response:
        parts = urlsplit(url)
        headers = {**dict(how.pop("headers", {})), "host": parts.netloc}  # type: ignore[call-overload]
        assert parts.hostname == host
        return http.request(method, f"{server.endpoint}{parts.path}?{parts.query}", headers=headers, **how)  # type: ignore[arg-type]

    with blobkit.open_store(f"gs://media/?{options}{more}{chunks}") as store:
        put = store.sign_upload("a/é", content_type="image/png", max_size=5, expires_in=LIFE)
        answer = send("PUT", put.url.reveal(), content=b"abc", headers=put.headers)
        assert answer.status_code == 200, answer.text
        assert store.read("a/é") == b"abc"
        assert send("GET", store.sign_download("a/é", expires_in=LIFE).url.reveal()).content == b"abc"
        other = put.url.reveal().replace("/a/", "/b/")
        assert send("PUT", other, content=b"abc", headers=put.headers).status_code == 403
        if chunks:
            session = store.start_upload("parts", size=4)
            [chunk] = session.sign_chunks()
            answer = send("PUT", chunk.url.reveal(), content=b"abcd", headers=chunk.headers)
            assert answer.status_code == 200, answer.text
            assert session.complete().size == 4
        assert send("DELETE", store.sign_delete("a/é", expires_in=LIFE).url.reveal()).status_code == 204


def test_who_pays_is_signed_into_every_url(options: str) -> None:
    with blobkit.open_store(f"gs://media/?{options}&user_project=payer&chunks=multipart") as store:
        session = store.start_upload("k", size=1)
        urls = [
            store.sign_upload("k", expires_in=LIFE).url,
            store.sign_download("k", expires_in=LIFE).url,
            store.sign_delete("k", expires_in=LIFE).url,
            session.sign_chunks()[0].url,
        ]
        session.abort()
    assert [parse_qs(urlsplit(url.reveal()).query)["userProject"] for url in urls] == [["payer"]] * 4


# --- what a store is of ---


def test_a_key_of_another_universe_says_so(server: StrictGcs, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text(json.dumps({**server.service_account.info, "universe_domain": "example.goog"}))
    url = f"gs://media/?service_account_file={quote(str(key), safe='')}"
    with blobkit.open_store(url) as store:
        signed = store.sign_download("k", expires_in=LIFE).url.reveal()
        assert signed.startswith("https://storage.example.goog/media/k?")
        assert blobkit_gcs.client(store).universe_domain == "example.goog"
    with pytest.raises(ConfigError, match=r"example\.goog"):
        blobkit.open_store(f"{url}&universe_domain=other.goog")


def test_the_sdks_client_is_there_for_the_rest(store: Store) -> None:
    found = blobkit_gcs.client(store)
    assert isinstance(found, Client)
    assert found is blobkit_gcs.client(store.at("deeper/"))
    with blobkit.open_store("memory://elsewhere") as elsewhere, pytest.raises(InvalidArgument):
        blobkit_gcs.client(elsewhere)
    store.close()
    with pytest.raises(ClosedError):
        blobkit_gcs.client(store)
