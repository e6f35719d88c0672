"""Signing without a key: IAM's signBlob, on the strict server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from urllib.parse import quote

import google.auth
import httpx
import pytest
from google.auth import credentials as google_credentials
from google.auth import impersonated_credentials
from google.oauth2.credentials import Credentials

import blobkit
from blobkit import Route, UploadSpec
from blobkit.backend import SessionState, UploadOrder
from blobkit.chunking import ChunkLimits
from blobkit.chunking import plan as plan_chunks
from blobkit.errors import InvalidExpiry, PermissionDenied, SigningUnavailable, Throttled, Unavailable
from blobkit.store import Store
from blobkit_gcs.credentials import SCOPES, Tokens
from blobkit_gcs.hosts import site
from blobkit_gcs.signblob import CONCURRENCY, SignBlobKey
from blobkit_gcs.signer import GcsSigner
from blobkit_gcs.testing import Call, Fault, StrictGcs

LIFE = timedelta(minutes=5)


@pytest.fixture
def server() -> Iterator[StrictGcs]:
    with StrictGcs() as running:
        running.create_bucket("media")
        yield running


@pytest.fixture
def opened(server: StrictGcs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Store]]:
    """A store whose login is a user's: it has a token, and no key."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    login = Credentials(token=server.identity.issue())  # type: ignore[no-untyped-call]
    monkeypatch.setattr(google.auth, "default", lambda scopes=None: (login, "p"))
    endpoint = quote(server.endpoint, safe="")
    stores: list[Store] = []

    def open_(email: str | None = server.service_account.email, more: str = "") -> Store:
        more += "" if email is None else f"&signer_email={email}"
        stores.append(blobkit.open_store(f"gs://media/?endpoint={endpoint}&iam_endpoint={endpoint}{more}"))
        return stores[-1]

    yield open_
    for store in stores:
        store.close()


def test_a_url_that_signblob_signed_works(opened: Callable[..., Store]) -> None:
    store = opened()
    assert store.capabilities.signing_io
    request = store.sign_upload("k", content_type="text/plain", expires_in=LIFE)
    assert httpx.put(request.url.reveal(), content=b"x", headers=dict(request.headers)).status_code == 200
    assert store.read("k") == b"x"


def test_each_url_costs_one_call_and_the_same_one_none(opened: Callable[..., Store], server: StrictGcs) -> None:
    store, ends = opened(), datetime.now(UTC) + LIFE
    before = server.identity.sign_requests
    requests = store.sign_uploads([f"k{number}" for number in range(20)], expires_at=ends)
    assert len({request.url.reveal() for request in requests}) == 20
    assert server.identity.sign_requests - before == 20
    signed = store.sign_download("k", stable_for=timedelta(hours=1), expires_in=LIFE).url.reveal()
    asked = server.identity.sign_requests
    assert store.sign_download("k", stable_for=timedelta(hours=1), expires_in=LIFE).url.reveal() == signed
    assert server.identity.sign_requests == asked


def test_a_refusal_names_the_account_and_the_role(opened: Callable[..., Store], server: StrictGcs) -> None:
    server.identity.may_sign_blob = False
    with pytest.raises(PermissionDenied) as found:
        opened().sign_upload("k", expires_in=LIFE)
    assert server.service_account.email in str(found.value)
    assert "roles/iam.serviceAccountTokenCreator" in str(found.value)


def test_a_user_without_a_service_account_is_told_what_to_do(opened: Callable[..., Store]) -> None:
    with pytest.raises(SigningUnavailable) as found:
        opened(None).sign_upload("k", expires_in=LIFE)
    assert "signer_email" in str(found.value)


def test_an_account_that_is_not_there_cannot_sign(opened: Callable[..., Store]) -> None:
    with pytest.raises(SigningUnavailable):
        opened("nobody@strict-project.iam.gserviceaccount.com").sign_upload("k", expires_in=LIFE)


