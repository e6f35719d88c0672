"""The data plane over a real socket: what it verifies, what it cuts off, and what it never leaves behind."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import blobkit
from blobkit import Checksum, MiB, Store, UploadSpec
from blobkit.serving import serve_in_thread

UNSIGNED_HEADER = {"x-blobkit-meta-evil": "1"}


@dataclass
class Plane:
    store: Store
    client: httpx.Client
    url: str

    def send(self, request: blobkit.SignedRequest, content: bytes = b"", **changes: str | None) -> httpx.Response:
        headers = {**request.headers, **{name.replace("_", "-"): value for name, value in changes.items()}}
        kept = {name: value for name, value in headers.items() if value is not None}
        return self.client.request(request.method, request.url.reveal(), headers=kept, content=content)

    def get(self, key: str, **headers: str) -> httpx.Response:
        return self.client.get(
            self.store.sign_download(key).url.reveal(), headers={n.replace("_", "-"): v for n, v in headers.items()}
        )


def serving(options: str = "") -> Iterator[Plane]:
    name = uuid.uuid4().hex

    def opened(endpoint: str) -> Store:
        return blobkit.open_store(f"memory://{name}?public_endpoint={endpoint}{options}")

    with serve_in_thread(opened) as store, httpx.Client() as client:
        yield Plane(store, client, store.config.text("public_endpoint") or "")


@pytest.fixture
def plane() -> Iterator[Plane]:
    yield from serving()


def test_an_upload_is_stored_with_what_was_bound(plane: Plane) -> None:
    spec = UploadSpec(content_type="image/png", size=5, metadata={"owner": "u1"}, cache_control="no-store")
    answer = plane.send(plane.store.sign_upload("a/é b", spec=spec), b"hello")
    assert answer.status_code == 200
    info = plane.store.stat("a/é b")
    assert answer.headers["etag"] == f'"{info.etag}"'
    assert (info.content_type, dict(info.metadata), info.cache_control) == ("image/png", {"owner": "u1"}, "no-store")


@pytest.mark.parametrize(
    "changes",
    [
        {"content_type": "text/html"},
        {"content_type": None},
        {"x_blobkit_meta_owner": "u2"},
        {"x_blobkit_meta_owner": None},
        {"x_blobkit_meta_evil": "1"},
        {"x_blobkit_storage_class": "COLD"},
        {"x_blobkit_anything": "1"},
        {"if_none_match": None},
        {"x_blobkit_checksum_sha256": Checksum.of("sha256", b"other").base64},
        {"x_blobkit_checksum_sha256": None},
    ],
)
def test_a_header_that_is_missing_different_or_not_bound_is_refused(
    plane: Plane, changes: dict[str, str | None]
) -> None:
    request = plane.store.sign_upload(
        "k",
        content_type="image/png",
        metadata={"owner": "u1"},
        if_absent=True,
        checksum=Checksum.of("sha256", b"hello"),
    )
    answer = plane.send(request, b"hello", **changes)
    assert (answer.status_code, answer.headers["x-blobkit-error"]) == (403, "header")
    assert not plane.store.exists("k")
    assert plane.send(request, b"hello").status_code == 200


@pytest.mark.parametrize(("size", "status"), [(2, 400), (3, 200), (5, 200), (6, 413), (3 * MiB, 413)])
def test_a_size_range_is_enforced_with_and_without_an_announced_length(plane: Plane, size: int, status: int) -> None:
    request = plane.store.sign_upload("k", min_size=3, max_size=5)
    announced = plane.send(request, b"x" * size)
    assert announced.status_code in ({status, 400, 413} if status != 200 else {200})
    plane.store.delete("k")

    def unannounced() -> Iterator[bytes]:
        for at in range(0, size, 65536):
            yield b"x" * min(65536, size - at)

    try:
        streamed = plane.client.put(request.url.reveal(), content=unannounced()).status_code
    except httpx.TransportError:
        streamed = 413  # cut off while it was still sending
    assert (streamed == 200) == (status == 200)
    assert plane.store.exists("k") == (status == 200)


def test_a_wrong_body_never_damages_the_object_that_was_there(plane: Plane) -> None:
    plane.store.write("k", b"good")
    request = plane.store.sign_upload("k", checksum=Checksum.of("md5", b"promised"))
    answer = plane.send(request, b"other!!!")
    assert (answer.status_code, answer.headers["x-blobkit-error"]) == (400, "checksum")
    assert plane.store.read("k") == b"good"


def test_a_body_that_breaks_off_leaves_nothing(plane: Plane) -> None:
    url = urlsplit(plane.store.sign_upload("k").url.reveal())
    with socket.create_connection((url.hostname or "", url.port or 0)) as sock:
        sock.sendall(f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this".encode())
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass
    assert not plane.store.exists("k")
    assert list(plane.store.list()) == []


def test_a_client_that_asks_first_is_refused_before_it_sends(plane: Plane) -> None:
    url = urlsplit(plane.store.sign_upload("k", max_size=10).url.reveal())
    with socket.create_connection((url.hostname or "", url.port or 0)) as sock:
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
        sock.sendall(head.encode())
        assert sock.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_asks_first_may_go_on(plane: Plane) -> None:
    url = urlsplit(plane.store.sign_upload("k", max_size=10).url.reveal())
    with socket.create_connection((url.hostname or "", url.port or 0)) as sock:
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        sock.sendall(head.encode())
        assert sock.recv(4096).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"ok")
        assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert plane.store.read("k") == b"ok"


def test_no_url_is_served_without_a_signature(plane: Plane) -> None:
    plane.store.write("k", b"x")
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        answer = plane.client.request(method, f"{plane.url}/o/k")
        assert (answer.status_code, answer.headers["x-blobkit-error"]) == (403, "unsigned")
    refused = plane.client.post(f"{plane.url}/o/k")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, PUT, DELETE")
    assert plane.client.get(f"{plane.url}/healthz").json() == {"status": "ok"}
    assert plane.client.get(f"{plane.url}/other").status_code == 404


def _same(moment: datetime) -> datetime:
    return moment


def test_an_expired_url_is_refused_and_a_younger_one_is_not(plane: Plane) -> None:
    name = plane.store.config.location["name"]
    for age, life, status in ((3600, 3599, 403), (3600, 3660, 200), (60, 59, 403), (60, 120, 200)):
        then = datetime.now(UTC) - timedelta(seconds=age)
        endpoint = plane.store.config.text("public_endpoint")
        past = blobkit.open_store(f"memory://{name}?public_endpoint={endpoint}", clock=partial(_same, then))
        plane.store.write("k", b"x")
        answer = plane.client.get(past.sign_download("k", expires_in=timedelta(seconds=life)).url.reveal())
        assert answer.status_code == status
        if status == 403:
            assert answer.headers["x-blobkit-error"] == "expired"


def test_reading_by_range_condition_and_override(plane: Plane) -> None:
    plane.store.write("k", b"0123456789", content_type="text/plain", metadata={"a": "1"})
    whole = plane.get("k")
    assert (whole.content, whole.headers["x-blobkit-meta-a"]) == (b"0123456789", "1")
    part = plane.get("k", range="bytes=2-4")
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    assert plane.get("k", range="bytes=99-").status_code == 416
    assert plane.get("k", if_none_match=whole.headers["etag"]).status_code == 304
    assert plane.get("k", if_match='"other"').status_code == 412
    shown = plane.send(
        plane.store.sign_download("k", filename="é.txt", content_type="text/html", cache_control="no-store")
    )
    assert shown.headers["content-disposition"] == "attachment; filename=\"_.txt\"; filename*=UTF-8''%C3%A9.txt"
    assert (shown.headers["content-type"], shown.headers["cache-control"]) == ("text/html", "no-store")
    assert shown.headers["x-content-type-options"] == "nosniff"
    head = plane.send(plane.store.sign_download("k", method="HEAD"))
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")
    head = plane.send(plane.store.sign_download("k", method="HEAD"), range="bytes=2-4")
    assert (head.status_code, head.headers["content-length"]) == (200, "10"), "a range is GET's alone"
    assert plane.get("k", range="bytes=2-4", if_range=whole.headers["etag"]).content == b"234"
    assert plane.get("k", range="bytes=2-4", if_range='"other"').content == b"0123456789"
    assert plane.send(plane.store.sign_download("nothing")).status_code == 404


def test_an_object_without_a_type_is_not_guessed(plane: Plane) -> None:
    plane.store.write("k.html", b"<script>")
    assert plane.get("k.html").headers["content-type"] == "application/octet-stream"


def test_chunks_in_any_order_twice_and_wrong(plane: Plane) -> None:
    session = plane.store.start_upload("k", size=10, chunk_size=4)
    data = b"0123456789"
    for chunk in [*reversed(session.sign_chunks()), session.sign_chunks([2])[0]]:
        body = data[chunk.offset : chunk.offset + chunk.size]
        answer = plane.client.put(chunk.url.reveal(), content=body)
        assert answer.status_code == 200
        assert answer.headers["etag"]
    first = session.sign_chunks([1])[0]
    for wrong in (b"", b"012", b"01234"):
        assert plane.client.put(first.url.reveal(), content=wrong).status_code == 400
    assert plane.client.put(first.url.reveal(), content=b"0123", headers=UNSIGNED_HEADER).status_code == 403
    assert plane.client.put(first.url.reveal().replace("bk-chunk=1", "bk-chunk=2"), content=b"0123").status_code == 403
    assert session.complete().size == 10
    assert plane.store.read("k") == data
    assert plane.client.put(first.url.reveal(), content=b"0123").status_code == 404, "the session is over"


def test_a_chunk_with_a_bound_checksum_must_have_it(plane: Plane) -> None:
    session = plane.store.start_upload("k", size=4)
    chunk = session.sign_chunks(checksums={1: Checksum.of("crc32c", b"good")})[0]
    assert plane.client.put(chunk.url.reveal(), content=b"good").status_code == 403
    assert plane.client.put(chunk.url.reveal(), content=b"evil", headers=chunk.headers).status_code == 400
    assert plane.client.put(chunk.url.reveal(), content=b"good", headers=chunk.headers).status_code == 200


@pytest.mark.parametrize("path", ["/o/a/../b", "/o/%2e%2e/b", "/o/./b", "/o/a%00b", "/o/%ff", "/o/", "/o/a%0Ab"])
def test_a_path_that_is_no_key_is_malformed(plane: Plane, path: str) -> None:
    url = urlsplit(plane.url)
    with socket.create_connection((url.hostname or "", url.port or 0)) as sock:
        sock.sendall(f"GET {path}?bk-exp=1&bk-sig=0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert sock.recv(4096).split(b" ")[1] in (b"400", b"403", b"404")


def test_browsers_may_ask_and_see_the_etag(plane: Plane) -> None:
    url = plane.store.sign_upload("k", content_type="image/png", metadata={"a": "1"}).url.reveal()
    asking = {
        "origin": "https://app.example",
        "access-control-request-method": "PUT",
        "access-control-request-headers": "content-type,x-blobkit-meta-a",
    }
    preflight = plane.client.options(url, headers=asking)
    assert preflight.status_code == 200
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    assert "x-blobkit-meta-a" in preflight.headers["access-control-allow-headers"]
    answer = plane.client.put(
        url,
        content=b"",
        headers={"origin": "https://app.example", "content-type": "image/png", "x-blobkit-meta-a": "1"},
    )
    assert answer.status_code == 200
    assert "ETag" in answer.headers["access-control-expose-headers"]
    assert answer.headers["access-control-allow-origin"] == "*"


def test_mounted_below_a_path_it_serves_the_same() -> None:
    store = blobkit.open_store(f"memory://{uuid.uuid4().hex}?public_endpoint=http://testserver/files")
    app = store.data_plane()
    assert app is not None
    outer = httpx.ASGITransport(Starlette(routes=[Mount("/files", app=app)]))

    async def flow() -> None:
        async with httpx.AsyncClient(transport=outer) as client:
            request = store.sign_upload("a//b c", content_type="a/b")
            answer = await client.put(request.url.reveal(), content=b"x", headers=dict(request.headers))
            assert answer.status_code == 200
            url = store.sign_download("a//b c").url.reveal()
            assert (await client.get(url)).content == b"x"
            assert (await client.get(url.replace("/files/o/", "/files/o//"))).status_code == 403

    with store:
        asyncio.run(flow())


def test_a_public_store_is_read_without_a_signature_and_written_only_with_one() -> None:
    for plane in serving("&public=true"):
        plane.store.write("a b", b"x")
        assert plane.client.get(plane.store.public_url("a b")).content == b"x"
        assert plane.client.put(plane.store.public_url("a b"), content=b"y").status_code == 403
        assert plane.client.get(plane.store.public_url("a b") + "?bk-sig=0&bk-exp=9").status_code == 403


def test_errors_say_nothing_of_the_signature(plane: Plane) -> None:
    url = plane.store.sign_upload("k", max_size=1).url.reveal()
    signature = url.rpartition("bk-sig=")[2]
    for answer in (
        plane.client.put(url, content=b"xx"),
        plane.client.get(url),
        plane.client.put(url + "0", content=b"x"),
    ):
        assert signature not in answer.text + str(answer.headers)
        assert set(answer.json()) == {"error", "message"}


def test_played_last_chunk_publishes_and_complete_promotes() -> None:
    for plane in serving("&commit=last_chunk&chunk_grant=object"):
        session = plane.store.start_upload("k", size=6, chunk_size=3, if_absent=True)
        assert session.staged
        for chunk, body in zip(session.sign_chunks(), (b"abc", b"def"), strict=True):
            assert plane.client.put(chunk.url.reveal(), content=body).status_code == 200
        assert not plane.store.exists("k")
        assert session.complete().size == 6
        assert plane.store.read("k") == b"abcdef"


def test_a_played_wide_grant_can_write_the_whole_object_which_is_why_it_is_staged(
    request: pytest.FixtureRequest,
) -> None:
    for plane in serving("&chunk_grant=object"):
        session = plane.store.start_upload("k", size=6, chunk_size=3)
        url = session.sign_chunks([1])[0].url.reveal()
        whole = url.replace("&bk-chunk=1&bk-chunk-size=3", "")
        assert plane.client.put(whole, content=b"malice").status_code == 200
        assert not plane.store.exists("k"), "a leaked chunk URL reaches the private key only"
