"""Every category of error that can be provoked is: the same cause has the same class on every provider."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from blobkit.backend import Feature
from blobkit.blobs import Checksum, Pin
from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    BlobNotFound,
    BucketNotFound,
    ClosedError,
    ConfigError,
    ConnectionFailed,
    ConstraintViolated,
    InvalidArgument,
    InvalidChunk,
    InvalidExpiry,
    InvalidToken,
    PermissionDenied,
    PreconditionFailed,
    TransientError,
    Unsupported,
)
from blobkit.ops import check_required
from blobkit.spec import UploadSpec
from blobkit.store import Store
from blobkit.testing.trial import Trial

LIFE: Final = timedelta(minutes=5)


def located(error: BlobkitError, trial: Trial, operation: str, key: str | None) -> None:
    """Assert that the error says where it happened, prints no signature, and survives pickling."""
    assert (error.provider, error.operation, error.key) == (trial.store.provider, operation, key)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert (copy.code, copy.http_status, copy.key) == (error.code, error.http_status, error.key)


MISSING: Final[dict[str, tuple[str, Callable[[Store], object]]]] = {
    "stat": ("stat", lambda store: store.stat("nothing")),
    "read": ("read", lambda store: store.read("nothing")),
    "read-range": ("read", lambda store: store.read("nothing", 5, 10)),
    "open": ("open", lambda store: store.open("nothing")),
    "verify": ("verify_upload", lambda store: store.verify_upload("nothing", UploadSpec(size=1))),
}


@pytest.mark.parametrize("verb", MISSING)
def test_an_object_that_is_not_there_is_blob_not_found(trial: Trial, verb: str) -> None:
    operation, call = MISSING[verb]
    with pytest.raises(BlobNotFound) as found:
        call(trial.store)
    located(found.value, trial, operation, "nothing")
    assert isinstance(found.value, FileNotFoundError)
    assert not found.value.retryable


def test_an_object_that_is_there_already_is_already_exists(trial: Trial) -> None:
    if not trial.declares(Feature.IF_ABSENT):
        with pytest.raises(Unsupported):
            trial.store.write("k", b"", if_absent=True)
        return
    trial.store.write("k", b"1")
    with pytest.raises(AlreadyExists) as found:
        trial.store.write("k", b"2", if_absent=True)
    located(found.value, trial, "write", "k")


def test_an_object_that_is_another_is_precondition_failed(trial: Trial) -> None:
    trial.store.write("k", b"1")
    if not trial.declares(Feature.IF_MATCH):
        with pytest.raises(Unsupported):
            trial.store.write("k", b"2", if_match=Pin(etag="other"))
        return
    with pytest.raises(PreconditionFailed) as found:
        trial.store.write("k", b"2", if_match=Pin(etag="0" * 32))
    located(found.value, trial, "write", "k")


def test_a_bucket_that_is_not_there_is_bucket_not_found(trial: Trial) -> None:
    store = trial.other("missing_bucket")
    for call in (
        lambda: store.write("k", b"1"),
        lambda: list(store.list()),
        lambda: store.start_upload("k", size=1, allow_session_life=trial.bearer_chunks),
    ):
        with pytest.raises(BucketNotFound):
            call()


def test_credentials_without_rights_are_permission_denied(trial: Trial) -> None:
    store = trial.other("denied")
    for call in (lambda: store.write("k", b"1"), lambda: store.read("k"), lambda: list(store.list())):
        with pytest.raises(PermissionDenied):
            call()


def test_a_server_that_does_not_answer_is_connection_failed(trial: Trial) -> None:
    store = trial.other("unreachable")
    with pytest.raises(ConnectionFailed) as found:
        store.stat("k")
    assert isinstance(found.value, TransientError)
    assert found.value.retryable


SIGNERS: Final[dict[str, Callable[..., object]]] = {
    "sign_upload": lambda store, **life: store.sign_upload("k", **life),
    "sign_uploads": lambda store, **life: store.sign_uploads(["k"], **life),
    "sign_download": lambda store, **life: store.sign_download("k", **life),
    "sign_delete": lambda store, **life: store.sign_delete("k", **life),
}


@pytest.mark.parametrize("verb", SIGNERS)
def test_an_expiry_that_cannot_be_is_refused_by_every_signer(trial: Trial, verb: str) -> None:
    if verb == "sign_delete" and not trial.declares(Feature.SIGN_DELETE):
        with pytest.raises(Unsupported):
            trial.store.sign_delete("k", expires_in=LIFE)
        return
    now, sign = datetime.now(UTC), SIGNERS[verb]
    wrong: list[dict[str, object]] = [
        {"expires_in": timedelta(0)},
        {"expires_in": timedelta(milliseconds=999)},
        {"expires_in": -LIFE},
        {"expires_in": LIFE, "expires_at": now + LIFE},
        {"expires_at": now - LIFE},
        {"expires_at": datetime.now() + LIFE},  # noqa: DTZ005 - without a zone, as callers do
        {"expires_in": 900},
    ]
    longest = trial.store.capabilities.limits.max_expiry
    if longest is not None:
        wrong += [{"expires_in": longest + timedelta(seconds=1)}, {"expires_at": now + longest + LIFE}]
        sign(trial.store, expires_in=longest)
    for life in wrong:
        with pytest.raises(InvalidExpiry):
            sign(trial.store, **life)
    sign(trial.store, expires_in=timedelta(seconds=1))


def test_arguments_that_contradict_each_other_are_refused(trial: Trial) -> None:
    store, spec = trial.store, UploadSpec(content_type="image/png")
    calls: list[Callable[[], object]] = [
        lambda: store.sign_upload("k", spec=spec, content_type="text/plain"),
        lambda: store.start_upload("k", spec=spec, content_type="text/plain"),
        lambda: store.write("k", b"", spec=spec, content_type="text/plain"),
        lambda: store.sign_upload("k", size=-1),
        lambda: store.sign_upload("k", size=1, max_size=2),
        lambda: store.sign_upload("k", min_size=3, max_size=2),
        lambda: store.sign_upload("k", content_type="not a type"),
        lambda: store.sign_upload("k", content_type="text/plain\r\nx-evil: 1"),
        lambda: store.sign_upload("k", metadata={"Not-Portable": "1"}),
        lambda: store.sign_upload("k", metadata={"a": "1\n2"}),
        lambda: store.sign_upload("k", metadata={"a": "x" * 3000}),
        lambda: store.sign_upload("k", cache_control="a  b"),
        lambda: store.sign_upload("k", verify_after="size"),  # type: ignore[arg-type]
        lambda: store.sign_upload("k", verify_after={"nonsense"}),  # type: ignore[arg-type]
        lambda: store.sign_upload("k", checksum=Checksum("md5", b"short")),
        lambda: store.sign_download("k", method="PUT"),  # type: ignore[arg-type]
        lambda: store.start_upload("k", size=1, chunk_size=-5),
    ]
    for call in calls:
        with pytest.raises(InvalidArgument) as found:
            call()
        assert isinstance(found.value, ValueError)
    trial.nothing_at("k")


def test_a_chunk_size_beyond_the_providers_limits_is_refused(trial: Trial) -> None:
    if not trial.declares(Feature.CHUNKED):
        with pytest.raises(Unsupported):
            trial.store.start_upload("k", size=1)
        return
    limits, life = trial.store.capabilities.limits.chunks, trial.bearer_chunks
    large = min(limits.max_chunk * 2, limits.max_object)
    with pytest.raises((InvalidChunk, InvalidArgument)):
        trial.store.start_upload("k", size=large, chunk_size=limits.max_chunk + 1, allow_session_life=life)
    if limits.min_chunk > 1:
        with pytest.raises(InvalidChunk):
            trial.store.start_upload("k", size=large, chunk_size=limits.min_chunk - 1, allow_session_life=life)
    if limits.align > 1:
        with pytest.raises(InvalidChunk):
            trial.store.start_upload("k", size=large, chunk_size=limits.min_chunk + 1, allow_session_life=life)
    if limits.max_count is not None and (limits.max_count + 1) * limits.min_chunk <= limits.max_object:
        size = limits.max_count * limits.min_chunk + 1
        with pytest.raises(InvalidChunk):
            trial.store.start_upload("k", size=size, chunk_size=limits.min_chunk, allow_session_life=life)


def test_a_closed_store_says_so_from_every_verb(trial: Trial) -> None:
    trial.store.write("k", b"1")
    session = trial.start("s", size=1) if trial.store.capabilities.has(Feature.CHUNKED) else None
    store = trial.open()
    below = store.at("below/")
    mine = None if session is None else store.resume_upload(session.token)
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.sign_upload("k", expires_in=LIFE),
        lambda: store.sign_uploads(["k"], expires_in=LIFE),
        lambda: store.sign_download("k", expires_in=LIFE),
        lambda: store.stat("k"),
        lambda: store.exists("k"),
        lambda: store.read("k"),
        lambda: store.open("k"),
        lambda: store.write("k", b"2"),
        lambda: store.copy("k", "l"),
        lambda: store.delete("k"),
        lambda: store.delete_many(["k"]),
        lambda: list(store.list()),
        lambda: below.stat("k"),
    ]
    if mine is not None and session is not None:
        token = session.token
        calls += [
            mine.status,
            mine.complete,
            mine.abort,
            lambda: mine.sign_chunks([1]),
            lambda: store.resume_upload(token),
        ]
    for call in calls:
        with pytest.raises(ClosedError):
            call()
    trial.holds("k", b"1")


@pytest.mark.parametrize("feature", list(Feature), ids=str)
def test_require_tells_at_start_up_what_lacks(trial: Trial, feature: Feature) -> None:

    capabilities, provider = trial.store.capabilities, trial.store.provider
    if trial.declares(feature):
        check_required(capabilities, provider, {feature})
        return
    with pytest.raises(Unsupported) as refusal:
        check_required(capabilities, provider, {feature, Feature.SIGN_UPLOAD})
    assert feature in refusal.value.features


def test_a_token_that_is_none_is_refused(trial: Trial) -> None:
    with pytest.raises(InvalidToken) as found:
        trial.store.resume_upload("no token at all")
    assert found.value.reason == "tampered"


def test_a_prefix_that_is_none_is_a_config_error(trial: Trial) -> None:
    for prefix in ("no-slash", "/leading/", "a/../b/", "a\nb/"):
        with pytest.raises(ConfigError):
            trial.store.at(prefix)


def test_a_violation_names_what_was_expected_and_what_was_found(trial: Trial) -> None:
    trial.store.write("k", b"12345")
    with pytest.raises(ConstraintViolated) as found:
        trial.store.verify_upload("k", UploadSpec(size=4))
    assert (found.value.constraint, found.value.expected, found.value.actual) == ("size", "4", "5")
    located(found.value, trial, "verify_upload", "k")
