"""The signer's shortcuts give the same bytes as the SAS that they stand for."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from types import MappingProxyType
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.counts import examples

from blobkit.backend import DownloadOrder, SessionState, UploadOrder
from blobkit.chunking import Chunk, ChunkLimits, plan
from blobkit.spec import Constraint, Enforcement, Route, UploadSpec
from blobkit_azure.blocks import chunk_id, mark_id, nonce_of, parse_id
from blobkit_azure.signing import AccountKey, DelegationKey, Grant, service_sas
from blobkit_azure.signing.presign import encode_key
from blobkit_azure.signing.sas import stamp
from blobkit_azure.signing.signer import AzureSigner, Rules

END = 1_900_000_000
BASE = "https://acct.blob.core.windows.net/media/"
KEYS: dict[str, AccountKey | DelegationKey] = {
    "account": AccountKey("acct", bytes(range(64))),
    "long": AccountKey("acct", bytes(range(200))),
    "delegation": DelegationKey("acct", bytes(range(32)), "oid", "tid", "s", "e", "b", "2026-04-06"),
}
names = st.text(st.characters(codec="utf-8", categories=("L", "M", "N", "P", "S", "Zs")), min_size=1, max_size=60)
ANY = UploadSpec()


def signer(key: str, version: str = "2026-04-06") -> AzureSigner:
    return AzureSigner(KEYS[key], Rules("media", BASE, version))


def url(grant: Grant, key: str, name: str, more: str = "") -> str:
    return f"{BASE}{encode_key(name)}?{more}{service_sas(grant, KEYS[key], 'media', name)}"


@settings(max_examples=examples(60))
@given(names, st.sampled_from(sorted(KEYS)))
def test_every_verb_equals_the_sas_of_its_grant(name: str, key: str) -> None:
    mine, plain = signer(key), {"version": "2026-04-06", "expiry": stamp(END), "protocol": "https"}
    order = UploadOrder(ANY, Route.PUT, {})
    assert mine.upload(name, order, 0, END).url.reveal() == url(Grant(permissions="w", **plain), key, name)  # type: ignore[arg-type]
    assert mine.delete(name, 0, END).url.reveal() == url(Grant(permissions="d", **plain), key, name)  # type: ignore[arg-type]
    shown = DownloadOrder("GET", None, 'attachment; filename="a b"', "image/png", "no-store")
    grant = Grant(
        permissions="r", content_disposition='attachment; filename="a b"', content_type="image/png",
        cache_control="no-store", **plain,  # type: ignore[arg-type]
    )  # fmt: skip
    assert mine.download(name, shown, 0, END).url.reveal() == url(grant, key, name)


@settings(max_examples=examples(40))
@given(st.lists(names, min_size=1, max_size=8), st.sampled_from(sorted(KEYS)))
def test_a_batch_equals_one_by_one(many: list[str], key: str) -> None:
    orders = [UploadOrder(ANY, Route.PUT, {}), UploadOrder(UploadSpec(content_type="image/png"), Route.PUT, {})]
    items = [(name, orders[len(name) % 2]) for name in many]
    mine, batch = signer(key), signer(key).uploads(items, 0, END)
    expected = [mine.upload(name, order, 0, END).as_dict() for name, order in items]
    assert [request.as_dict() for request in batch] == expected
    assert [batch[at].as_dict() for at in range(len(batch))] == expected
    assert [request.as_dict() for request in batch[1:]] == expected[1:]


def test_a_version_is_named_beside_its_signature() -> None:
    mine = signer("account", "2022-11-02")
    at = "2026-01-02T03:04:05.1234567Z"
    for version, name, kind in ((at, "versionid", "bv"), (f"snapshot={at}", "snapshot", "bs")):
        query = parse_qs(urlsplit(mine.download("k", DownloadOrder(version=version), 0, END).url.reveal()).query)
        assert (query[name], query["sr"], query["sp"]) == ([at], [kind], ["r"])


def test_bound_constraints_become_signed_headers() -> None:
    spec = UploadSpec(content_type="image/png", metadata={"a": "1"}, cache_control="no-store", if_absent=True)
    enforcement = MappingProxyType(dict.fromkeys(spec.constraints, Enforcement.SIGNATURE))
    request = signer("delegation").upload("k", UploadOrder(spec, Route.PUT, enforcement), 0, END)
    headers = {"x-ms-blob-content-type": "image/png", "x-ms-blob-cache-control": "no-store", "x-ms-meta-a": "1"}
    grant = Grant("2026-04-06", "c", stamp(END), protocol="https", headers=headers)
    assert request.url.reveal() == url(grant, "delegation", "k")
    assert dict(request.headers) == {"x-ms-blob-type": "BlockBlob", **headers}


def test_what_is_only_verified_is_said_and_not_bound() -> None:
    spec = UploadSpec(content_type="image/png", metadata={"a": "1"})
    enforcement = {Constraint.CONTENT_TYPE: Enforcement.COMPLETION, Constraint.METADATA: Enforcement.COMPLETION}
    request = signer("delegation").upload("k", UploadOrder(spec, Route.PUT, enforcement), 0, END)
    assert "srh=" not in request.url.reveal()
    assert dict(request.headers) == {"x-ms-blob-type": "BlockBlob", "content-type": "image/png", "x-ms-meta-a": "1"}


@settings(max_examples=examples(40))
@given(names, st.lists(st.integers(1, 50_000), min_size=1, max_size=5), st.uuids())
def test_one_signature_serves_all_blocks_of_a_session(name: str, numbers: list[int], upload: object) -> None:
    upload_id = str(upload).replace("-", "")
    nonce = nonce_of(upload_id)
    chunks = plan(50_000, ChunkLimits(max_count=50_000), chunk_size=1)
    state = SessionState(name, ANY, chunks, upload_id, nonce, datetime.now(UTC))
    made = signer("account").chunks(state, [Chunk(number, 0, 1) for number in numbers], {}, 0, END)
    grant = Grant("2026-04-06", "w", stamp(END), protocol="https")
    for number, chunk in zip(numbers, made, strict=True):
        block = base64.b64encode(chunk_id(nonce, number).encode()).decode()
        assert block.isalnum()
        assert len(block) == 48
        assert chunk.url.reveal() == f"{url(grant, 'account', name)}&comp=block&blockid={block}"


@settings(max_examples=examples(40))
@given(st.uuids(), st.integers(1, 100_000), st.integers(1, 2**35))
def test_block_ids_say_whose_they_are(upload: object, number: int, started: int) -> None:
    nonce = nonce_of(str(upload).replace("-", ""))
    chunk, mark = chunk_id(nonce, number), mark_id(nonce, started)
    assert len(chunk) == len(mark) == 36
    assert parse_id(chunk) == (nonce, number, None)
    assert parse_id(mark) == (nonce, 0, started)


@pytest.mark.parametrize(
    "text", ["", "short", "x" * 36, "0" * 26 + "c" + "12345678x", "0" * 26 + "z" + "0" * 9, "0" * 37]
)
def test_ids_of_others_are_nobodys(text: str) -> None:
    assert parse_id(text) is None
