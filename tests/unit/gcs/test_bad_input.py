"""What goes wrong with Cloud Storage is told by its own name, and leaves nothing half made."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import google.auth
import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.exceptions import DefaultCredentialsError

import blobkit
from blobkit.errors import (
    BlobkitError,
    BucketNotFound,
    ConfigError,
    ConstraintViolated,
    CredentialsExpired,
    CredentialsMissing,
    PermissionDenied,
    PreconditionFailed,
    SessionNotFound,
    Throttled,
)
from blobkit.store import Store
from blobkit_gcs.testing import Fault, StrictGcs

LIFE = timedelta(minutes=5)


@pytest.fixture
def server() -> Iterator[StrictGcs]:
    with StrictGcs() as running:
        running.create_bucket("media")
        yield running


def url_of(server: StrictGcs, folder: Path, bucket: str = "media", info: dict[str, str] | None = None) -> str:
    key = folder / "key.json"
    key.write_text(json.dumps(info or server.service_account.info))
    return f"gs://{bucket}/?service_account_file={quote(str(key), safe='')}&endpoint={quote(server.endpoint, safe='')}"


@pytest.fixture
def store(server: StrictGcs, tmp_path: Path) -> Iterator[Store]:
    sealing = blobkit.Keyring.from_text("k:" + base64.b64encode(os.urandom(32)).decode())
    with blobkit.open_store(url_of(server, tmp_path), sealing=sealing) as opened:
        yield opened


def test_no_credentials_are_told_with_what_would_help(server: StrictGcs, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(scopes: object = None) -> object:
        raise DefaultCredentialsError("none")  # type: ignore[no-untyped-call]

    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setattr(google.auth, "default", nothing)
    with blobkit.open_store(f"gs://media/?endpoint={quote(server.endpoint, safe='')}") as store:
        with pytest.raises(CredentialsMissing, match="GOOGLE_APPLICATION_CREDENTIALS"):
            store.stat("k")
        with pytest.raises(CredentialsMissing):
            store.sign_upload("k", expires_in=LIFE)


def test_a_key_that_google_does_not_know_is_told(server: StrictGcs, tmp_path: Path) -> None:
    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    info = {**server.service_account.info, "private_key": pem.decode()}
    with blobkit.open_store(url_of(server, tmp_path, info=info)) as store:
        with pytest.raises(CredentialsExpired):
            store.stat("k")
        answer = httpx.put(store.sign_upload("k", expires_in=LIFE).url.reveal(), content=b"x")
    assert answer.status_code == 403


@pytest.mark.parametrize("text", ["", "{", "[]", '{"type": "service_account"}', '{"type": "authorized_user"}'])
def test_a_key_file_that_is_none_is_refused_before_any_call(tmp_path: Path, text: str) -> None:
    (tmp_path / "key.json").write_text(text)
    with pytest.raises(ConfigError):
        blobkit.open_store(f"gs://media/?service_account_file={tmp_path / 'key.json'}")


def test_a_token_that_was_revoked_is_renewed(server: StrictGcs, store: Store) -> None:
    store.write("k", b"1")
    server.identity.revoke_tokens()
    assert store.read("k") == b"1"


@pytest.mark.parametrize(("status", "error"), [(403, PermissionDenied), (429, Throttled)])
def test_a_refusal_has_its_own_error(server: StrictGcs, store: Store, status: int, error: type[BlobkitError]) -> None:
    store.write("k", b"1")
    server.faults.add(Fault("status", status=status, times=20))
    with pytest.raises(error) as found:
        store.stat("k")
    assert found.value.http_status == status
    assert found.value.retryable is (status == 429)


def test_a_bucket_that_is_not_there_leaves_nothing(server: StrictGcs, tmp_path: Path) -> None:
    with blobkit.open_store(url_of(server, tmp_path, "nothing")) as store, pytest.raises(BucketNotFound):
        store.start_upload("k", size=10, allow_session_life=True)


def test_a_session_that_expired_is_not_found(server: StrictGcs, store: Store) -> None:
    session = store.start_upload("k", size=10, allow_session_life=True)
    server.expire_sessions()
    assert session.status().state == "gone"
    with pytest.raises(SessionNotFound):
        session.complete()
    assert session.abort().discarded
    assert not store.exists("k")


def test_an_object_that_changed_meanwhile_is_not_promoted(store: Store) -> None:
    seen = store.write("staged", b"1")
    store.write("staged", b"2")
    with pytest.raises(PreconditionFailed):
        store.promote(seen, "public")
    assert not store.exists("public")


def test_metadata_that_the_holder_of_a_session_added_is_found(store: Store) -> None:
    session = store.start_upload("k", size=3, metadata={"owner": "u1"}, allow_session_life=True)
    signed = session.sign_chunks([1])[0]
    answer = httpx.put(
        signed.url.reveal(), content=b"abc", headers={"content-range": "bytes 0-2/3", "x-goog-meta-owner": "u2"}
    )
    assert answer.status_code == 200
    with pytest.raises(ConstraintViolated):
        session.complete()
    assert not store.exists("k")


def test_no_secret_is_printed(server: StrictGcs, store: Store) -> None:
    session = store.start_upload("k", size=3, allow_session_life=True)
    signed = session.sign_chunks([1])[0]
    for text in (
        repr(store),
        repr(session),
        str(signed),
        repr(signed.url),
        f"{store.sign_upload('k', expires_in=LIFE)}",
    ):
        assert "upload_id=" not in text or "***" in text
        assert server.service_account.private_key_pem[30:60] not in text
        assert signed.url.reveal() not in text
