"""Azure on Azurite, where things go wrong and where it differs: the demo, revocation, leases, other people's blocks."""

from __future__ import annotations

import base64
import os
import random
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from azure.storage.blob import AccessPolicy, BlobServiceClient, ContainerClient
from tests.servers.azurite import ACCOUNT, KEY, Azurite, azurite, missing, token

import blobkit
import blobkit_azure
from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    InvalidArgument,
    InvalidExpiry,
    ObjectLocked,
    PermissionDenied,
    SessionMismatch,
    SessionNotFound,
    Unsupported,
)
from blobkit.store import Store
from blobkit.transfer.upload import upload
from blobkit_azure.signing import AccountGrant, AccountKey, Grant, account_sas, service_sas
from blobkit_azure.signing.sas import stamp

if _lacks := missing():
    pytest.skip(_lacks, allow_module_level=True)

LIFE = timedelta(minutes=5)
MIB = blobkit.MiB
SEALING = blobkit.Keyring.from_text("k:" + base64.b64encode(os.urandom(32)).decode())
ACCOUNT_KEY = AccountKey(ACCOUNT, base64.b64decode(KEY))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with azurite(tmp_path_factory.mktemp("azurite")) as server:
        with BlobServiceClient(server.url, credential={"account_name": ACCOUNT, "account_key": KEY}) as service:
            service.create_container("media")
        yield server


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    folder = tmp_path_factory.mktemp("secure")
    with pytest.MonkeyPatch.context() as patch, azurite(folder, https=True) as server:
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            patch.setenv(name, str(folder / "ca.pem"))
        with BlobServiceClient(server.url, credential={"account_name": ACCOUNT, "account_key": KEY}) as service:
            service.create_container("media")
        yield server


def opened(server: Azurite, more: str = "", *, prefix: str = "", token: bool = False, retries: int = 1) -> Store:
    options = server.with_token if token else server.with_key
    return blobkit.open_store(f"az://{ACCOUNT}/media/{prefix}?{options}{more}", sealing=SEALING, retries=retries)


@pytest.fixture
def store(server: Azurite, request: pytest.FixtureRequest) -> Iterator[Store]:
    with opened(server, prefix=f"{quote(request.node.name, safe='')}/") as store:
        yield store


def client(store: Store) -> ContainerClient:
    return blobkit_azure.client(store)


def send(request: blobkit.SignedRequest, data: bytes | None = None, *, url: str | None = None) -> httpx.Response:
    return httpx.request(
        request.method, url or request.url.reveal(), content=data, headers=dict(request.headers), timeout=30
    )


