"""What Store decides before a signer is called: expiry, routes, enforcement, credentials, names."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobkit import errors, ops
from blobkit.backend import Capabilities, Feature, Verdict
from blobkit.plugins.spec import Observer
from blobkit.signed import SignedRequest
from blobkit.spec import Constraint, Enforcement, Route, UploadSpec

from .conftest import Open
from .fakes import EVERYTHING, NOON, FakeBackend

S3_LIKE = replace(
    EVERYTHING,
    enforces={
        **EVERYTHING.enforces,
        (Route.PUT, Constraint.SIZE_RANGE): False,
        **{(Route.POST, c): Enforcement.SIGNATURE for c in Constraint if c is not Constraint.IF_ABSENT},
    },
    features={**EVERYTHING.features, Feature.SIGN_FORM: True},
)
AZURE_LIKE = replace(
    EVERYTHING,
    enforces={
        (Route.PUT, c): False
        for c in (Constraint.SIZE, Constraint.SIZE_RANGE, Constraint.CONTENT_TYPE, Constraint.METADATA)
    },
)


def test_a_size_range_becomes_a_form_post_by_itself(fake: Open) -> None:
    store, _ = fake(S3_LIKE)
    assert store.sign_upload("k", content_type="image/png").method == "PUT"
    request = store.sign_upload("k", max_size=5, content_type="image/png")
    assert (request.method, request.enforcement[Constraint.SIZE_RANGE]) == ("POST", Enforcement.SIGNATURE)


def test_what_no_single_signature_binds_is_refused_with_alternatives(fake: Open) -> None:
    store, backend = fake(S3_LIKE)
    with pytest.raises(errors.UnenforceableConstraint) as caught:
        store.sign_upload("k", max_size=5, if_absent=True)
    assert caught.value.alternatives
    assert backend.fake_signer.signed == []
    with pytest.raises(errors.UnenforceableConstraint):
        # an overwrite cannot be seen afterwards, so agreeing to look for it afterwards does not help
        store.sign_upload("k", max_size=5, if_absent=True, verify_after={Constraint.IF_ABSENT})


def test_a_constraint_nobody_enforces_needs_verify_after(fake: Open) -> None:
    store, _ = fake(AZURE_LIKE)
    for verify_after in ((), {Constraint.METADATA}):
        with pytest.raises(errors.UnenforceableConstraint):
            store.sign_upload("k", size=5, verify_after=verify_after)
    for agreed in ({Constraint.SIZE}, "all"):
        request = store.sign_upload("k", size=5, verify_after=agreed)
        assert request.enforcement == {Constraint.SIZE: Enforcement.COMPLETION}
    for nonsense in ("size", {"sizes"}):
        with pytest.raises(errors.InvalidArgument):
            store.sign_upload("k", size=5, verify_after=nonsense)  # type: ignore[arg-type]


def test_an_unknown_capability_raises_until_it_is_asserted(fake: Open) -> None:
    unknown = replace(EVERYTHING, features={**EVERYTHING.features, Feature.SIGN_DELETE: None}, enforces={})
    store, _ = fake(unknown)
    with pytest.raises(errors.Unsupported, match="not known"):
        store.sign_delete("k")
    with pytest.raises(errors.UnenforceableConstraint, match="not known"):
        store.sign_upload("k", if_absent=True)
    store, _ = fake(unknown, "fake://bucket/?assert=sign_delete,put.if_absent")
    assert store.sign_delete("k").method == "DELETE"
    assert store.sign_upload("k", if_absent=True).enforcement[Constraint.IF_ABSENT] is Enforcement.SIGNATURE
    with pytest.raises(errors.ConfigError, match="known not to have"):
        fake(EVERYTHING, "fake://bucket/?assert=sign_form")
    with pytest.raises(errors.ConfigError, match="no such capability"):
        fake(EVERYTHING, "fake://bucket/?assert=sign_everything")


@given(
    constraints=st.sets(st.sampled_from(sorted(Constraint)), max_size=5),
    put=st.dictionaries(st.sampled_from(sorted(Constraint)), st.sampled_from([Enforcement.SIGNATURE, False, None])),
    post=st.dictionaries(st.sampled_from(sorted(Constraint)), st.sampled_from([Enforcement.SIGNATURE, False, None])),
    agreed=st.sets(st.sampled_from(sorted(Constraint))),
)
def test_every_constraint_ends_bound_verified_or_refused(
    constraints: set[Constraint],
    put: dict[Constraint, Verdict],
    post: dict[Constraint, Verdict],
    agreed: set[Constraint],
) -> None:
    spec = UploadSpec(
        content_type="a/b" if Constraint.CONTENT_TYPE in constraints else None,
        metadata={"a": "b"} if Constraint.METADATA in constraints else None,
        if_absent=Constraint.IF_ABSENT in constraints,
        size=1 if Constraint.SIZE in constraints else None,
        max_size=1 if Constraint.SIZE_RANGE in constraints and Constraint.SIZE not in constraints else None,
        cache_control="no-store" if Constraint.CACHE_CONTROL in constraints else None,
    )
    enforces: dict[tuple[Route, Constraint], Verdict] = {}
    enforces.update({(Route.PUT, c): v for c, v in put.items()})
    enforces.update({(Route.POST, c): v for c, v in post.items()})
    capabilities = Capabilities(enforces=enforces, features={Feature.SIGN_FORM: True})

    def seen_to(route: Route, constraint: Constraint) -> bool:
        return bool(enforces.get((route, constraint))) or constraint in agreed - {Constraint.IF_ABSENT}

    possible = any(all(seen_to(route, c) for c in spec.constraints) for route in (Route.PUT, Route.POST))
    if not possible:
        with pytest.raises(errors.UnenforceableConstraint) as caught:
            ops.decide_upload(spec, capabilities, "fake", frozenset(agreed))
        assert Constraint(caught.value.constraint) in spec.constraints
        return
    order = ops.decide_upload(spec, capabilities, "fake", frozenset(agreed))
    assert set(order.enforcement) == spec.constraints
    for constraint, who in order.enforcement.items():
        if who is Enforcement.COMPLETION:
            assert constraint in agreed - {Constraint.IF_ABSENT}
        else:
            assert enforces[(order.route, constraint)] is who


def test_expiries_that_cannot_be_are_refused(fake: Open) -> None:
    store, backend = fake()
    bad = [
        {"expires_in": timedelta(0)},
        {"expires_in": timedelta(days=7, seconds=1)},
        {"expires_in": 900},
        {"expires_at": NOON - timedelta(seconds=1)},
        {"expires_at": NOON.replace(tzinfo=None) + timedelta(hours=1)},
        {"expires_in": timedelta(hours=1), "expires_at": NOON + timedelta(hours=1)},
    ]
    for expiry in bad:
        for sign in (store.sign_upload, store.sign_download, store.sign_delete):
            with pytest.raises(errors.InvalidExpiry):
                sign("k", **expiry)  # type: ignore[arg-type]
    assert backend.fake_signer.signed == []
    assert store.sign_upload("k", expires_in=timedelta(days=7)).expires_at == NOON + timedelta(days=7)
    assert store.sign_upload("k").expires_at == NOON + timedelta(minutes=15)


def test_short_credentials_raise_or_cap_and_the_expiry_is_the_true_one(fake: Open) -> None:
    end = NOON + timedelta(minutes=10)
    backend = FakeBackend(valid_until=int(end.timestamp()))
    store, _ = fake(backend=backend)
    with pytest.raises(errors.InvalidExpiry, match="credentials end"):
        store.sign_download("k", expires_in=timedelta(minutes=11))
    assert store.sign_download("k", expires_in=timedelta(minutes=9)).expires_at == NOON + timedelta(minutes=9)
    store, _ = fake(url="fake://bucket/?on_short_credentials=cap", backend=backend)
    assert store.sign_download("k", expires_in=timedelta(minutes=11)).expires_at == end
    store, _ = fake(
        url="fake://bucket/?on_short_credentials=cap", backend=backend, clock=lambda: end + timedelta(seconds=1)
    )
    with pytest.raises(errors.SigningUnavailable):
        store.sign_download("k")


@given(at=st.integers(0, 10**6), ask=st.integers(1, 10**5), window=st.integers(1, 10**5))
def test_a_stable_url_is_the_same_in_its_window_and_lives_at_least_as_long_as_asked(
    at: int, ask: int, window: int
) -> None:
    step = timedelta(seconds=window)
    start, end = ops.stable_lifetime(at, at + ask, step, None)
    assert start <= at < start + window
    assert ask <= end - at <= ask + window
    assert ops.stable_lifetime(start, start + ask, step, None) == (start, end)
    assert ops.stable_lifetime(start + window - 1, start + window - 1 + ask, step, None) == (start, end)


def test_a_stable_url_stays_the_same_while_the_clock_runs(fake: Open) -> None:
    now = NOON
    store, _ = fake(clock=lambda: now)
    first = store.sign_download("k", stable_for=timedelta(hours=1)).url
    now = NOON + timedelta(minutes=59)
    assert store.sign_download("k", stable_for=timedelta(hours=1)).url == first
    now = NOON + timedelta(minutes=60)
    assert store.sign_download("k", stable_for=timedelta(hours=1)).url != first


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("a.pdf", 'attachment; filename="a.pdf"'),
        ("my file.pdf", 'attachment; filename="my file.pdf"'),
        ("é.pdf", "attachment; filename=\"_.pdf\"; filename*=UTF-8''%C3%A9.pdf"),
        ('a"b;c.pdf', "attachment; filename=\"a_b_c.pdf\"; filename*=UTF-8''a%22b%3Bc.pdf"),
        ("100%.pdf", "attachment; filename=\"100_.pdf\"; filename*=UTF-8''100%25.pdf"),
    ],
)
def test_a_download_name_is_written_for_old_and_new_browsers(filename: str, expected: str) -> None:
    assert ops.content_disposition("attachment", filename) == expected


@pytest.mark.parametrize("filename", ["a\r\nSet-Cookie: x", "../a", "a\\b", "", "x" * 256, "\udc80"])
def test_a_download_name_that_could_inject_is_refused(filename: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        ops.content_disposition("attachment", filename)


@given(st.text(max_size=60))
def test_a_content_disposition_is_one_printable_ascii_line(filename: str) -> None:
    try:
        value = ops.content_disposition("inline", filename)
    except errors.InvalidArgument:
        return
    assert value.isascii()
    assert value.isprintable()


def test_a_batch_is_in_order_and_may_mix_specs(fake: Open) -> None:
    store, _ = fake()
    png, exact = UploadSpec(content_type="image/png"), UploadSpec(size=3)
    batch = store.sign_uploads([("a", png), ("b", exact), "c"], spec=png)
    assert [request.spec for request in batch] == [png, exact, png]
    with pytest.raises(errors.InvalidKey):
        store.sign_uploads(["ok", "../not"])


def test_an_order_comes_again_with_its_spec(fake: Open) -> None:
    store, backend = fake()
    spec = UploadSpec(size=3)
    for _ in range(2):
        store.sign_upload("k", spec=spec)
        store.sign_upload("k", size=4)
        store.sign_upload("k", size=5, verify_after="all")
    orders = backend.fake_signer.orders
    assert orders[0] is orders[3]
    assert [order.spec.size for order in orders] == [3, 4, 5] * 2
    assert orders[1].enforcement == orders[0].enforcement == {Constraint.SIZE: Enforcement.SIGNATURE}


def test_spec_and_keywords_together_are_refused(fake: Open) -> None:
    store, _ = fake()
    with pytest.raises(errors.InvalidArgument):
        store.sign_upload("k", spec=UploadSpec(size=1), content_type="a/b")


def test_a_closed_store_refuses_every_verb_and_closes_its_backend_once(fake: Open) -> None:
    store, backend = fake()
    child = store.at("t/")
    session = store.start_upload("k", size=4)
    with store:
        pass
    store.close()
    assert backend.closed == 1
    for verb in (
        lambda: store.sign_upload("k"),
        lambda: child.sign_download("k"),
        lambda: store.stat("k"),
        lambda: list(store.list()),
        session.sign_chunks,
        session.complete,
        lambda: store.resume_upload("x"),
    ):
        with pytest.raises(errors.ClosedError):
            verb()


def test_tenants_share_a_backend_and_see_only_their_prefix(fake: Open) -> None:
    store, backend = fake()
    tenant = store.at("tenants/").at("42/")
    tenant.write("a", b"1")
    assert list(backend.objects) == ["pre/tenants/42/a"]
    assert [info.key for info in tenant.list()] == ["a"]
    assert [info.key for info in store.list()] == ["tenants/42/a"]
    for bad in ("x", "/x/", "../"):
        with pytest.raises(errors.ConfigError):
            store.at(bad)


def test_provider_errors_are_wrapped_once_with_where_and_what(fake: Open) -> None:
    store, backend = fake()
    backend.fail.append("head")
    with pytest.raises(errors.ConnectionFailed) as caught:
        store.stat("dir/k")
    error = caught.value
    assert (error.provider, error.operation, error.key) == ("fake", "stat", "dir/k")
    assert (error.code, error.http_status, error.request_id, error.retryable) == ("Fault", 500, "r-1", True)
    assert type(error.__cause__).__name__ == "ProviderFault"


def test_require_fails_at_start_up_naming_everything_that_lacks(fake: Open) -> None:
    backend = FakeBackend(replace(EVERYTHING, features={Feature.SIGN_UPLOAD: True}))
    with pytest.raises(errors.Unsupported) as caught:
        fake(backend=backend, require={"sign_upload", "chunked", "if_absent"})
    assert caught.value.features == ("chunked", "if_absent")
    assert backend.closed == 1
    with pytest.raises(errors.InvalidArgument):
        fake(require={"telepathy"})


class Listener(Observer):
    def __init__(self) -> None:
        self.heard: list[tuple[str, ...]] = []

    def blobkit_signed(self, provider: str, operation: str, key: str, request: SignedRequest) -> None:
        self.heard.append((operation, key))

    def blobkit_completed(self, blob) -> None:  # type: ignore[no-untyped-def, override]
        self.heard.append(("completed", blob.key))

    def blobkit_aborted(self, provider: str, key: str, discarded: bool) -> None:
        self.heard.append(("aborted", key))

    def blobkit_promoted(self, provider: str, source: str, blob: object) -> None:
        raise RuntimeError("a listener that fails changes nothing")


def test_every_hook_is_heard_and_a_failing_listener_changes_nothing(fake: Open) -> None:
    listener = Listener()
    store, backend = fake(observers=[listener])
    store.sign_upload("a")
    store.sign_download("b")
    store.sign_delete("c")
    session = store.start_upload("d", size=2)
    backend.put_chunk(session.upload_id, 1, b"xy")
    blob = session.complete()
    store.start_upload("e", size=2).abort()
    assert store.promote(blob, "f").key == "f"
    assert listener.heard == [
        ("sign_upload", "a"), ("sign_download", "b"), ("sign_delete", "c"), ("completed", "d"), ("aborted", "e"),
    ]  # fmt: skip


def test_a_listener_with_an_unknown_hook_is_refused(fake: Open) -> None:
    class Misspelt(Observer):
        def blobkit_complete(self) -> None: ...

    with pytest.raises(errors.ConfigError, match="blobkit_complete"):
        fake(observers=[Misspelt()])


def test_verify_upload_finds_every_violation_and_deletes_only_that_content(fake: Open) -> None:
    store, backend = fake()
    info = store.write("k", b"abc", content_type="image/png", metadata={"a": "1"})
    assert store.verify_upload("k", UploadSpec(size=3, content_type="image/png", metadata={"a": "1"})) == info
    for wrong in (
        UploadSpec(size=4),
        UploadSpec(max_size=2),
        UploadSpec(content_type="image/gif"),
        UploadSpec(metadata={"a": "2"}),
        UploadSpec(checksum=__import__("blobkit").Checksum.of("sha256", b"other")),
    ):
        with pytest.raises(errors.ConstraintViolated):
            store.verify_upload("k", wrong)
    store.write("k", b"replaced")
    with pytest.raises(errors.PreconditionFailed):
        store.verify_upload("k", UploadSpec(size=3), pin=info.pin)
    with pytest.raises(errors.ConstraintViolated):
        store.verify_upload("k", UploadSpec(size=3), delete_on_violation=True)
    assert backend.objects == {}


def test_a_write_whose_reply_was_lost_recognises_itself(fake: Open) -> None:
    store, backend = fake()
    backend.lose.append("put")
    assert store.write("k", b"abc", if_absent=True).size == 3
    with pytest.raises(errors.AlreadyExists):
        store.write("k", b"xyz", if_absent=True)


def test_the_clock_is_the_one_that_was_given(fake: Open) -> None:
    then = datetime(2030, 5, 5, tzinfo=UTC)
    store, _ = fake(clock=lambda: then)
    assert store.sign_upload("k", expires_in=timedelta(seconds=30)).expires_at == then + timedelta(seconds=30)
