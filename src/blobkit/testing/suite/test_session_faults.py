"""Lost replies, errors and crashes, at every call that ``complete()`` makes: in the end a whole object, or none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import pytest

from blobkit.backend import Feature
from blobkit.errors import AlreadyExists, BlobkitError, ConnectionFailed, TransientError, Unavailable, Unsupported
from blobkit.session import UploadSession
from blobkit.spec import UploadSpec
from blobkit.testing.clock import FakeClock
from blobkit.testing.faults import Crash, Fault, Faults, When, faulty
from blobkit.testing.trial import Trial

STAGED: Final = pytest.mark.parametrize("staged", [False, True], ids=["direct", "staged"])


def chunked(trial: Trial, staged: bool) -> bool:
    """Whether there are such sessions; when not, asserts that the store refuses to start one."""
    if not trial.declares(Feature.CHUNKED):
        with pytest.raises(Unsupported):
            trial.store.start_upload("target", size=1)
        return False
    return not staged or trial.declares(Feature.COPY)


def nothing_yet(trial: Trial, session: UploadSession) -> None:
    """Assert that the object is not there, unless the provider itself publishes straight to the key, as was agreed."""
    if session.staged or trial.store.capabilities.commit == "service":
        trial.nothing_at("target")


def prepared(
    trial: Trial, data: bytes, *, staged: bool | None, create_only: bool = False
) -> tuple[UploadSession, Faults]:
    """A session whose chunks are all there, seen through a backend that can fail."""
    plain = trial.start("target", size=len(data), spec=UploadSpec(if_absent=create_only), staging=staged)
    trial.put_all(plain, data)
    store, faults = faulty(trial.open())
    return store.resume_upload(plain.token), faults


def nothing_is_left(trial: Trial) -> None:
    """Assert that no session and no private object remains."""
    if trial.store.capabilities.has(Feature.LIST_UPLOADS):
        assert list(trial.store.list_uploads()) == []
    assert list(trial.store._calls.backend.list(trial.prefix + ".blobkit/")) == []


@STAGED
@pytest.mark.parametrize("call", ["commit", "copy", "received", "discard", "delete"])
def test_complete_recognises_its_own_work_when_a_reply_is_lost(trial: Trial, call: str, staged: bool) -> None:
    """The commit, the promotion or the clean-up went through; only nobody heard so. The call may say that it failed only
    if it changed nothing; calling again then succeeds."""
    if not chunked(trial, staged):
        return
    data = trial.body()
    session, faults = prepared(trial, data, staged=staged)
    faults.lose(call)
    if call == "received":
        with pytest.raises(ConnectionFailed):
            session.complete()
        nothing_yet(trial, session)
    done = session.complete()
    assert done.upload_id == session.upload_id
    trial.holds("target", data)
    assert session.complete().etag == done.etag


@STAGED
@pytest.mark.parametrize("call", ["commit", "copy"])
def test_complete_if_absent_does_not_take_its_own_object_for_another(trial: Trial, call: str, staged: bool) -> None:
    """After a lost reply the retry meets the object that the first try made: that is success, not AlreadyExists."""
    if not chunked(trial, staged):
        return
    data = trial.body()
    try:
        session, faults = prepared(trial, data, staged=staged, create_only=True)
    except Unsupported:
        trial.undeclared("chunked.if_absent")
        return
    faults.lose(call, lambda: AlreadyExists("injected: a retry inside the SDK met its own object"))
    assert session.complete().upload_id == session.upload_id
    trial.holds("target", data)


@STAGED
@pytest.mark.parametrize("call", ["received", "commit", "copy"])
def test_complete_can_be_called_again_after_an_error(trial: Trial, call: str, staged: bool) -> None:
    if not chunked(trial, staged):
        return
    data, calls = trial.body(), calls_of_complete(trial, staged=staged)
    session, faults = prepared(trial, data, staged=staged)
    faults.fail(call)
    if call not in calls:  # nothing to promote when not staged, nothing to commit when the last chunk did
        session.complete()
        trial.holds("target", data)
        return
    with pytest.raises(Unavailable) as found:
        session.complete()
    assert found.value.retryable
    assert found.value.provider == trial.store.provider
    assert found.value.operation == "complete"
    nothing_yet(trial, session)
    session.complete()
    trial.holds("target", data)
    nothing_is_left(trial)


@STAGED
def test_a_clean_up_that_fails_does_not_fail_complete_and_is_swept_later(trial: Trial, staged: bool) -> None:
    if not chunked(trial, staged):
        return
    data = trial.body()
    session, faults = prepared(trial, data, staged=staged)
    faults.fail("discard", times=3)
    faults.fail("delete", times=3)
    session.complete()
    trial.holds("target", data)
    if not trial.store.capabilities.has(Feature.LIST_UPLOADS):
        return
    tomorrow = trial.open(clock=FakeClock.ago(timedelta(days=-1)))
    tomorrow.sweep_uploads(older_than=timedelta(hours=1))
    nothing_is_left(trial)
    trial.holds("target", data)


def calls_of_complete(trial: Trial, *, staged: bool) -> list[str]:
    """What ``complete()`` calls when all goes well."""
    data = trial.body()
    session, faults = prepared(trial, data, staged=staged)
    session.complete()
    trial.store.delete("target")
    return [call for call in faults.log if call != "signer"]


@STAGED
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_call_of_complete_loses_nothing(trial: Trial, staged: bool, when: When) -> None:
    """The process dies; another one, with the token, completes. Never a torn object, never a lost one, nothing left."""
    if not chunked(trial, staged):
        return
    data, calls = trial.body(), calls_of_complete(trial, staged=staged)
    assert ("commit" in calls) == (trial.store.capabilities.commit == "service")
    for place, call in enumerate(calls):
        session, faults = prepared(trial, data, staged=staged)
        faults.crash(call, when, skip=calls[:place].count(call))
        with pytest.raises(Crash):
            session.complete()
        assert faults.pending == ()
        if trial.store.exists("target"):
            trial.holds("target", data)
        successor = trial.open().resume_upload(session.token)
        assert successor.status().missing == ()
        done = successor.complete()
        assert done.upload_id == session.upload_id
        trial.holds("target", data)
        successor.abort()
        nothing_is_left(trial)
        trial.holds("target", data)
        trial.store.delete("target")


@STAGED
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_error_at_any_call_of_complete_ends_in_a_whole_object(trial: Trial, staged: bool, when: When) -> None:
    if not chunked(trial, staged):
        return
    data, calls = trial.body(), calls_of_complete(trial, staged=staged)
    for place, call in enumerate(calls):
        session, faults = prepared(trial, data, staged=staged)
        faults.add(Fault(call, when, skip=calls[:place].count(call)))
        try:
            session.complete()
        except TransientError:
            if trial.store.exists("target"):
                trial.holds("target", data)
            session.complete()
        trial.holds("target", data)
        trial.store.delete("target")


@STAGED
def test_any_schedule_of_faults_ends_in_a_whole_object_or_in_none(trial: Trial, staged: bool) -> None:
    if not chunked(trial, staged):
        return
    data = trial.body(1.5)
    trial.store.write("target", b"what was there")
    for seed in range(12):
        session, faults = prepared(trial, data, staged=staged)
        faults.by_chance(seed, 0.3)
        for _ in range(60):
            try:
                session.complete()
                break
            except TransientError:
                found = trial.store.read("target")
                assert found in (b"what was there", data)
        else:
            pytest.fail("sixty tries, and no end")
        faults.clear()
        trial.holds("target", data)
        trial.store.write("target", b"what was there")


def test_an_abort_that_failed_can_be_repeated(trial: Trial) -> None:
    if not chunked(trial, staged=False):
        return
    data = trial.body()
    session, faults = prepared(trial, data, staged=None)
    for fault in (Fault("discard"), Fault("discard", "after")):
        faults.add(fault)
        with pytest.raises(TransientError):
            session.abort()
    session.abort()
    trial.nothing_at("target")


def test_a_start_whose_reply_is_lost_publishes_nothing(trial: Trial) -> None:
    if not chunked(trial, staged=False):
        return
    store, faults = faulty(trial.open())
    faults.lose("open_session")
    with pytest.raises(ConnectionFailed) as found:
        trial.start("target", size=10, store=store)
    assert found.value.operation == "start_upload"
    trial.nothing_at("target")


def test_a_write_whose_reply_is_lost_is_recognised(trial: Trial) -> None:
    store, faults = faulty(trial.open())
    faults.lose("put")
    info = store.write("k", b"data")
    assert info.upload_id == trial.holds("k", b"data").upload_id
    faults.lose("put", lambda: AlreadyExists("injected: a retry inside the SDK met its own object"))
    if trial.declares(Feature.IF_ABSENT):
        store.write("new", b"data", if_absent=True)
        trial.holds("new", b"data")
        faults.fail("put", lambda: AlreadyExists("injected: somebody else's"))
        with pytest.raises(AlreadyExists):
            store.write("new", b"other", if_absent=True)
        trial.holds("new", b"data")


@pytest.mark.parametrize("call", ["head", "get", "list", "delete", "delete_many", "put", "pending"])
def test_a_transient_error_is_told_as_one_with_where_it_happened(trial: Trial, call: str) -> None:
    store, faults = faulty(trial.open())
    verbs: dict[str, tuple[str, Callable[[], object]]] = {
        "head": ("stat", lambda: store.stat("k")),
        "get": ("read", lambda: store.read("k")),
        "list": ("list", lambda: list(store.list())),
        "delete": ("delete", lambda: store.delete("k")),
        "delete_many": ("delete_many", lambda: store.delete_many(["k"])),
        "put": ("write", lambda: store.write("k", b"")),
        "pending": ("list_uploads", lambda: list(store.list_uploads())),
    }
    operation, verb = verbs[call]
    faults.fail(call)
    if call == "pending" and not trial.declares(Feature.LIST_UPLOADS):
        with pytest.raises(Unsupported):
            verb()
        return
    with pytest.raises(Unavailable) as found:
        verb()
    error: BlobkitError = found.value
    assert (error.provider, error.operation, error.retryable) == (trial.store.provider, operation, True)
    assert error.http_status == 503
    if call not in ("list", "delete_many", "pending"):
        assert error.key == "k"