def is_signing(call: Call) -> bool:
    return call.path.endswith(":signBlob")


def test_a_failure_that_passes_is_tried_again(opened: Callable[..., Store], server: StrictGcs) -> None:
    server.faults.add(Fault("status", when=is_signing), Fault("drop", when=is_signing))
    assert opened().sign_upload("k", expires_in=LIFE).method == "PUT"
    assert server.faults.met == 2


def test_a_failure_that_does_not_pass_ends_after_some_tries(opened: Callable[..., Store], server: StrictGcs) -> None:
    server.faults.add(Fault("status", when=is_signing, times=50))
    with pytest.raises(Unavailable):
        opened().sign_upload("k", expires_in=LIFE)
    assert server.faults.met < 10


def test_a_key_file_needs_no_login_to_sign(server: StrictGcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key.json"
    key.write_text(json.dumps(server.service_account.info))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    monkeypatch.setattr(google.auth, "default", lambda scopes=None: pytest.fail("asked for a login"))
    with blobkit.open_store(f"gs://media/?endpoint={quote(server.endpoint, safe='')}") as store:
        assert not store.capabilities.signing_io
        url = store.sign_upload("k", expires_in=LIFE).url.reveal()
        assert httpx.put(url, content=b"x").status_code == 200
    assert server.identity.token_requests == 0


# --- how often, and how many at a time ---


class Asked:
    """Stands for the access tokens of a login; counts how many signatures are being made."""

    def __init__(self, status: int = 200) -> None:
        self._lock = threading.Lock()
        self._gate = threading.Event()
        self._status = status
        self.running = self.most = self.calls = 0

    def post(self, url: str, body: object, *, timeout: float) -> object:
        with self._lock:
            self.calls += 1
            self.running += 1
            self.most = max(self.most, self.running)
            if self.most >= CONCURRENCY:
                self._gate.set()
        assert self._gate.wait(30), "fewer run at a time than could"
        with self._lock:
            self.running -= 1
        return SimpleNamespace(status_code=self._status, headers={}, json=lambda: {"signedBlob": "AAAA"})


def test_only_so_many_calls_run_at_a_time() -> None:
    asked = Asked()
    key = SignBlobKey(cast("Tokens", asked), "a@b.test", "http://iam.test")
    with ThreadPoolExecutor(3 * CONCURRENCY) as pool:
        list(pool.map(lambda number: key.sign(str(number).encode(), "20260101"), range(10 * CONCURRENCY)))
    assert (asked.most, asked.calls) == (CONCURRENCY, 10 * CONCURRENCY)


def test_a_batch_and_the_chunks_of_a_session_are_signed_side_by_side() -> None:
    for sign in (
        lambda signer: signer.uploads([(str(number), ORDER) for number in range(40)], 0, 60),
        lambda signer: signer.chunks(PARTS, list(PARTS.plan), {}, 0, 60),
    ):
        asked = Asked()
        key = SignBlobKey(cast("Tokens", asked), "a@b.test", "http://iam.test")
        place = site("media", "https://storage.googleapis.com")
        signer = GcsSigner(key, place, "media", multipart=True, threads=CONCURRENCY)
        signed = sign(signer)  # type: ignore[no-untyped-call]
        assert len({item.url.reveal() for item in signed}) == 40
        assert (asked.most, asked.calls) == (CONCURRENCY, 40)


ORDER = UploadOrder(UploadSpec(), Route.PUT, {})
PARTS = SessionState(
    key="k",
    spec=UploadSpec(size=40 * 5 * 2**20),
    plan=plan_chunks(40 * 5 * 2**20, ChunkLimits(min_chunk=5 * 2**20, max_chunk=2**30), chunk_size=5 * 2**20),
    upload_id="0" * 32,
    provider_id="upload",
    started=datetime(2026, 1, 1, tzinfo=UTC),
)


class Metadata(google_credentials.Credentials):
    """The login of a virtual machine: its account is called "default" until the metadata server was asked."""

    def __init__(self, server: StrictGcs) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._server = server
        self.service_account_email = "default"
        self.refreshes = 0

    def refresh(self, request: object) -> None:
        self.refreshes += 1
        self.service_account_email = self._server.service_account.email
        self.token = self._server.identity.issue()
        self.expiry = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)


