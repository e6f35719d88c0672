"""The strict server does what google-cloud-storage expects of Google."""

from __future__ import annotations

import base64
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import google_crc32c
import httpx
import pytest
from google.api_core.exceptions import Forbidden, NotFound, PreconditionFailed, ServiceUnavailable
from google.auth.transport.requests import AuthorizedSession
from tests.unit.gcs.strict import BUCKET, Strict, strict

import blobkit
from blobkit_gcs.testing import Fault

KIB256 = 256 * 1024
KEYS = ["plain", "a/b", "with space", "ünïcode/日本", "100%+#?&=;", "trailing/", "a//b", "emoji 🎞", "'\"<>"]


@pytest.fixture(scope="module")
def gcs() -> Iterator[Strict]:
    with strict() as running:
        yield running


@pytest.mark.parametrize("key", KEYS)
def test_the_sdk_stores_reads_lists_and_deletes(gcs: Strict, key: str) -> None:
    blob = gcs.bucket.blob(f"sdk/{key}")
    blob.metadata = {"who": "me"}
    blob.cache_control = "no-store"
    blob.upload_from_string(b"hello", content_type="text/plain", if_generation_match=0)
    assert blob.generation
    again = gcs.bucket.get_blob(f"sdk/{key}")
    assert (again.size, again.content_type, again.cache_control) == (5, "text/plain", "no-store")
    assert again.metadata == {"who": "me"}
    assert again.download_as_bytes() == b"hello"
    assert again.download_as_bytes(start=1, end=3) == b"ell"
    assert f"sdk/{key}" in [found.name for found in gcs.client.list_blobs(BUCKET, prefix="sdk/")]
    again.delete(if_generation_match=again.generation)
    assert gcs.bucket.get_blob(f"sdk/{key}") is None


def test_the_sdk_uploads_in_a_session(gcs: Strict) -> None:
    blob = gcs.bucket.blob("session.bin", chunk_size=KIB256)
    data = bytes(range(256)) * 4096
    with blob.open("wb", if_generation_match=0) as file:
        file.write(data)
    assert blob.download_as_bytes() == data


