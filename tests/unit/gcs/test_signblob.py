"""Signing without a key: IAM's signBlob, on the strict server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import google.auth
import httpx
import pytest
from google.oauth2.credentials import Credentials

import blobkit
from blobkit.errors import InvalidExpiry, PermissionDenied, SigningUnavailable, Unavailable
from blobkit.store import Store
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

    def open_(email: str | None = server.service_account.email) -> Store:
        more = "" if email is None else f"&signer_email={email}"
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


def test_a_signature_is_not_promised_for_longer_than_its_key_is_sure_to_live(opened: Callable[..., Store]) -> None:
    with pytest.raises(InvalidExpiry):
        opened().sign_upload("k", expires_in=timedelta(hours=13))


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