def test_the_demo_holds_on_azure(server: Azurite, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(random.Random(1).randbytes(24 * MIB))
    ran = subprocess.run(
        [
            Path(sys.executable).with_name("blobkit"), "demo", "--store", f"az://{ACCOUNT}/media/demo/?{server.with_key}",
            film, "--json",
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "BLOBKIT_SEALING_KEYS": "k:" + base64.b64encode(os.urandom(32)).decode()},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


# --- signatures -------------------------------------------------------------------------------------------------------


def test_a_url_for_https_alone_is_refused_over_http(server: Azurite) -> None:
    public = quote(server.url.replace("http:", "https:"), safe="")
    with opened(server, f"&public_endpoint={public}") as store:
        store.write("k", b"data")
        url = store.sign_download("k", expires_in=LIFE).url.reveal()
    assert "&spr=https&" in url
    answer = httpx.get(url.replace("https:", "http:", 1))
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (403, "AuthorizationProtocolMismatch")


def test_a_grant_serves_its_one_step_and_no_other(store: Store) -> None:
    store.write("k", b"data")
    create = store.sign_upload("k", expires_in=LIFE, if_absent=True).url.reveal()
    write = store.sign_upload("k", expires_in=LIFE).url.reveal()
    read = store.sign_download("k", expires_in=LIFE).url.reveal()
    delete = store.sign_delete("k", expires_in=LIFE).url.reveal()
    put: dict[str, Any] = {"content": b"evil", "headers": {"x-ms-blob-type": "BlockBlob"}}
    for url in (create, write, delete):
        assert httpx.get(url).status_code == 403
    for url in (create, read, delete):
        assert httpx.put(url, **put).status_code == 403
        assert httpx.put(f"{url}&comp=block&blockid=AAAA", content=b"x").status_code == 403
    for url in (create, write, read):
        assert httpx.delete(url).status_code == 403
    assert store.read("k") == b"data"


def test_a_create_only_upload_needs_no_header_to_keep_what_is_there(store: Store) -> None:
    request = store.sign_upload("k", if_absent=True, expires_in=LIFE)
    assert dict(request.headers) == {"x-ms-blob-type": "BlockBlob"}
    assert send(request, b"first").status_code == 201
    assert send(request, b"second").status_code == 403
    assert store.read("k") == b"first"


def test_an_upload_without_the_blob_type_is_refused(store: Store) -> None:
    request = store.sign_upload("k", expires_in=LIFE)
    assert httpx.put(request.url.reveal(), content=b"x").status_code == 400


def test_deleting_a_stored_policy_revokes_what_was_signed(server: Azurite) -> None:
    # Azurite takes permissions and times from the policy alone; Azure takes what the policy leaves open from the SAS.
    with opened(server, "&stored_policy=uploads") as store:
        store.write("revoked", b"data")
        policy = AccessPolicy(permission="r", expiry=datetime.now(UTC) + LIFE, start=datetime.now(UTC) - LIFE)
        client(store).set_container_access_policy({"uploads": policy})
        request = store.sign_download("revoked", expires_in=LIFE)
        assert "&si=uploads&" in request.url.reveal()
        assert send(request).content == b"data"
        client(store).set_container_access_policy({})
        assert send(request).status_code == 403


def test_a_snapshot_is_read_by_a_signature_of_its_own(server: Azurite) -> None:
    with opened(server, "&versioning=on") as store:
        store.write("kept", b"before")
        instant = str(client(store).get_blob_client("kept").create_snapshot()["snapshot"])
        store.write("kept", b"after")
        request = store.sign_download("kept", version=f"snapshot={instant}", expires_in=LIFE)
        assert "&sr=bs&" in request.url.reveal()
        assert send(request).content == b"before"
        assert store.stat("kept", version=f"snapshot={instant}").size == len(b"before")
        other = send(
            request, url=request.url.reveal().replace(quote(instant, safe=""), "2020-01-01T00%3A00%3A00.0000000Z")
        )
        assert other.status_code == 403
        with pytest.raises(ObjectLocked) as found:
            store.delete("kept")
        assert (found.value.code, bool(found.value.request_id)) == ("SnapshotsPresent", True)


@pytest.mark.parametrize("version", ["2018-11-09", "2020-10-02", "2020-12-06", "2022-11-02", "2026-04-06"])
def test_service_signatures_of_every_form_are_verified(server: Azurite, version: str) -> None:
    with opened(server, f"&sas_version={version}", prefix=f"{version}/") as store:
        assert send(store.sign_upload("k é", content_type="text/x-a", verify_after="all"), b"1").status_code == 201
        answer = send(store.sign_download("k é", content_type="image/png", filename="a b.png"))
        assert (answer.content, answer.headers["content-type"]) == (b"1", "image/png")


@pytest.mark.parametrize("version", ["2018-11-09", "2020-02-10", "2020-12-06", "2025-07-05", "2026-04-06"])
def test_user_delegation_signatures_of_every_form_are_verified(secure: Azurite, version: str) -> None:
    with opened(secure, f"&sas_version={version}", prefix=f"{version}/", token=True) as store:
        for request, data in ((store.sign_upload("k é", if_absent=True), b"1"), (store.sign_download("k é"), None)):
            trust = ssl.create_default_context(cafile=str(secure.folder / "ca.pem"))
            with httpx.Client(verify=trust) as http:
                answer = http.request(request.method, request.url.reveal(), content=data, headers=dict(request.headers))
                assert answer.status_code in request.expected_status, answer.text


def test_from_version_2026_04_06_on_the_headers_are_bound(secure: Azurite) -> None:
    with opened(secure, token=True) as store:
        request = store.sign_upload("k", content_type="image/png", metadata={"owner": "u1"}, expires_in=LIFE)
    assert request.url.reveal().count("&srh=x-ms-blob-content-type,x-ms-meta-owner&") == 1
    assert dict(request.enforcement) == {"content_type": "signature", "metadata": "signature"}
    assert dict(request.headers) == {
        "x-ms-blob-type": "BlockBlob",
        "x-ms-blob-content-type": "image/png",
        "x-ms-meta-owner": "u1",
    }


@pytest.mark.parametrize("wide", [True, False], ids=["account", "container"])
def test_a_given_signature_is_used_and_only_handed_on_when_told_to(
    server: Azurite, monkeypatch: pytest.MonkeyPatch, wide: bool
) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    if wide:
        sas = account_sas(
            AccountGrant("2022-11-02", "rwdlac", stamp(int(end.timestamp())), resources="sco"), ACCOUNT_KEY
        )
    else:
        grant = Grant("2022-11-02", "racwdl", stamp(int(end.timestamp())), resource="c")
        sas = service_sas(grant, ACCOUNT_KEY, "media")
    monkeypatch.setenv("GIVEN", sas)
    url = f"az://{ACCOUNT}/media/given/?endpoint={quote(server.url, safe='')}&sas_token_env=GIVEN"
    with blobkit.open_store(url, sealing=SEALING) as store:
        store.write("k", b"data")
        with pytest.raises(Unsupported):
            store.sign_download("k")
    with blobkit.open_store(f"{url}&share_sas=true", sealing=SEALING) as store:
        request = store.sign_download("k", expires_in=LIFE)
        assert request.expires_at == end, "the true end, not the one that was asked for"
        assert send(request).content == b"data"
        data = random.Random(2).randbytes(300_000)
        session = store.start_upload("big", size=len(data), chunk_size=100_000)
        upload(data, session)
        assert session.complete().size == len(data)
        assert store.read("big") == data
        assert store.copy("big", "copy").size == len(data)
        with pytest.raises(InvalidExpiry):
            store.sign_download("k", expires_in=timedelta(hours=2))
        for key in ("k", "big", "copy"):
            store.delete(key)


# --- what is told when it goes wrong ----------------------------------------------------------------------------------


def told(error: BlobkitError, code: str) -> None:
    """Azure's own code, its request id and a hint came through."""
    assert error.code == code
    assert error.http_status
    assert error.request_id
    assert error.hint


def test_a_leased_blob_is_locked(store: Store) -> None:
    store.write("k", b"1")
    lease = client(store).get_blob_client(f"{store.prefix}k").acquire_lease()
    for call in (lambda: store.write("k", b"2"), lambda: store.delete("k")):
        with pytest.raises(ObjectLocked) as found:
            call()
        told(found.value, "LeaseIdMissing")
    lease.release()
    store.write("k", b"2")
    assert store.read("k") == b"2"


def test_a_blob_of_another_type_is_told_apart(store: Store) -> None:
    client(store).get_blob_client(f"{store.prefix}page").create_page_blob(512)
    with pytest.raises(SessionMismatch) as found:
        store.start_upload("page", size=10, staging=False)
    told(found.value, "InvalidBlobType")


def test_blocks_of_another_program_are_noticed_at_the_start(store: Store) -> None:
    blob = client(store).get_blob_client(f"{store.prefix}shared")
    blob.stage_block("short", b"x")
    with pytest.raises(SessionMismatch) as found:
        store.start_upload("shared", size=10, staging=False)
    told(found.value, "InvalidBlobOrBlock")
    session = store.start_upload("shared", size=2)  # on a private key they are in nobody's way
    upload(b"ok", session)
    session.complete()
    assert store.read("shared") == b"ok"


@pytest.mark.parametrize("wrong", [{"audience": "https://management.azure.com"}, {"tenant": "../evil"}])
def test_a_token_for_something_else_is_refused(secure: Azurite, tmp_path: Path, wrong: dict[str, str]) -> None:
    text = token(**wrong) if "audience" in wrong else token().rpartition(".")[0]  # cut short: no token at all
    (tmp_path / "token").write_text(text)
    url = f"az://{ACCOUNT}/media/?endpoint={quote(secure.url, safe='')}&access_token_file={tmp_path / 'token'}"
    with blobkit.open_store(url, retries=0) as store:
        for call in (lambda: store.stat("k"), lambda: store.sign_download("k")):
            with pytest.raises(PermissionDenied) as found:
                call()
            assert found.value.hint
            assert found.value.code


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_of_two_sessions_straight_to_one_key_the_loser_hears_of_it(store: Store) -> None:
    sessions = [store.start_upload("k", size=200_000, chunk_size=100_000, staging=False) for _ in range(2)]
    bodies = [random.Random(seed).randbytes(200_000) for seed in (1, 2)]
    for session, body in zip(sessions, bodies, strict=True):
        upload(body, session)
    assert [session.status().received for session in sessions] == [(1, 2), (1, 2)], "each sees its own blocks alone"
    sessions[0].complete()
    with pytest.raises(SessionNotFound):
        sessions[1].complete()
    assert store.read("k") == bodies[0]
    assert sessions[1].status().state == "gone"


def test_blocks_straight_at_a_key_lapse_and_private_ones_are_dropped(store: Store) -> None:
    direct = store.start_upload("k", size=10, staging=False)
    result = direct.abort()
    week = timedelta(days=7)
    assert not result.discarded
    assert result.lapses_at is not None
    assert abs(result.lapses_at - datetime.now(UTC) - week) < timedelta(minutes=5)
    assert not store.exists("k"), "nothing ever shows at a key that readers know"
    staged = store.start_upload("k", size=10)
    assert staged.abort().discarded
    assert staged.status().state == "gone"
    assert [pending.key for pending in store.list_uploads()] == ["k"]


def test_a_holder_of_a_chunk_url_who_commits_by_himself_publishes_nothing(store: Store) -> None:
    data = random.Random(3).randbytes(200_000)
    session = store.start_upload("k", size=len(data), chunk_size=100_000)
    upload(data, session)
    url = session.sign_chunks([1])[0].url.reveal().partition("&comp=")[0]
    forged = "<BlockList></BlockList>"
    assert httpx.put(f"{url}&comp=blocklist", content=forged).status_code == 201
    assert not store.exists("k")
    with pytest.raises(BlobkitError):
        session.complete()
    assert not store.exists("k")


def test_an_md5_that_a_client_only_says_convinces_nobody(store: Store) -> None:
    lie = blobkit.Checksum.of("md5", b"good")
    blob = client(store).get_blob_client(f"{store.prefix}k")
    blob.upload_blob(b"evil")
    from azure.storage.blob import ContentSettings

    blob.set_http_headers(ContentSettings(content_md5=bytearray(lie.digest)))
    with pytest.raises(blobkit.ConstraintViolated):
        store.verify_upload("k", blobkit.UploadSpec(checksum=lie))


def test_a_write_that_is_too_much_for_memory_goes_in_blocks(store: Store) -> None:
    data = random.Random(4).randbytes(17 * MIB + 1)
    info = store.write("k", data, content_type="video/mp4", metadata={"a": "1"}, if_absent=True)
    assert store.stat("k").etag == info.etag
    assert store.read("k") == data
    with store.open("k") as file:
        file.seek(16 * MIB)
        assert file.read() == data[16 * MIB :]
    with pytest.raises(AlreadyExists):
        store.write("k", data, if_absent=True)
    with pytest.raises(InvalidArgument):
        store.write("k2", b"", storage_class="Lukewarm")


def test_a_tier_stays_through_promotion(store: Store) -> None:
    session = store.start_upload("k", size=3, storage_class="Cool", content_type="text/x-a")
    upload(b"abc", session)
    session.complete()
    info = store.stat("k")
    assert (info.storage_class, info.content_type) == ("Cool", "text/x-a")
