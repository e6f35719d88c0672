"""Signed URLs of the local store: what a signature covers, for whom, and until when."""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobkit.backend import DownloadOrder, SessionState, UploadOrder
from blobkit.blobs import Checksum
from blobkit.chunking import ChunkLimits, plan
from blobkit.spec import Enforcement, Route, UploadSpec
from blobkit_local.signing import Grant, LocalSigner, Purpose, Refused, metadata_digest, verify

KEY = b"k" * 32
NOW, END = 1_800_000_000, 1_800_000_900
SIGNER = LocalSigner(KEY, "http://127.0.0.1:8707")


def order(spec: UploadSpec) -> UploadOrder:
    return UploadOrder(spec, Route.PUT, MappingProxyType(dict.fromkeys(spec.constraints, Enforcement.SIGNATURE)))


FULL = UploadSpec(
    content_type="image/png",
    min_size=1,
    max_size=10,
    checksum=Checksum.of("sha256", b"x"),
    metadata={"owner": "u1"},
    cache_control="no-store",
    content_disposition="inline",
    content_encoding="gzip",
    storage_class="COLD",
    if_absent=True,
)


def state(key: str = "a/b") -> SessionState:
    return SessionState(
        key, UploadSpec(), plan(100, ChunkLimits()), "ab" * 16, "ab" * 16, datetime.fromtimestamp(NOW, UTC)
    )


def opened(url: str, method: str, *, now: int = NOW, key: bytes = KEY) -> Grant:
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/o/"), errors="strict")
    return verify(key, method, path, parse_qsl(parts.query, keep_blank_values=True), now)


URLS = {
    Purpose.UPLOAD: (SIGNER.upload("a/b", order(FULL), NOW, END).url.reveal(), "PUT"),
    Purpose.DOWNLOAD: (SIGNER.download("a/b", DownloadOrder(version="v"), NOW, END).url.reveal(), "GET"),
    Purpose.HEAD: (SIGNER.download("a/b", DownloadOrder("HEAD"), NOW, END).url.reveal(), "HEAD"),
    Purpose.DELETE: (SIGNER.delete("a/b", NOW, END).url.reveal(), "DELETE"),
    Purpose.CHUNK: (SIGNER.chunks(state(), [plan(100, ChunkLimits())[0]], {}, NOW, END)[0].url.reveal(), "PUT"),
}


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST", "PATCH"])
def test_a_url_serves_its_own_method_and_no_other(purpose: Purpose, method: str) -> None:
    url, right = URLS[purpose]
    if method == right:
        assert opened(url, method).purpose is purpose
        return
    with pytest.raises(Refused) as caught:
        opened(url, method)
    assert caught.value.code == "method"


def test_an_upload_grant_says_everything_that_was_asked() -> None:
    grant = opened(*URLS[Purpose.UPLOAD])
    assert grant.spec == FULL.replace(metadata={})
    assert grant.metadata == metadata_digest(FULL.metadata)


@pytest.mark.parametrize("purpose", Purpose)
def test_a_url_ends_at_its_expiry_to_the_second(purpose: Purpose) -> None:
    url, method = URLS[purpose]
    assert opened(url, method, now=END - 1).expires == END
    for late in (END, END + 1, END + 10**6):
        with pytest.raises(Refused) as caught:
            opened(url, method, now=late)
        assert caught.value.code == "expired"


@given(purpose=st.sampled_from(Purpose), data=st.data())
def test_one_changed_character_is_refused(purpose: Purpose, data: st.DataObject) -> None:
    url, method = URLS[purpose]
    start = url.index("/o/") + 3
    at = data.draw(st.integers(start, len(url) - 1))
    changed = url[:at] + data.draw(st.sampled_from("0aZ%&=-/?")) + url[at + 1 :]
    grant = opened(url, method)
    try:
        assert opened(changed, method) == grant, "only another spelling of the very same request passes"
    except (Refused, UnicodeDecodeError):
        pass
    else:
        assert sorted(parse_qsl(urlsplit(changed).query, keep_blank_values=True)) == sorted(
            parse_qsl(urlsplit(url).query, keep_blank_values=True)
        )


