"""What goes wrong with Cloud Storage is told by its own name, and leaves nothing half made."""

from __future__ import annotations

import base64
import json
import logging
import os
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import google.auth
import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.exceptions import DefaultCredentialsError
from google.oauth2 import service_account
from tests.unit.gcs.strict import TRUST

import blobkit
from blobkit import Checksum, Constraint, Enforcement, UploadSpec
from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    BucketNotFound,
    ClockSkew,
    ConfigError,
    ConstraintViolated,
    CredentialsExpired,
    CredentialsMissing,
    PermissionDenied,
    PreconditionFailed,
    SessionExpired,
    SessionNotFound,
    Throttled,
    TransientError,
)
from blobkit.redaction import RedactingFilter, redact
from blobkit.session import UploadSession
from blobkit.store import Store
from blobkit.testing.clock import FakeClock
from blobkit_gcs.testing import Fault, StrictGcs
from blobkit_gcs.testing.engine import Properties, Stored
from blobkit_gcs.testing.multipart import Multipart

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


# --- credentials ---


def test_an_assertion_for_the_wrong_audience_gets_no_token(
    server: StrictGcs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_account, "_GOOGLE_OAUTH2_TOKEN_ENDPOINT", "https://elsewhere.test/token")
    with pytest.raises(CredentialsExpired) as found:
        store.stat("k")
    assert found.value.retryable is False
    assert found.value.hint


def test_a_token_for_another_audience_is_refused(server: StrictGcs, store: Store) -> None:
    store.write("k", b"1")
    server.faults.add(Fault("status", status=401, when=lambda call: call.path != "/token", times=20))
    with pytest.raises(PermissionDenied) as found:
        store.stat("k")
    assert (found.value.http_status, found.value.retryable) == (401, False)


def test_clocks_that_differ_are_told(server: StrictGcs, tmp_path: Path) -> None:
    with blobkit.open_store(url_of(server, tmp_path)) as store:
        server._now = lambda: time.time() + 7200
        with pytest.raises(ClockSkew):
            store.stat("k")


def test_a_token_service_that_fails_for_a_moment_is_worth_another_try(server: StrictGcs, tmp_path: Path) -> None:
    server.faults.add(Fault("status", status=503, when=lambda call: call.path == "/token", times=50))
    with blobkit.open_store(url_of(server, tmp_path), retries=0) as store, pytest.raises(TransientError) as found:
        store.stat("k")
    assert found.value.retryable


@pytest.mark.parametrize("mode", ["", "&chunks=multipart"], ids=["sessions", "parts"])
def test_a_missing_permission_is_told_by_every_verb_of_a_session(
    server: StrictGcs, store: Store, tmp_path: Path, mode: str
) -> None:
    with blobkit.open_store(url_of(server, tmp_path) + mode) as refused:
        session = refused.start_upload("k", size=3, allow_session_life=True)
        server.faults.add(Fault("status", status=403, times=100))
        for verb in (
            session.status,
            session.complete,
            session.abort,
            lambda: refused.start_upload("j", size=3, allow_session_life=True),
        ):
            with pytest.raises(PermissionDenied) as found:
                verb()
            assert (found.value.http_status, found.value.retryable) == (403, False)
        server.faults.clear()
    assert [blob.key for blob in store.list()] == []


# --- sessions ---


@pytest.mark.parametrize("mode", ["", "&chunks=multipart"], ids=["sessions", "parts"])
def test_a_bucket_that_is_not_there_is_told_in_both_modes(server: StrictGcs, tmp_path: Path, mode: str) -> None:
    with blobkit.open_store(url_of(server, tmp_path, "nothing") + mode) as store:
        for if_absent in (False, True):
            with pytest.raises(BucketNotFound) as found:
                store.start_upload("k", size=10, allow_session_life=True, if_absent=if_absent)
            assert found.value.retryable is False


def test_a_session_whose_week_is_over_is_expired(server: StrictGcs, tmp_path: Path) -> None:
    clock = FakeClock.ago(timedelta(days=8))
    with blobkit.open_store(url_of(server, tmp_path), clock=clock) as store:
        session = store.start_upload("k", size=10, allow_session_life=True)
        assert session.expires_at - clock() == timedelta(days=7)
        server.expire_sessions()
        clock.advance(timedelta(days=7))
        with pytest.raises(SessionExpired) as found:
            session.complete()
        assert found.value.retryable is False
        assert session.status().state == "gone"


@pytest.mark.parametrize("staging", [None, False])
def test_a_session_that_was_cancelled_is_gone_and_a_finished_one_stays(store: Store, staging: bool | None) -> None:
    session = store.start_upload("k", size=3, allow_session_life=True, staging=staging)
    send(session, b"abc")
    done = session.complete()
    assert session.complete() == done
    assert session.abort().discarded
    assert store.read("k") == b"abc"
    cancelled = store.start_upload("j", size=3, allow_session_life=True, staging=staging)
    assert cancelled.abort().discarded
    assert send(cancelled, b"abc") == 404
    with pytest.raises(SessionNotFound):
        cancelled.complete()
    assert not store.exists("j")