def test_preconditions_hold_for_the_sdk(gcs: Strict) -> None:
    blob = gcs.bucket.blob("once")
    blob.upload_from_string(b"1", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        gcs.bucket.blob("once").upload_from_string(b"2", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        blob.delete(if_generation_match=blob.generation + 1)
    with pytest.raises(NotFound):
        gcs.bucket.blob("never").delete()
    assert blob.download_as_bytes() == b"1"


def test_a_rewrite_goes_on_until_it_is_done(gcs: Strict) -> None:
    source = gcs.bucket.blob("src")
    source.metadata = {"kept": "yes"}
    source.upload_from_string(bytes(1000), content_type="video/mp4")
    gcs.server.rewrite_in_steps(300)
    target = gcs.bucket.blob("dst")
    calls, token, moved, total = 0, None, 0, 0
    while calls == 0 or token is not None:
        token, moved, total = target.rewrite(
            source, token=token, if_generation_match=0, if_source_generation_match=source.generation
        )
        calls += 1
    gcs.server.rewrite_in_steps(None)
    assert (calls, moved, total) == (4, 1000, 1000)
    target.reload()
    assert (target.content_type, target.metadata) == ("video/mp4", {"kept": "yes"})


def test_a_page_follows_another(gcs: Strict) -> None:
    for number in range(7):
        gcs.bucket.blob(f"page/{number}/x").upload_from_string(b"")
        gcs.bucket.blob(f"page/{number}").upload_from_string(b"")
    names = [blob.name for blob in gcs.client.list_blobs(BUCKET, prefix="page/", page_size=3)]
    assert names == sorted(names, key=str.encode)
    assert len(names) == 14
    listing = gcs.client.list_blobs(BUCKET, prefix="page/", delimiter="/", page_size=3)
    assert len(list(listing)) == 7
    assert listing.prefixes == {f"page/{number}/" for number in range(7)}


def test_a_batch_of_deletes(gcs: Strict) -> None:
    for number in range(3):
        gcs.bucket.blob(f"batch/{number}").upload_from_string(b"x")
    with gcs.client.batch():
        for number in range(3):
            gcs.bucket.blob(f"batch/{number}").delete()
    assert not list(gcs.client.list_blobs(BUCKET, prefix="batch/"))


def test_versions_stay_until_they_are_deleted() -> None:
    with strict(versioning=True) as gcs:
        blob = gcs.bucket.blob("v")
        blob.upload_from_string(b"1")
        first = blob.generation
        blob.upload_from_string(b"2")
        assert gcs.bucket.blob("v", generation=first).download_as_bytes() == b"1"
        gcs.bucket.blob("v").delete()
        assert gcs.bucket.get_blob("v") is None
        assert len(list(gcs.client.list_blobs(BUCKET, versions=True))) == 2
        gcs.bucket.blob("v", generation=first).delete()
        with pytest.raises(NotFound):
            gcs.bucket.blob("v", generation=first).download_as_bytes()


def test_metadata_can_be_patched(gcs: Strict) -> None:
    blob = gcs.bucket.blob("patched")
    blob.upload_from_string(b"x")
    blob.metadata = {"a": "1"}
    blob.patch(if_metageneration_match=1)
    assert gcs.bucket.get_blob("patched").metadata == {"a": "1"}
    assert gcs.bucket.get_blob("patched").metageneration == 2


# --- signed URLs of the SDK ---


@pytest.mark.parametrize("key", KEYS)
def test_signed_urls_of_the_sdk_work(gcs: Strict, key: str) -> None:
    headers = {
        "content-type": "text/plain",
        "x-goog-content-length-range": "1,10",
        "x-goog-if-generation-match": "0",
        "x-goog-meta-owner": "u  1",
    }
    url = gcs.url("PUT", f"signed/{key}", headers=headers)
    assert gcs.http.put(url, content=b"hello", headers=headers).status_code == 200
    assert gcs.http.put(url, content=b"hello", headers=headers).status_code == 412
    got = gcs.http.get(gcs.url("GET", f"signed/{key}", query={"response-content-type": "text/html"}))
    assert (got.status_code, got.content, got.headers["content-type"]) == (200, b"hello", "text/html")
    assert gcs.http.head(gcs.url("HEAD", f"signed/{key}")).headers["content-length"] == "5"
    assert gcs.http.delete(gcs.url("DELETE", f"signed/{key}")).status_code == 204
    assert gcs.http.get(gcs.url("GET", f"signed/{key}")).status_code == 404


def test_ranges_and_conditional_reads(gcs: Strict) -> None:
    gcs.bucket.blob("r").upload_from_string(b"0123456789")
    url = gcs.url("GET", "r")
    etag = gcs.http.get(url).headers["etag"]
    assert gcs.http.get(url, headers={"range": "bytes=2-4"}).content == b"234"
    assert gcs.http.get(url, headers={"range": "bytes=-3"}).content == b"789"
    assert gcs.http.get(url, headers={"range": "bytes=8-99"}).headers["content-range"] == "bytes 8-9/10"
    assert gcs.http.get(url, headers={"range": "bytes=10-"}).status_code == 416
    assert gcs.http.get(url, headers={"range": "bytes=0-1", "if-range": '"other"'}).status_code == 200
    assert gcs.http.get(url, headers={"if-none-match": etag}).status_code == 304
    assert gcs.http.get(url, headers={"if-match": '"other"'}).status_code == 412


def test_a_form_of_the_sdk_works(gcs: Strict) -> None:
    made = gcs.form(
        "form.txt",
        fields={"content-type": "text/plain", "x-goog-meta-a": "b"},
        conditions=[["content-length-range", 1, 10]],
    )
    assert gcs.send_form(made, b"hello").status_code == 204
    stored = gcs.server.find(BUCKET, "form.txt")
    assert stored is not None
    assert (stored.data, stored.properties.content_type, stored.properties.metadata) == (
        b"hello",
        "text/plain",
        {"a": "b"},
    )


def test_hmac_urls_work_with_the_right_secret_only(gcs: Strict) -> None:
    # an independent computation of the documented string
    import hashlib
    import hmac
    from datetime import UTC, datetime
    from urllib.parse import quote

    gcs.bucket.blob("h").upload_from_string(b"hmac")
    access_id, secret = gcs.server.hmac

    def url(secret: str) -> str:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{stamp[:8]}/auto/storage/goog4_request"
        query = (
            f"X-Goog-Algorithm=GOOG4-HMAC-SHA256&X-Goog-Credential={quote(f'{access_id}/{scope}', safe='')}"
            f"&X-Goog-Date={stamp}&X-Goog-Expires=60&X-Goog-SignedHeaders=host"
        )
        canonical = f"GET\n/{BUCKET}/h\n{query}\nhost:127.0.0.1\n\nhost\nUNSIGNED-PAYLOAD"
        text = f"GOOG4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"GOOG4{secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return f"{gcs.server.endpoint}/{BUCKET}/h?{query}&X-Goog-Signature={hmac.digest(key, text.encode(), 'sha256').hex()}"

    assert gcs.http.get(url(secret)).content == b"hmac"
    assert gcs.http.get(url(secret + "x")).status_code == 403


# --- sessions ---


def test_a_session_says_how_far_it_is(gcs: Strict) -> None:
    uri, data = gcs.session("s1"), bytes(range(256)) * 3000
    ask = {"content-range": "bytes */*"}
    assert "range" not in gcs.http.put(uri, headers=ask).headers
    first = gcs.http.put(uri, content=data[:KIB256], headers={"content-range": f"bytes 0-{KIB256 - 1}/*"})
    assert (first.status_code, first.headers["range"]) == (308, f"bytes=0-{KIB256 - 1}")
    again = gcs.http.post(uri, content=data[:KIB256], headers={"content-range": f"bytes 0-{KIB256 - 1}/*"})
    assert (again.status_code, again.headers["range"]) == (308, f"bytes=0-{KIB256 - 1}")
    quiet = gcs.http.put(uri, headers={**ask, "x-guploader-no-308": "yes"})
    assert (quiet.status_code, quiet.headers["x-http-status-code-override"]) == (200, "308")
    rest = gcs.http.put(
        uri,
        content=data[KIB256 - 1024 :],
        headers={"content-range": f"bytes {KIB256 - 1024}-{len(data) - 1}/{len(data)}", "x-goog-meta-late": "yes"},
    )
    assert rest.status_code == 200
    assert rest.json()["metadata"] == {"late": "yes"}
    assert gcs.http.put(uri, headers=ask).json()["generation"] == rest.json()["generation"]
    stored = gcs.server.find(BUCKET, "s1")
    assert stored is not None
    assert stored.data == data


def test_a_question_with_the_total_finishes_a_session_whose_bytes_are_all_there(gcs: Strict) -> None:
    uri = gcs.session("s2")
    gcs.http.put(uri, content=bytes(KIB256), headers={"content-range": f"bytes 0-{KIB256 - 1}/*"})
    assert gcs.http.put(uri, headers={"content-range": f"bytes */{KIB256 + 1}"}).status_code == 308
    assert gcs.server.find(BUCKET, "s2") is None
    assert gcs.http.put(uri, headers={"content-range": f"bytes */{KIB256}"}).status_code == 200
    empty = gcs.session("s3")
    assert gcs.http.put(empty, headers={"content-range": "bytes */0"}).status_code == 200


def test_a_cancelled_and_an_expired_session_are_gone(gcs: Strict) -> None:
    uri = gcs.session("s4")
    assert gcs.http.delete(uri).status_code == 499
    assert gcs.http.put(uri, content=b"x").status_code == 404
    late = gcs.session("s5")
    gcs.server.expire_sessions()
    assert gcs.http.put(late, content=b"x").status_code == 410


def test_a_signed_start_opens_a_session(gcs: Strict) -> None:
    headers = {"x-goog-resumable": "start", "content-type": "video/mp4"}
    started = gcs.http.post(gcs.url("POST", "s6", headers=headers), headers=headers)
    assert started.status_code == 201
    assert gcs.http.put(started.headers["location"], content=b"film").status_code == 200
    stored = gcs.server.find(BUCKET, "s6")
    assert stored is not None
    assert stored.properties.content_type == "video/mp4"


def test_a_session_of_the_xml_api_answers_in_headers_and_keeps_what_was_signed(gcs: Strict) -> None:
    headers = {"x-goog-resumable": "start", "x-goog-content-length-range": "3,4", "x-goog-if-generation-match": "0"}

    def start() -> str:
        answer = gcs.http.post(gcs.url("POST", "s7", headers=headers), headers=headers)
        assert answer.status_code == 201
        return str(answer.headers["location"])

    for data in (b"ab", b"abcde"):
        assert gcs.http.put(start(), content=data).status_code == 400
    second = start()
    done = gcs.http.put(uri := start(), content=b"abc")
    stored = gcs.server.find(BUCKET, "s7")
    assert stored is not None
    assert (done.status_code, done.content, done.headers["x-goog-generation"]) == (200, b"", str(stored.generation))
    again = gcs.http.put(uri, headers={"content-range": "bytes */*"})
    assert (again.status_code, again.headers["etag"]) == (200, f'"{stored.xml_etag}"')
    assert gcs.http.put(second, content=b"abc").status_code == 412


@pytest.mark.parametrize("xml", [False, True])
def test_bytes_that_are_there_already_are_ignored_and_a_gap_is_refused(gcs: Strict, xml: bool) -> None:
    data = random.Random(4).randbytes(3 * KIB256 + 7)
    if xml:
        headers = {"x-goog-resumable": "start"}
        uri = gcs.http.post(gcs.url("POST", "overlap", headers=headers), headers=headers).headers["location"]
    else:
        uri = gcs.session("overlap")

    def put(start: int, end: int, total: str = "*") -> httpx.Response:
        return gcs.http.put(uri, content=data[start:end], headers={"content-range": f"bytes {start}-{end - 1}/{total}"})

    assert put(0, 2 * KIB256).headers["range"] == f"bytes=0-{2 * KIB256 - 1}"
    assert (put(0, KIB256).status_code, put(0, KIB256).headers["range"]) == (308, f"bytes=0-{2 * KIB256 - 1}")
    assert put(KIB256, 3 * KIB256).headers["range"] == f"bytes=0-{3 * KIB256 - 1}"
    changed = gcs.http.put(uri, content=bytes(KIB256), headers={"content-range": f"bytes 0-{KIB256 - 1}/*"})
    assert changed.status_code == 308
    assert put(3 * KIB256 + 1, len(data), str(len(data))).status_code == 503
    assert put(2 * KIB256, len(data), str(len(data))).status_code == 200
    assert put(0, KIB256).status_code == 200
    stored = gcs.server.find(BUCKET, "overlap")
    assert stored is not None
    assert stored.data == data


# --- multipart ---


def test_parts_become_an_object(gcs: Strict) -> None:
    five = 5 * 1024 * 1024
    upload_id = gcs.multipart()
    assert gcs.part(upload_id, 2, b"tail").status_code == 200
    one = gcs.part(upload_id, 1, bytes(five))
    two = gcs.part(upload_id, 2, b"other tail")
    listed = gcs.http.get(gcs.url("GET", "mp.bin", query={"uploadId": upload_id})).text
    assert listed.count("<Part>") == 2
    assert f"<Size>{five}</Size>" in listed
    page = gcs.http.get(gcs.url("GET", "mp.bin", query={"uploadId": upload_id, "max-parts": "1"})).text
    assert "<IsTruncated>true</IsTruncated>" in page
    assert upload_id in gcs.http.get(gcs.url("GET", "", query={"uploads": ""})).text
    assert gcs.server.find(BUCKET, "mp.bin") is None
    done = gcs.complete(upload_id, [(1, one.headers["etag"]), (2, two.headers["etag"])])
    assert done.status_code == 200
    stored = gcs.server.find(BUCKET, "mp.bin")
    assert stored is not None
    assert (stored.size, stored.md5, stored.components) == (five + 10, None, 2)
    assert gcs.part(upload_id, 1, b"x").status_code == 404


def test_an_aborted_upload_is_gone(gcs: Strict) -> None:
    upload_id = gcs.multipart()
    assert gcs.http.delete(gcs.url("DELETE", "mp.bin", query={"uploadId": upload_id})).status_code == 204
    assert gcs.part(upload_id, 1, b"x").status_code == 404


# --- signBlob ---


def test_signblob_signs_what_the_accounts_key_would(gcs: Strict) -> None:
    where = f"{gcs.server.endpoint}/v1/projects/-/serviceAccounts/{gcs.server.service_account.email}:signBlob"
    body = {"payload": base64.b64encode(b"text").decode()}
    session: Any = AuthorizedSession(gcs.credentials)  # type: ignore[no-untyped-call]
    signed = session.post(where, json=body).json()["signedBlob"]
    assert base64.b64decode(signed) == gcs.credentials.sign_bytes(b"text")
    gcs.server.identity.may_sign_blob = False
    refused = session.post(where, json=body)
    gcs.server.identity.may_sign_blob = True
    session.close()
    assert refused.status_code == 403
    assert "signBlob" in refused.text
    assert gcs.http.post(where, json=body).status_code == 401


# --- CORS ---

RULE = {
    "origin": ["https://app.test"],
    "method": ["PUT"],
    "responseHeader": ["Content-Type", "ETag"],
    "maxAgeSeconds": 60,
}


def test_a_preflight_is_answered_by_the_buckets_rule() -> None:
    with strict(cors=[RULE]) as gcs:
        ask = {"origin": "https://app.test", "access-control-request-method": "PUT"}
        url = gcs.url("PUT", "x")
        good = gcs.http.options(url, headers={**ask, "access-control-request-headers": "content-type"})
        assert good.headers["access-control-allow-origin"] == "https://app.test"
        for bad in (
            {**ask, "access-control-request-headers": "content-type, x-goog-meta-a"},
            {**ask, "origin": "https://evil.test"},
            {**ask, "access-control-request-method": "DELETE"},
        ):
            assert "access-control-allow-origin" not in gcs.http.options(url, headers=bad).headers
        put = gcs.http.put(url, content=b"x", headers={"origin": "https://app.test"})
        assert "ETag" in put.headers["access-control-expose-headers"]


def test_a_session_has_cors_for_the_origin_that_it_was_started_for(gcs: Strict) -> None:
    uri = gcs.session("cors", headers={"origin": "https://app.test"})
    ask = {"content-range": "bytes */*"}
    assert "access-control-allow-origin" in gcs.http.put(uri, headers={**ask, "origin": "https://app.test"}).headers
    assert "access-control-allow-origin" not in gcs.http.put(uri, headers={**ask, "origin": "https://b.test"}).headers
    plain = gcs.session("cors2")
    assert (
        "access-control-allow-origin" not in gcs.http.put(plain, headers={**ask, "origin": "https://app.test"}).headers
    )


# --- what goes wrong on demand ---


def test_faults_before_and_after_the_effect(gcs: Strict) -> None:
    gcs.server.faults.add(Fault("status", status=429, retry_after=3))
    refused = gcs.http.put(gcs.url("PUT", "f1"), content=b"x")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")
    assert gcs.server.find(BUCKET, "f1") is None
    gcs.server.faults.add(Fault("status", after=True))
    assert gcs.http.put(gcs.url("PUT", "f2"), content=b"x").status_code == 503
    assert gcs.server.find(BUCKET, "f2") is not None
    gcs.server.faults.add(Fault("drop", after=True, when=lambda call: call.method == "PUT"))
    with pytest.raises(httpx.RemoteProtocolError):
        gcs.http.put(gcs.url("PUT", "f3"), content=b"x")
    assert gcs.server.find(BUCKET, "f3") is not None
    gcs.server.faults.add(Fault("truncate", keep=0))
    with pytest.raises(httpx.RemoteProtocolError):
        gcs.http.get(gcs.url("GET", "f3"))


def test_a_pause_ends_when_it_is_released(gcs: Strict) -> None:
    release = threading.Event()
    gcs.server.faults.add(Fault("pause", release=release, when=lambda call: "paused" in call.path))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gcs.http.put, gcs.url("PUT", "paused"), content=b"x")
        assert gcs.http.get(gcs.url("GET", "nothing")).status_code == 404  # others are served meanwhile
        assert not answer.done()
        release.set()
        assert answer.result(20).status_code == 200


def test_an_error_of_the_server_is_the_sdks_exception(gcs: Strict) -> None:
    gcs.server.faults.add(Fault("status", status=503, times=100))
    with pytest.raises(ServiceUnavailable):
        gcs.bucket.blob("x").upload_from_string(b"x", retry=None)
    gcs.server.faults.clear()
    gcs.server.faults.add(Fault("status", status=403))
    with pytest.raises(Forbidden):
        gcs.bucket.blob("x").reload(retry=None)
    gcs.server.faults.clear()


def test_changes_are_told_as_pushes() -> None:
    with strict(versioning=True) as gcs:
        told: list[Any] = []
        stop = gcs.server.subscribe(told.append)
        blob = gcs.bucket.blob("n")
        blob.upload_from_string(b"1")
        blob.upload_from_string(b"2")
        gcs.bucket.blob("n").delete()
        stop()
        blob.upload_from_string(b"3")
        parsed = [event for body in told for event in blobkit.parse_events(body)]
        assert [(event.key, event.version) for event in parsed] == [
            ("n", body["message"]["attributes"]["objectGeneration"]) for body in told
        ]
        attributes = [body["message"]["attributes"] for body in told]
        assert [item["eventType"] for item in attributes] == [
            "OBJECT_FINALIZE",
            "OBJECT_FINALIZE",
            "OBJECT_ARCHIVE",
            "OBJECT_ARCHIVE",
        ]
        assert attributes[1]["overwroteGeneration"] == attributes[0]["objectGeneration"]
        assert attributes[2]["overwrittenByGeneration"] == attributes[1]["objectGeneration"]


def test_checksums_are_those_of_the_content(gcs: Strict) -> None:
    blob = gcs.bucket.blob("sum")
    blob.upload_from_string(b"hello", checksum="crc32c")
    assert blob.crc32c == base64.b64encode(google_crc32c.value(b"hello").to_bytes(4, "big")).decode()
