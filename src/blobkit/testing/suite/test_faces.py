"""The main flows once more, over the store and over AsyncStore: they differ only in the call."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from blobkit.backend import Feature
from blobkit.errors import AlreadyExists, BlobNotFound, InvalidKey, Unsupported
from blobkit.spec import UploadSpec
from blobkit.store import Store
from blobkit.testing.trial import Trial, random_bytes

DATA: Final = random_bytes(3000, seed=8)
LIFE: Final = timedelta(minutes=5)


def test_upload_and_download_by_signed_requests(trial: Trial, face: Store) -> None:
    request = face.sign_upload("a b/é", expires_in=LIFE)
    trial.upload(request, DATA)
    assert face.stat("a b/é").size == len(DATA)
    assert trial.download(face.sign_download("a b/é", expires_in=LIFE)).body == DATA
    batch = face.sign_uploads(["x", "y"], expires_in=LIFE)
    for one in batch:
        trial.upload(one, DATA)
    assert sorted(blob.key for blob in face.list()) == ["a b/é", "x", "y"]


def test_write_read_list_and_delete(trial: Trial, face: Store) -> None:
    assert face.write("dir/k", DATA, content_type="image/png").size == len(DATA)
    assert face.exists("dir/k")
    assert face.read("dir/k", 10, 20) == DATA[10:20]
    assert [blob.key for blob in face.list("dir/")] == ["dir/k"]
    if trial.declares(Feature.LIST_DIR):
        assert [item.key for item in face.list_dir()] == ["dir/"]
    assert [result.error for result in face.delete_many(["dir/k", "none"])] == [None, None]
    assert not face.exists("dir/k")
    with pytest.raises(BlobNotFound) as found:
        face.stat("dir/k")
    assert (found.value.operation, found.value.key) == ("stat", "dir/k")


def test_copy_promote_and_conditions(trial: Trial, face: Store) -> None:
    info = face.write("from", DATA)
    if not trial.declares(Feature.COPY_IF_ABSENT):
        with pytest.raises(Unsupported):
            face.copy("from", "to", if_absent=True)
        return
    face.promote(info, "to")
    with pytest.raises(AlreadyExists):
        face.promote(info, "to")
    assert face.copy("from", "to").size == len(DATA)


def test_a_session_from_start_to_end(trial: Trial, face: Store) -> None:
    if not trial.declares(Feature.CHUNKED):
        with pytest.raises(Unsupported):
            face.start_upload("k", size=1)
        return
    data = trial.body()
    session = face.start_upload(
        "k", size=len(data), chunk_size=trial.chunk_size, owner="u1", allow_session_life=trial.bearer_chunks
    )
    token = session.token
    plain = trial.store.resume_upload(token, owner="u1")
    trial.accepted(trial.send_chunks(plain, data, [1]), plain)
    resumed = face.resume_upload(token, owner="u1")
    assert resumed.status().received == (1,)
    signed = resumed.sign_chunks(resumed.status().missing)
    for chunk in signed:
        piece = data[chunk.offset : chunk.offset + chunk.size]
        trial.accepted({chunk.number: trial.send_chunk(chunk, piece, len(data))}, plain)
    trial.nothing_at("k")
    assert resumed.complete().size == len(data)
    trial.holds("k", data)
    assert session.status().state == "committed"
    again = face.start_upload("other", size=10, allow_session_life=trial.bearer_chunks)
    again.abort()
    trial.nothing_at("other")


def test_errors_are_the_same(trial: Trial, face: Store) -> None:
    with pytest.raises(InvalidKey):
        face.sign_upload("../up", expires_in=LIFE)
    with pytest.raises(InvalidKey):
        face.write("", DATA)
    with pytest.raises(BlobNotFound):
        face.read("nothing")
    with pytest.raises(BlobNotFound):
        face.verify_upload("nothing", UploadSpec(size=1))
    if not trial.store.capabilities.has(Feature.SIGN_DELETE):
        with pytest.raises(Unsupported):
            face.sign_delete("k", expires_in=LIFE)


def test_stores_on_longer_prefixes(trial: Trial, face: Store) -> None:
    tenant = face.at("tenant/")
    tenant.write("k", DATA)
    assert [blob.key for blob in tenant.list()] == ["k"]
    assert face.exists("tenant/k")


def test_upload_in_one_call_and_by_a_plan(trial: Trial, face: Store) -> None:
    assert face.upload("k", DATA).size == len(DATA)
    plan = face.plan_upload("planned", 10, expires_in=LIFE)
    assert plan.key == "planned"
    assert plan.single is not None