@pytest.mark.parametrize("staging", [None, False])
@pytest.mark.parametrize("spec", [UploadSpec(), UploadSpec(metadata={"owner": "u1"})], ids=["none", "some"])
@pytest.mark.parametrize("name", ["owner", "more", "blobkitupload"])
def test_metadata_that_nobody_asked_for_is_found(
    store: Store, name: str, spec: UploadSpec, staging: bool | None
) -> None:
    session = store.start_upload("k", size=3, spec=spec, allow_session_life=True, staging=staging)
    assert send(session, b"abc", **{f"x-goog-meta-{name}": "0" * 32}) == 200
    with pytest.raises(ConstraintViolated, match="metadata"):
        session.complete()
    assert not store.exists("k")
    assert [blob.key for blob in store.list()] == []


@pytest.mark.parametrize("staging", [None, False])
@pytest.mark.parametrize("algorithm", ["md5", "crc32c"])
def test_other_bytes_than_were_promised_are_refused_by_the_service_itself(
    store: Store, algorithm: str, staging: bool | None
) -> None:
    checksum = Checksum.of(algorithm, b"abc")
    session = store.start_upload("k", size=3, checksum=checksum, allow_session_life=True, staging=staging)
    assert send(session, b"abd") == 400
    with pytest.raises(ConstraintViolated, match="checksum"):
        session.complete()
    assert [blob.key for blob in store.list()] == []
    right = store.start_upload("k", size=3, checksum=checksum, allow_session_life=True, staging=staging)
    assert send(right, b"abc") == 200
    assert right.complete().checksums[algorithm] == checksum


def test_what_holds_only_afterwards_is_said(store: Store) -> None:
    spec = UploadSpec(metadata={"a": "b"}, max_size=5, content_type="text/plain", if_absent=True)
    direct = store.start_upload("k", spec=spec, allow_session_life=True, staging=False)
    assert dict(direct.enforcement) == {
        Constraint.CONTENT_TYPE: Enforcement.PROVIDER,
        Constraint.IF_ABSENT: Enforcement.PROVIDER,
        Constraint.METADATA: Enforcement.COMPLETION,
        Constraint.SIZE_RANGE: Enforcement.COMPLETION,
    }
    direct.abort()


def test_an_object_that_came_meanwhile_stays_where_the_session_writes_to_the_key(store: Store) -> None:
    session = store.start_upload("k", size=3, if_absent=True, allow_session_life=True, staging=False)
    store.write("k", b"first")
    assert send(session, b"abc") == 412
    with pytest.raises(AlreadyExists):
        session.complete()
    assert store.read("k") == b"first"
    with pytest.raises(AlreadyExists):  # and at the start, so that nobody uploads in vain
        store.start_upload("k", size=3, if_absent=True, allow_session_life=True)


def test_the_object_that_replaced_a_finished_one_is_left_alone(server: StrictGcs, tmp_path: Path) -> None:
    """Two ways to lose sight of one's own object; neither touches the other's."""
    for mode in ("", "&chunks=multipart"):
        with blobkit.open_store(url_of(server, tmp_path) + mode) as store:
            session = store.start_upload(f"k{mode}", size=3, allow_session_life=True, staging=False)
            send(session, b"abc")
            if mode:
                session.complete()
            store.write(f"k{mode}", b"another's")
            with pytest.raises(SessionNotFound):
                session.complete()
            session.abort()
            assert store.read(f"k{mode}") == b"another's"


def test_an_error_after_a_200_is_an_error(server: StrictGcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with blobkit.open_store(url_of(server, tmp_path) + "&chunks=multipart") as store:
        session = store.start_upload("k", size=3)
        send(session, b"abc")
        said = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>sorry</Message></Error>"
        with monkeypatch.context() as patch:
            patch.setattr(Multipart, "complete", lambda self, upload, body: (_stored(server), said))
            with pytest.raises(TransientError):
                session.complete()
        assert not store.exists("k")
        assert session.complete().size == 3


def _stored(server: StrictGcs) -> Stored:
    return Stored("media", "k", b"", Properties(), 1, datetime.now(UTC), None, "AAAAAA==")


def send(session: UploadSession, data: bytes, **headers: str) -> int:
    """All of it as the first chunk, with more headers than were asked for."""
    [signed] = session.sign_chunks([1])
    ranged = {"content-range": f"bytes 0-{len(data) - 1}/{len(data)}"} if signed.template.content_range else {}
    return httpx.put(
        signed.url.reveal(), content=data, headers={**signed.headers, **ranged, **headers}, verify=TRUST
    ).status_code


# --- secrets ---


def test_the_uri_of_a_session_is_in_no_error_and_no_log(
    server: StrictGcs, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.handler.addFilter(RedactingFilter())
    session = store.start_upload("k", size=3, allow_session_life=True)
    secret = session.sign_chunks([1])[0].url.reveal().partition("upload_id=")[2]
    assert len(secret) > 20
    for fault in (
        Fault("drop", times=20),
        Fault("status", status=503, times=20),
        Fault("status", status=403, times=20),
    ):
        server.faults.clear()
        server.faults.add(fault)
        with pytest.raises(BlobkitError) as found:
            session.status()
        assert secret not in redact("".join(traceback.format_exception(found.value)))
        assert secret not in f"{found.value!r} {found.value}"
    assert caplog.records
    assert secret not in caplog.text
