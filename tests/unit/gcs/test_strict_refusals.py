"""What the strict server refuses, one law for each of its checks; and that the law is broken when the check is taken away."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta

import httpx
import pytest
from google.auth import jwt as google_jwt
from tests.unit.gcs.strict import BUCKET, Strict, strict

from blobkit_gcs.testing import Checks

KIB256 = 256 * 1024
MD5_OF_ABC = base64.b64encode(bytes.fromhex("900150983cd24fb0d6963f7d28e17f72")).decode()


def signature(gcs: Strict) -> None:
    url = gcs.url("PUT", "k")
    assert gcs.http.put(url[:-1] + ("0" if url[-1] != "0" else "1"), content=b"x").status_code == 403
    assert gcs.http.put(url.replace("/k?", "/other?"), content=b"x").status_code == 403
    assert gcs.http.delete(url).status_code == 403
    assert gcs.http.put(f"{url}&extra=1", content=b"x").status_code == 403
    made = gcs.form("k")
    made["fields"]["x-goog-signature"] = made["fields"]["x-goog-signature"][:-2] + "00"
    assert gcs.send_form(made, b"x").status_code == 403


def expiry(gcs: Strict) -> None:
    url = gcs.url("PUT", "k", expires=timedelta(seconds=60))
    assert gcs.http.put(url, content=b"x").status_code == 200
    gcs.server._now = _later(120)
    answer = gcs.http.put(url, content=b"x")
    assert answer.status_code == 400
    assert "ExpiredToken" in answer.text


def not_before(gcs: Strict) -> None:
    gcs.server._now = _later(-3600)
    assert gcs.http.put(gcs.url("PUT", "k"), content=b"x").status_code == 403


def signed_headers(gcs: Strict) -> None:
    url = gcs.url("PUT", "k", headers={"content-type": "text/plain"})
    answer = gcs.http.put(url, content=b"x")
    assert answer.status_code == 400
    assert "MalformedSecurityHeader" in answer.text

    headers = {"content-type": "text/plain"}
    url = gcs.url("PUT", "k", headers=headers)
    twice = httpx.Headers([("content-type", "text/plain"), ("content-type", "text/html")])
    assert gcs.http.put(url, content=b"x", headers=twice).status_code == 403
    assert gcs.http.put(url, content=b"x", headers=headers).status_code == 200


def unsigned_headers(gcs: Strict) -> None:
    assert gcs.http.put(gcs.url("PUT", "k"), content=b"x", headers={"x-goog-meta-a": "b"}).status_code == 400


def content_length_range(gcs: Strict) -> None:
    headers = {"x-goog-content-length-range": "2,3"}
    for data in (b"1", b"1234"):
        assert gcs.http.put(gcs.url("PUT", "k", headers=headers), content=data, headers=headers).status_code == 400
    assert gcs.server.find(BUCKET, "k") is None


def preconditions(gcs: Strict) -> None:
    gcs.bucket.blob("k").upload_from_string(b"1")
    headers = {"x-goog-if-generation-match": "0"}
    assert gcs.http.put(gcs.url("PUT", "k", headers=headers), content=b"2", headers=headers).status_code == 412


def md5(gcs: Strict) -> None:
    headers = {"content-md5": MD5_OF_ABC}
    assert gcs.http.put(gcs.url("PUT", "k", headers=headers), content=b"abd", headers=headers).status_code == 400
    assert gcs.http.put(gcs.url("PUT", "k", headers=headers), content=b"abc", headers=headers).status_code == 200


def crc32c(gcs: Strict) -> None:
    headers = {"x-goog-hash": "crc32c=AAAAAA=="}
    assert gcs.http.put(gcs.url("PUT", "k", headers=headers), content=b"abc", headers=headers).status_code == 400


def content_sha256(gcs: Strict) -> None:
    headers = {"x-goog-content-sha256": hashlib.sha256(b"abc").hexdigest()}
    assert gcs.http.put(gcs.url("PUT", "k", headers=headers), content=b"abd", headers=headers).status_code == 400
    assert gcs.http.put(gcs.url("PUT", "k", headers=headers), content=b"abc", headers=headers).status_code == 200


def form_expiry(gcs: Strict) -> None:
    made = gcs.form("k")
    gcs.server._now = _later(3600)
    assert gcs.send_form(made, b"x").status_code == 400


def form_size(gcs: Strict) -> None:
    made = gcs.form("k", conditions=[["content-length-range", 2, 3]])
    assert gcs.send_form(made, b"1").status_code == 400
    assert gcs.send_form(made, b"1234").status_code == 400
    assert gcs.server.find(BUCKET, "k") is None


def form_conditions(gcs: Strict) -> None:
    made = gcs.form("k", fields={"content-type": "text/plain"})
    made["fields"]["content-type"] = "text/html"
    assert gcs.send_form(made, b"x").status_code == 400


def form_fields(gcs: Strict) -> None:
    assert gcs.send_form(gcs.form("k"), b"x", **{"x-goog-meta-a": "b"}).status_code == 400
    assert gcs.send_form(gcs.form("k"), b"x", **{"x-ignore-this": "b"}).status_code == 204


def token(gcs: Strict) -> None:
    assert gcs.http.get(f"{gcs.server.endpoint}/storage/v1/b/{BUCKET}/o").status_code == 401
    gcs.bucket.blob("k").upload_from_string(b"1")
    assert gcs.http.get(f"{gcs.server.endpoint}/{BUCKET}/k").status_code == 403


def session_size(gcs: Strict) -> None:
    uri = gcs.session("k", headers={"x-upload-content-length": "10"})
    assert gcs.http.put(uri, content=b"x" * 9).status_code == 400
    assert gcs.http.put(uri, content=b"x" * 11).status_code == 400
    assert gcs.server.find(BUCKET, "k") is None
    assert gcs.http.put(uri, content=b"x" * 10).status_code == 200


def session_gap(gcs: Strict) -> None:
    headers = {"content-range": f"bytes {KIB256}-{2 * KIB256 - 1}/*"}
    assert gcs.http.put(gcs.session("k"), content=bytes(KIB256), headers=headers).status_code == 503


def session_alignment(gcs: Strict) -> None:
    assert (
        gcs.http.put(gcs.session("k"), content=b"x" * 100, headers={"content-range": "bytes 0-99/*"}).status_code == 400
    )


def session_preconditions(gcs: Strict) -> None:
    uri = gcs.session("k", ifGenerationMatch="0")
    gcs.bucket.blob("k").upload_from_string(b"first")
    assert gcs.http.put(uri, content=b"second").status_code == 412
    stored = gcs.server.find(BUCKET, "k")
    assert stored is not None
    assert stored.data == b"first"


def part_size(gcs: Strict) -> None:
    upload_id = gcs.multipart()
    etags = [(number, gcs.part(upload_id, number, b"small").headers["etag"]) for number in (1, 2)]
    assert "EntityTooSmall" in gcs.complete(upload_id, etags).text


def part_etag(gcs: Strict) -> None:
    upload_id = gcs.multipart()
    gcs.part(upload_id, 1, b"x")
    assert "InvalidPart" in gcs.complete(upload_id, [(1, '"00"')]).text


def part_order(gcs: Strict) -> None:
    upload_id = gcs.multipart()
    data = bytes(5 * 1024 * 1024)
    etags = [(number, gcs.part(upload_id, number, data).headers["etag"]) for number in (1, 2)]
    assert "InvalidPartOrder" in gcs.complete(upload_id, etags[::-1]).text


def multipart_preconditions(gcs: Strict) -> None:
    upload_id = gcs.multipart()
    assert gcs.part(upload_id, 1, b"x", **{"x-goog-if-generation-match": "0"}).status_code == 400


def _later(seconds: float) -> Callable[[], float]:
    moment = time.time() + seconds
    return lambda: moment


LAWS: dict[str, Callable[[Strict], None]] = {
    law.__name__: law
    for law in (
        signature, expiry, not_before, signed_headers, unsigned_headers, content_length_range, preconditions, md5, crc32c,
        content_sha256, form_expiry, form_size, form_conditions, form_fields, token, session_size, session_gap,
        session_alignment, session_preconditions, part_size, part_etag, part_order, multipart_preconditions,
    )
}  # fmt: skip


def test_each_check_has_its_law() -> None:
    assert sorted(LAWS) == sorted(item.name for item in fields(Checks))


@pytest.mark.parametrize("name", LAWS)
def test_the_strict_server_keeps_the_law(name: str) -> None:
    with strict() as gcs:
        LAWS[name](gcs)


@pytest.mark.parametrize("name", LAWS)
def test_without_its_check_the_law_is_broken(name: str) -> None:
    with strict(without=(name,)) as gcs, pytest.raises(AssertionError):
        LAWS[name](gcs)


def test_a_check_that_does_not_exist_cannot_be_taken_away() -> None:
    with pytest.raises(ValueError, match="gravity"):
        Checks.without("gravity")


@pytest.mark.parametrize(
    "change",
    [
        ("GOOG4-RSA-SHA256", "GOOG4-NONE"),
        ("goog4_request", "aws4_request"),
        ("X-Goog-Expires=300", "X-Goog-Expires=604801"),
        ("X-Goog-Expires=300", "X-Goog-Expires=300&X-Goog-Expires=600"),
        ("X-Goog-SignedHeaders=host", "X-Goog-SignedHeaders="),
        ("uploader%40", "stranger%40"),
    ],
)
def test_a_url_of_another_form_is_refused(change: tuple[str, str]) -> None:
    with strict() as gcs:
        url = gcs.url("PUT", "k")
        assert change[0] in url
        assert gcs.http.put(url.replace(*change), content=b"x").status_code in (400, 403)


@pytest.mark.parametrize("change", ["audience", "issuer", "signature", "expired"])
def test_nobody_gets_a_token_with_a_foreign_assertion(change: str) -> None:
    with strict() as gcs:
        now = gcs.server._now()
        account = gcs.server.service_account
        claims = {
            "iss": "stranger@strict-project.iam.gserviceaccount.com" if change == "issuer" else account.email,
            "aud": "https://elsewhere.test/token" if change == "audience" else account.token_uri,
            "iat": now - (8000 if change == "expired" else 0),
            "exp": now - 4000 if change == "expired" else now + 3600,
        }
        assertion: str = google_jwt.encode(gcs.credentials.signer, claims).decode()  # type: ignore[no-untyped-call]
        if change == "signature":
            head, _, signed = assertion.rpartition(".")
            assertion = f"{head}.{signed[:20]}{'A' if signed[20] != 'A' else 'B'}{signed[21:]}"
        grant = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        answer = gcs.http.post(account.token_uri, data=grant)
        assert answer.status_code == 400
        assert answer.json()["error"] == "invalid_grant"
