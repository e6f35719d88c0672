"""What a leaked URL cannot do: everything that S3 refuses by the signature, at a server that refuses it too."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from blobkit.blobs import Checksum
from blobkit.errors import UnenforceableConstraint
from blobkit.signed import SignedRequest
from blobkit.store import Store

from .conftest import Opened
from .strict import StrictS3

DATA = b"the bytes that were meant"


def send(
    request: SignedRequest, data: bytes = DATA, *, url: str | None = None, extra: Mapping[str, str] | None = None
) -> httpx.Response:
    with httpx.Client(trust_env=False) as client:
        if request.fields is not None:
            return client.post(request.url.reveal(), data=dict(request.fields), files={"file": ("f", data)})
        return client.request(
            request.method, url or request.url.reveal(), content=data, headers={**request.headers, **(extra or {})}
        )


@pytest.fixture
def signed(store: Store) -> SignedRequest:
    return store.sign_upload(
        "a b/é+.png",
        size=len(DATA),
        content_type="image/png",
        metadata={"owner": "u1"},
        cache_control="no-store",
        checksum=Checksum.of("sha256", DATA),
        if_absent=True,
    )


def test_what_was_signed_is_stored_as_it_was_signed(server: StrictS3, signed: SignedRequest) -> None:
    assert send(signed).status_code == 200
    made = server.current("a b/é+.png")
    assert made is not None
    assert made.data == DATA
    assert made.headers["content-type"] == "image/png"
    assert made.headers["x-amz-meta-owner"] == "u1"
    assert made.headers["cache-control"] == "no-store"
    assert send(signed).status_code == 412, "once only: it was signed as if_absent"


@pytest.mark.parametrize(
    "extra",
    [
        {"x-amz-meta-admin": "yes"},
        {"x-amz-acl": "public-read"},
        {"x-amz-tagging": "a=b"},
        {"x-amz-storage-class": "GLACIER"},
        {"x-amz-copy-source": "/media/secret"},
        {"x-amz-server-side-encryption": "AES256"},
        {"x-amz-checksum-crc32": "AAAAAA=="},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_a_header_that_was_not_signed_is_refused(
    server: StrictS3, signed: SignedRequest, extra: dict[str, str]
) -> None:
    server.put("secret", b"of somebody else")
    answer = send(signed, extra=extra)
    assert answer.status_code == 403
    assert "not signed" in answer.text
    assert server.current("a b/é+.png") is None


@pytest.mark.parametrize(
    "name",
    ["content-type", "x-amz-meta-owner", "cache-control", "x-amz-checksum-sha256", "if-none-match"],
)
def test_no_header_of_a_request_can_be_left_out_or_changed(server: StrictS3, signed: SignedRequest, name: str) -> None:
    with httpx.Client(trust_env=False) as client:
        for value in (None, "other"):
            headers = dict(signed.headers)
            assert headers.pop(name)
            if value is not None:
                headers[name] = value
            answer = client.put(signed.url.reveal(), content=DATA, headers=headers)
            assert (answer.status_code, "SignatureDoesNotMatch" in answer.text) == (403, True)
    assert server.objects.get("a b/é+.png", []) == []


def test_other_bytes_another_length_key_method_and_signature_are_refused(
    server: StrictS3, signed: SignedRequest
) -> None:
    url = signed.url.reveal()
    assert send(signed, DATA[:-1] + b"X").status_code == 400, "the checksum was signed"
    assert send(signed, DATA + b"more").status_code == 403
    assert send(signed, DATA[:-1]).status_code == 403
    assert send(signed, url=url.replace("/a%20b/", "/other/")).status_code == 403
    last = url[-1]
    assert send(signed, url=url[:-1] + ("0" if last != "0" else "1")).status_code == 403
    assert send(signed, url=url.replace("X-Amz-Expires=9", "X-Amz-Expires=8")).status_code == 403
    assert send(signed, url=url + "&x-id=PutObject").status_code == 403
    with httpx.Client(trust_env=False) as client:
        for method in ("GET", "DELETE", "POST"):
            assert client.request(method, url, headers=dict(signed.headers)).status_code == 403
    assert server.objects == {}


@pytest.mark.parametrize("server", [{"token": "IQoJb3JpZ2luX2VjEND/////+abc=="}], indirect=True)
def test_a_session_token_is_part_of_every_signature(server: StrictS3, store: Store) -> None:
    put, form = store.sign_upload("k"), store.sign_upload("f", max_size=100)
    url = put.url.reveal()
    token = "&X-Amz-Security-Token=IQoJb3JpZ2luX2VjEND%2F%2F%2F%2F%2F%2Babc%3D%3D"
    assert token in url
    for wrong in (url.replace(token, ""), url.replace("abc%3D%3D", "abd%3D%3D"), url.replace(token, token + "x")):
        assert send(put, url=wrong).status_code == 403
    assert form.fields is not None
    with httpx.Client(trust_env=False) as client:
        for change in ("left out", "other"):
            fields = dict(form.fields)
            assert fields.pop("x-amz-security-token")
            if change == "other":
                fields["x-amz-security-token"] = "other"
            answer = client.post(form.url.reveal(), data=fields, files={"file": ("f", DATA)})
            assert answer.status_code == 403
    assert server.objects == {}
    assert send(put).status_code == 200
    assert send(form).status_code == 204


def test_a_form_takes_no_other_field_value_or_size(server: StrictS3, store: Store) -> None:
    form = store.sign_upload("k", min_size=3, max_size=30, content_type="image/png", metadata={"owner": "u1"})
    assert form.method == "POST"
    assert form.fields is not None
    changes: list[dict[str, str]] = [
        {"key": "other"},
        {"Content-Type": "text/html"},
        {"x-amz-meta-owner": "u2"},
        {"x-amz-meta-more": "1"},
        {"acl": "public-read"},
        {"x-amz-signature": "0" * 64},
        {"policy": form.fields["policy"][:-8] + "AAAAAAA="},
    ]
    with httpx.Client(trust_env=False) as client:

        def post(fields: dict[str, str], data: bytes) -> int:
            return client.post(form.url.reveal(), data=fields, files={"file": ("f", data)}).status_code

        for change in changes:
            assert post({**form.fields, **change}, DATA) == 403, change
        for name in form.fields:
            if name not in ("key", "policy", "x-amz-signature", "x-amz-credential"):
                assert post({n: v for n, v in form.fields.items() if n != name}, DATA) == 403, name
        assert post(dict(form.fields), b"12") == 400
        assert post(dict(form.fields), b"1" * 31) == 400
        assert server.objects == {}
        assert post(dict(form.fields), b"123") == 204


@pytest.mark.parametrize("algorithm", ["md5", "sha256", "sha1", "crc32"])
@pytest.mark.parametrize("route", ["PUT", "POST"])
def test_a_checksum_is_compared_on_both_routes(server: StrictS3, store: Store, algorithm: str, route: str) -> None:
    more: dict[str, Any] = {"max_size": 100} if route == "POST" else {}
    request = store.sign_upload("k", checksum=Checksum.of(algorithm, DATA), **more)
    assert request.method == route
    assert send(request, DATA[:-1] + b"X").status_code == 400
    assert server.objects == {}
    assert send(request).is_success


def test_a_chunk_is_bound_to_its_size_number_and_checksum(server: StrictS3, store: Store) -> None:
    data = b"c" * (5 * 1024 * 1024)
    session = store.start_upload("k", size=2 * len(data), chunk_size=len(data))
    chunk = session.sign_chunks([1], checksums={1: Checksum.of("md5", data)})[0]
    (upload,) = server.uploads.values()
    with httpx.Client(trust_env=False) as client:

        def put(body: bytes, url: str = chunk.url.reveal(), **headers: str) -> int:
            return client.put(url, content=body, headers={**chunk.headers, **headers}).status_code

        assert put(data[:-1]) == 403
        assert put(data + b"x") == 403
        assert put(data[:-1] + b"x") == 400
        assert put(data, chunk.url.reveal().replace("partNumber=1", "partNumber=2")) == 403
        assert put(data, **{"x-amz-copy-source": "/media/secret"}) == 403
        assert client.put(chunk.url.reveal(), content=data).status_code == 403, "the checksum was signed"
        assert upload.parts == {}
        assert put(data) == 200
    with pytest.raises(UnenforceableConstraint):
        session.sign_chunks([1], checksums={1: Checksum.of("sha256", data)})
    session.abort()


def test_a_url_ends_when_it_says_and_begins_a_minute_early(opened: Opened, server: StrictS3) -> None:
    server.put("k", DATA)
    now = datetime.now(UTC).replace(microsecond=0)
    for age, life, status in ((10, 60, 200), (70, 60, 403), (-800, 60, 200), (-1000, 60, 403)):
        signer = opened(clock=lambda age=age: now - timedelta(seconds=age))
        request = signer.sign_download("k", expires_in=timedelta(seconds=life))
        assert request.expires_at == now + timedelta(seconds=life - age)
        assert send(request, b"").status_code == status, age


def test_range_and_if_absent_are_impossible_in_one_signature(store: Store) -> None:
    with pytest.raises(UnenforceableConstraint) as refusal:
        store.sign_upload("k", max_size=5, if_absent=True)
    assert "no single signature binds if_absent and size_range" in str(refusal.value)
    told = " ".join(refusal.value.alternatives)
    assert "verify_upload" in told
    assert "start_upload" in told