@given(purpose=st.sampled_from(Purpose), seed=st.randoms())
def test_a_client_may_reorder_and_requote_the_query(purpose: Purpose, seed: object) -> None:
    url, method = URLS[purpose]
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    seed.shuffle(pairs)  # type: ignore[attr-defined]
    query = "&".join(f"{name}={''.join(f'%{b:02x}' for b in value.encode())}" for name, value in pairs)
    assert opened(f"{parts.path}?{query}&utm_source=mail", method) == opened(url, method)


@pytest.mark.parametrize("purpose", Purpose)
def test_every_bound_parameter_is_needed_and_none_can_be_added(purpose: Purpose) -> None:
    url, method = URLS[purpose]
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    for left_out in pairs:
        query = "&".join(f"{n}={quote(v, safe='')}" for n, v in pairs if n != left_out[0])
        with pytest.raises(Refused):
            opened(f"{parts.path}?{query}", method)
    for added in ("bk-max=99", "bk-absent=1", "bk-new=1", f"{pairs[0][0]}={pairs[0][1]}", "bk-wide=1"):
        with pytest.raises(Refused):
            opened(f"{url}&{added}", method)


def test_another_store_s_key_signs_nothing_here() -> None:
    for url, method in URLS.values():
        with pytest.raises(Refused) as caught:
            opened(url, method, key=b"o" * 32)
        assert caught.value.code == "signature"


def test_an_unsigned_request_is_told_so() -> None:
    with pytest.raises(Refused) as caught:
        opened("/o/a/b", "GET")
    assert (caught.value.code, caught.value.status) == ("unsigned", 403)


def test_signing_is_pure_and_a_batch_gives_the_same_bytes_whenever_it_is_read() -> None:
    items = [(f"k{n}", order(FULL)) for n in range(5)]
    batch = LocalSigner(KEY, "http://127.0.0.1:8707").uploads(items, NOW, END)
    single = [SIGNER.upload(key, each, NOW, END).as_dict() for key, each in items]
    assert [request.as_dict() for request in batch] == single
    assert [request.as_dict() for request in batch[1:3]] == single[1:3]
    assert batch[-1].as_dict() == single[-1]
    with pytest.raises(IndexError):
        batch[5]


def test_the_host_is_not_signed_and_the_base_path_neither() -> None:
    mounted = LocalSigner(KEY, "https://cdn.example", base_path="/files").upload("k", order(FULL), NOW, END)
    plain = SIGNER.upload("k", order(FULL), NOW, END)
    assert mounted.url.reveal().startswith("https://cdn.example/files/o/k?")
    assert urlsplit(mounted.url.reveal()).query == urlsplit(plain.url.reveal()).query


def test_the_headers_are_exactly_those_that_are_bound() -> None:
    request = SIGNER.upload("k", order(FULL), NOW, END)
    assert set(request.headers) == {
        "content-type", "cache-control", "content-disposition", "content-encoding", "x-blobkit-storage-class",
        "if-none-match", "x-blobkit-meta-owner", "x-blobkit-checksum-sha256",
    }  # fmt: skip
    assert SIGNER.upload("k", order(UploadSpec(size=3)), NOW, END).headers == {}


def test_a_wide_chunk_url_covers_the_session_and_not_the_number() -> None:
    wide = LocalSigner(KEY, "http://h", wide=True).chunks(state(), list(plan(100, ChunkLimits())), {}, NOW, END)[0]
    url = wide.url.reveal()
    assert opened(url, "PUT").chunk == 1
    assert opened(url.replace("bk-chunk=1", "bk-chunk=7"), "PUT").chunk == 7
    assert opened(url.replace("&bk-chunk=1&bk-chunk-size=100", ""), "PUT").chunk is None
    narrow = URLS[Purpose.CHUNK][0]
    with pytest.raises(Refused):
        opened(narrow.replace("bk-chunk=1", "bk-chunk=7"), "PUT")


@given(key=st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=40))
def test_every_key_is_signed_as_itself(key: str) -> None:
    url = SIGNER.download(key, DownloadOrder(), NOW, END).url.reveal()
    assert url.isascii()
    assert opened(url, "GET").key == key


@pytest.mark.parametrize("nonsense", ["", "-1", "1.5", "x", "9" * 20, "\u0661"])
def test_a_number_that_is_none_is_malformed_and_not_an_accident(nonsense: str) -> None:
    with pytest.raises(Refused):
        opened(f"/o/k?bk-exp={quote(nonsense)}&bk-sig=00", "GET")
