"""UploadSession on a fake provider: every row of the table in blobkit.session, and every mode of provider."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobkit import errors
from blobkit.backend import Capabilities, Feature
from blobkit.blobs import BlobInfo, Checksum
from blobkit.session import UploadSession
from blobkit.spec import Constraint, Enforcement, Route, UploadSpec
from blobkit.store import Store

from .conftest import Open
from .fakes import EVERYTHING, NOON, FakeBackend

DATA = b"0123456789abcdef"


def mode(commit: str = "service", grant: str = "chunk") -> Capabilities:
    return replace(EVERYTHING, commit=commit, chunk_grant=grant)  # type: ignore[arg-type]


MODES = [
    pytest.param(mode(), id="service commits, chunk grants"),
    pytest.param(mode(grant="object"), id="service commits, object grants"),
    pytest.param(mode("last_chunk", "object"), id="last chunk commits"),
]


def send(store: Store, backend: FakeBackend, session: UploadSession, data: bytes = DATA) -> None:
    plan = session.chunks if session.chunks.size is not None else session.chunks.resolved(len(data))
    for chunk in plan:
        backend.put_chunk(session.upload_id, chunk.number, data[chunk.offset : chunk.offset + chunk.size])


@pytest.mark.parametrize("capabilities", MODES)
def test_nothing_is_at_the_key_before_complete_and_all_of_it_after(fake: Open, capabilities: Capabilities) -> None:
    store, backend = fake(capabilities)
    session = store.start_upload("a/b.bin", size=16, chunk_size=4, metadata={"owner": "u1"})
    send(store, backend, session)
    session.status()
    assert "pre/a/b.bin" not in backend.objects
    info = session.complete()
    assert (info.key, info.size, info.upload_id) == ("a/b.bin", 16, session.upload_id)
    assert store.read("a/b.bin") == DATA
    assert list(backend.objects) == ["pre/a/b.bin"], "nothing is left in staging"


@pytest.mark.parametrize(
    ("capabilities", "lost"),
    [
        (mode(), "commit"),
        (mode(grant="object"), "commit"),
        (mode(grant="object"), "copy"),
        (mode("last_chunk"), "copy"),
    ],
)
def test_a_lost_reply_is_recognised(fake: Open, capabilities: Capabilities, lost: str) -> None:
    store, backend = fake(capabilities)
    session = store.start_upload("k", size=16, chunk_size=4, if_absent=True)
    send(store, backend, session)
    backend.lose.append(lost)
    assert session.complete().upload_id == session.upload_id
    assert store.read("k") == DATA


@pytest.mark.parametrize("capabilities", MODES)
def test_complete_is_idempotent_also_after_a_restart(fake: Open, capabilities: Capabilities) -> None:
    store, backend = fake(capabilities)
    session = store.start_upload("k", size=16, chunk_size=4)
    token = session.token
    send(store, backend, session)
    first = session.complete()
    assert session.complete() == first
    assert store.resume_upload(token).complete() == first
    assert session.status().state == "committed"


@pytest.mark.parametrize("capabilities", [mode(grant="object"), mode("last_chunk", "object")])
def test_a_crash_between_commit_and_promote_is_finished_by_the_next_complete(
    fake: Open, capabilities: Capabilities
) -> None:
    store, backend = fake(capabilities)
    session = store.start_upload("k", size=16, chunk_size=4)
    assert session.staged
    send(store, backend, session)
    backend.fail.append("copy")
    with pytest.raises(errors.ConnectionFailed):
        session.complete()
    assert session.status().state == "open"
    assert "pre/k" not in backend.objects
    assert store.resume_upload(session.token).complete().size == 16


def test_many_concurrent_completes_give_one_object(fake: Open) -> None:
    store, backend = fake(mode(grant="object"))
    session = store.start_upload("k", size=16, chunk_size=4, if_absent=True)
    send(store, backend, session)
    results: list[BlobInfo] = []
    threads = [threading.Thread(target=lambda: results.append(session.complete())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert {info.upload_id for info in results} == {session.upload_id}


def test_missing_and_wrong_chunks_are_named(fake: Open) -> None:
    store, backend = fake()
    session = store.start_upload("k", size=16, chunk_size=4)
    backend.put_chunk(session.upload_id, 1, b"0123")
    backend.put_chunk(session.upload_id, 3, b"too long")
    assert session.status().missing == (2, 3, 4)
    with pytest.raises(errors.ChunkMismatch) as caught:
        session.complete()
    assert caught.value.missing == (2, 4)
    send(store, backend, session)
    backend.put_chunk(session.upload_id, 2, b"short"[:3])
    with pytest.raises(errors.ChunkMismatch) as caught:
        session.complete()
    assert caught.value.wrong == (2,)
    assert "pre/k" not in backend.objects


def test_a_client_that_lies_about_its_receipts_is_refused(fake: Open) -> None:
    store, backend = fake()
    session = store.start_upload("k", size=16, chunk_size=4)
    send(store, backend, session)
    with pytest.raises(errors.ChunkMismatch):
        session.complete({1: "r1", 2: "somebody-else's"})
    assert session.complete({1: '"r1"', 2: "r2"}).size == 16, "quotes around an etag do not matter"


def test_another_object_at_the_key_is_never_taken_for_ours(fake: Open) -> None:
    store, backend = fake()
    session = store.start_upload("k", size=16, chunk_size=4, if_absent=True)
    send(store, backend, session)
    store.write("k", b"somebody else")
    with pytest.raises(errors.AlreadyExists):
        session.complete()
    assert store.read("k") == b"somebody else"
    assert session.status().state == "gone", "the chunks of a lost race are discarded"


def test_abort_after_complete_leaves_the_object(fake: Open) -> None:
    for capabilities in (mode(), mode(grant="object")):
        store, backend = fake(capabilities)
        session = store.start_upload("k", size=16, chunk_size=4)
        send(store, backend, session)
        session.complete()
        assert session.abort().discarded
        assert store.read("k") == DATA


def test_an_aborted_session_cannot_be_completed(fake: Open) -> None:
    store, backend = fake()
    session = store.start_upload("k", size=16, chunk_size=4)
    send(store, backend, session)
    session.abort()
    session.abort()
    with pytest.raises(errors.SessionNotFound):
        session.complete()


def test_an_unknown_size_is_resolved_at_completion(fake: Open) -> None:
    store, backend = fake()
    session = store.start_upload("k", chunk_size=4)
    send(store, backend, session)
    with pytest.raises(errors.InvalidArgument):
        session.complete()
    with pytest.raises(errors.ChunkMismatch):
        session.complete(size=12)
    assert session.complete(size=16).size == 16


def test_a_size_outside_the_range_is_refused_before_anything_is_committed(fake: Open) -> None:
    store, backend = fake()
    session = store.start_upload("k", max_size=12, chunk_size=4)
    backend.put_chunk(session.upload_id, 1, b"0123")
    with pytest.raises(errors.ConstraintViolated):
        session.complete(size=13)
    assert "commit" not in backend.calls
    with pytest.raises(errors.ConstraintViolated):
        store.start_upload("k", size=13, max_size=12)


def test_a_checksum_that_nobody_enforces_is_verified_before_the_object_appears(fake: Open) -> None:
    loose = {**EVERYTHING.enforces, (Route.CHUNKED, Constraint.CHECKSUM): False}
    store, backend = fake(replace(EVERYTHING, enforces=loose))
    right, wrong = Checksum.of("sha256", DATA), Checksum.of("sha256", b"other")
    session = store.start_upload("k", size=16, checksum=wrong)
    assert session.staged
    assert session.enforcement[Constraint.CHECKSUM] is Enforcement.COMPLETION
    send(store, backend, session)
    with pytest.raises(errors.ConstraintViolated):
        session.complete()
    assert backend.objects == {}
    session = store.start_upload("k", size=16, checksum=right)
    send(store, backend, session)
    assert session.complete().size == 16


@pytest.mark.parametrize("capabilities", MODES)
def test_a_checksum_given_at_completion_is_checked_before_the_object_appears(
    fake: Open, capabilities: Capabilities
) -> None:
    store, backend = fake(capabilities)
    store.write("k", b"what was there")
    session = store.start_upload("k", size=16, chunk_size=4)
    send(store, backend, session)
    with pytest.raises((errors.ConstraintViolated, errors.ChecksumMismatch)):
        session.complete(checksum=Checksum.of("md5", b"other"))
    assert store.read("k") == b"what was there"
    session = store.start_upload("k", size=16, chunk_size=4)
    send(store, backend, session)
    assert session.complete(checksum=Checksum.of("md5", DATA)).size == 16


def test_a_checksum_that_comes_too_late_to_be_checked_is_refused(fake: Open) -> None:
    loose = {**EVERYTHING.enforces, (Route.CHUNKED, Constraint.CHECKSUM): None}
    store, backend = fake(replace(EVERYTHING, enforces=loose))
    session = store.start_upload("k", size=16, chunk_size=4)
    send(store, backend, session)
    with pytest.raises(errors.UnenforceableConstraint) as caught:
        session.complete(checksum=Checksum.of("md5", DATA))
    assert caught.value.key == "k"
    assert "commit" not in backend.calls
    assert session.complete().size == 16


def test_if_absent_that_nothing_can_enforce_is_refused_before_anything_starts(fake: Open) -> None:
    features = {**EVERYTHING.features, Feature.COPY_IF_ABSENT: False}
    enforces = {**EVERYTHING.enforces, (Route.CHUNKED, Constraint.IF_ABSENT): False}
    store, backend = fake(replace(EVERYTHING, features=features, enforces=enforces))
    with pytest.raises(errors.UnenforceableConstraint) as caught:
        store.start_upload("k", if_absent=True)
    assert caught.value.constraint == "if_absent"
    assert caught.value.alternatives
    assert backend.open_sessions == {}


def test_chunk_urls_that_outlive_every_expiry_must_be_agreed_to(fake: Open) -> None:
    limits = replace(EVERYTHING.limits, chunk_url_life=timedelta(days=7))
    store, backend = fake(replace(EVERYTHING, limits=limits))
    with pytest.raises(errors.InvalidExpiry):
        store.start_upload("k", size=4)
    assert backend.open_sessions == {}
    session = store.start_upload("k", size=4, allow_session_life=True)
    assert session.sign_chunks()[0].expires_at == session.expires_at


def test_a_token_opens_only_for_its_store_key_and_owner(fake: Open) -> None:
    store, _ = fake()
    token = store.start_upload("k", size=4, owner="u1").token
    assert store.resume_upload(token, key="k", owner="u1").key == "k"
    wrongs: list[Callable[[], object]] = [
        lambda: store.resume_upload(token, owner="u2"),
        lambda: store.resume_upload(token, key="other", owner="u1"),
        lambda: store.at("elsewhere/").resume_upload(token, owner="u1"),
        lambda: fake(url="fake://another/pre/")[0].resume_upload(token, owner="u1"),
    ]
    for wrong in wrongs:
        with pytest.raises(errors.InvalidToken) as caught:
            wrong()
        assert caught.value.reason == "foreign"
    late = fake(clock=lambda: NOON + timedelta(days=8))[0]
    with pytest.raises(errors.InvalidToken) as caught:
        late.resume_upload(token, owner="u1")
    assert caught.value.reason == "expired"


@given(data=st.data())
def test_a_token_with_one_changed_character_is_tampered(data: st.DataObject) -> None:
    from blobkit.sealing import Keyring

    ring = Keyring.generate()
    token = ring.seal({"key": "k"}).reveal()
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("ABCabc012-_~+/"))
    changed = token[:at] + other + token[at + 1 :]
    if changed != token:
        if at == len(token) - 1 and _same_bytes(token, changed):
            assert ring.open(changed) == {"key": "k"}, "another spelling of base64's spare bits"
            return
        with pytest.raises(errors.InvalidToken) as caught:
            ring.open(changed)
        assert caught.value.reason in ("tampered", "newer")


def _same_bytes(one: str, other: str) -> bool:
    if not set("+/").isdisjoint(one + other):
        return False  # b64decode takes them for "-" and "_", whatever its alphabet; a token does not
    pad = "=" * (-len(one) % 4)
    try:
        return base64.b64decode(one + pad, b"-_", validate=True) == base64.b64decode(other + pad, b"-_", validate=True)
    except ValueError:
        return False


def test_a_key_and_metadata_too_large_for_a_token_are_refused_at_the_start(fake: Open) -> None:
    store, backend = fake()
    with pytest.raises(errors.InvalidArgument):
        store.start_upload("é" * 480, size=4, metadata={"m": "x" * 1900})
    assert backend.open_sessions == {}


def test_sweeping_aborts_only_what_is_old_enough(fake: Open) -> None:
    store, backend = fake(mode(grant="object"))
    session = store.start_upload("k", size=16, chunk_size=4)
    send(store, backend, session)
    assert store.sweep_uploads(older_than=timedelta(hours=1)) == []
    assert session.status().received_bytes == 16
    later, _ = fake(backend=backend, clock=lambda: NOON + timedelta(hours=2))
    assert len(later.sweep_uploads(older_than=timedelta(hours=1))) == 1
    assert list(later.list_uploads()) == []


def test_staged_keys_do_not_show_in_listings(fake: Open) -> None:
    store, backend = fake(mode("last_chunk", "object"))
    session = store.start_upload("k", size=16, chunk_size=4)
    send(store, backend, session)
    session.status()
    assert any(".blobkit/staging/" in key for key in backend.objects)
    assert list(store.list()) == []
    with pytest.raises(errors.InvalidKey):
        store.stat(".blobkit/staging/x")


def test_a_plan_says_how_and_until_when(fake: Open) -> None:
    from blobkit.plans import PlanLinks, UploadPlan

    store, _ = fake()
    session = store.start_upload("k", spec=UploadSpec(content_type="image/png", if_absent=True), size=16, chunk_size=4)
    plan = session.plan()
    assert plan.parts is not None
    assert [(item.offset, item.size) for item in plan.parts.items] == [(0, 4), (4, 4), (8, 4), (12, 4)]
    assert (plan.overwrite, plan.overwrite_enforced_by) == ("deny", "provider")
    assert UploadPlan.from_json(plan.as_json()).as_dict() == plan.as_dict()
    assert "secret" not in repr(plan)
    with pytest.raises(errors.InvalidArgument):
        session.plan(sign="lazy")
    lazy = session.plan(sign="lazy", links=PlanLinks(sign="/u/1/chunks/{n}"), id="u1")
    assert lazy.parts is not None
    assert (lazy.id, list(lazy.parts.items), lazy.parts.count) == ("u1", [], 4)