def test_token_and_email_are_asked_for_once_by_however_many_threads(
    opened: Callable[..., Store], server: StrictGcs, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = Metadata(server)
    monkeypatch.setattr(google.auth, "default", lambda scopes=None: (login, "p"))
    store, together = opened(None), threading.Barrier(8)

    def sign(number: int) -> str:
        together.wait(30)
        return store.sign_upload(f"k{number}", expires_in=LIFE).url.reveal()

    with ThreadPoolExecutor(8) as pool:
        urls = list(pool.map(sign, range(8)))
    assert login.refreshes == 1
    assert server.identity.sign_requests == 8
    assert all(quote(server.service_account.email, safe="") in url for url in urls)


def test_for_an_impersonated_account_its_impersonator_signs(
    opened: Callable[..., Store], server: StrictGcs, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Credentials(token=server.identity.issue())  # type: ignore[no-untyped-call]
    login = impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
        source, server.service_account.email, list(SCOPES), delegates=["middle@strict-project.iam.gserviceaccount.com"]
    )
    login.token = "ya29.of-the-account-which-has-no-role-on-itself"
    monkeypatch.setattr(google.auth, "default", lambda scopes=None: (login, "p"))
    asked: list[object] = []
    sign = server.identity.sign_blob

    def watched(email: str, payload: str, delegates: object = ()) -> dict[str, str]:
        asked.append(delegates)
        return sign(email, payload)

    monkeypatch.setattr(server.identity, "sign_blob", watched)
    url = opened(None).sign_upload("k", expires_in=LIFE).url.reveal()
    assert httpx.put(url, content=b"x").status_code == 200
    assert asked == [["projects/-/serviceAccounts/middle@strict-project.iam.gserviceaccount.com"]]


def test_too_many_calls_are_throttling(opened: Callable[..., Store], server: StrictGcs) -> None:
    server.faults.add(Fault("status", status=429, when=is_signing, times=50))
    with pytest.raises(Throttled) as found:
        opened().sign_upload("k", expires_in=LIFE)
    assert found.value.retryable


# --- for how long ---

HALF_A_DAY = timedelta(hours=12)


def test_a_longer_life_than_twelve_hours_is_refused_cut_short_or_accepted(opened: Callable[..., Store]) -> None:
    asked = timedelta(hours=13)
    assert opened().sign_upload("k", expires_in=HALF_A_DAY).method == "PUT"
    with pytest.raises(InvalidExpiry):
        opened().sign_upload("k", expires_in=asked)
    before = datetime.now(UTC)
    short = opened(more="&on_short_credentials=cap").sign_upload("k", expires_in=asked)
    assert HALF_A_DAY - timedelta(seconds=1) <= short.expires_at - before <= HALF_A_DAY + timedelta(seconds=30)
    assert f"X-Goog-Expires={int(HALF_A_DAY.total_seconds())}" in short.url.reveal()
    accepted = opened(more="&max_expiry=604800")
    assert accepted.sign_upload("k", expires_in=timedelta(days=7)).expires_at > before + timedelta(days=6)
    with pytest.raises(InvalidExpiry):
        accepted.sign_upload("k", expires_in=timedelta(days=8))


def test_the_login_of_the_service_is_not_asked_for_what_is_signed_already(
    opened: Callable[..., Store], server: StrictGcs
) -> None:
    store = opened()
    url = store.sign_download("k", stable_for=timedelta(hours=1), expires_in=LIFE).url.reveal()
    calls = server.calls
    assert store.sign_download("k", stable_for=timedelta(hours=1), expires_in=LIFE).url.reveal() == url
    assert server.calls == calls
