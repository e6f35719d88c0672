"""Each constraint, kept and broken, on one request: enforced where it is declared, refused to be signed where it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blobkit.backend import Feature
from blobkit.blobs import BlobInfo, Checksum
from blobkit.errors import BlobNotFound, ConstraintViolated, UnenforceableConstraint, Unsupported
from blobkit.signed import SignedRequest
from blobkit.spec import Constraint, Enforcement, Route, UploadSpec
from blobkit.testing.clients import Answer, form_body
from blobkit.testing.matrix import BODY, CASES, CONSTRAINTS, Case, spec_of
from blobkit.testing.trial import Trial

OLD = b"what was there before"


def adapted(trial: Trial, case: Case) -> Case:
    """The case with a storage class that this provider has."""
    if case.constraint is not Constraint.STORAGE_CLASS:
        return case
    own = trial.harness.storage_class
    return replace(
        case,
        spec=UploadSpec(storage_class=own),
        swap=case.swap and (own, case.swap[1]),
        drop=case.drop and own,
    )


def send(trial: Trial, request: SignedRequest, case: Case) -> Answer:
    """Send the case's body with its changes, through headers or form fields."""
    headers = changed(dict(request.headers), case)
    if request.fields is None:
        return trial.client.send(request.method, request.url.reveal(), headers, case.body)
    kind, body = form_body(changed(dict(request.fields), case), case.body)
    return trial.client.send(request.method, request.url.reveal(), {**headers, "Content-Type": kind}, body)


def changed(values: dict[str, str], case: Case) -> dict[str, str]:
    """The headers or fields with the case's change."""
    if case.drop is not None:
        return {name: value for name, value in values.items() if value != case.drop}
    if case.swap is not None:
        asked, sent = case.swap
        return {name: sent if value == asked else value for name, value in values.items()}
    return values


def stored(info: BlobInfo, spec: UploadSpec) -> None:
    """Assert that the object says what the spec asked for."""
    assert spec.allows_size(info.size)
    if spec.content_type is not None:
        assert info.content_type == spec.content_type
    if spec.metadata:
        assert dict(info.metadata) == dict(spec.metadata)
    for name in ("cache_control", "content_disposition", "content_encoding"):
        if getattr(spec, name) is not None:
            assert getattr(info, name) == getattr(spec, name)
    if spec.storage_class is not None:
        assert info.storage_class in (None, spec.storage_class)


def unenforceable(trial: Trial, case: Case, refusal: UnenforceableConstraint) -> None:
    """What must hold where nobody would enforce it: it says so, and what else; and, agreed upon, is found afterwards."""
    assert refusal.constraint == case.constraint
    assert refusal.provider == trial.store.provider
    assert refusal.alternatives or refusal.hint, "an error without a way out"
    if case.constraint is Constraint.IF_ABSENT:
        with pytest.raises(UnenforceableConstraint):  # an overwrite leaves no trace: it cannot be verified afterwards
            trial.store.sign_upload("target", spec=case.spec, verify_after="all")
        return
    request = trial.store.sign_upload("target", spec=case.spec, verify_after={case.constraint})
    assert request.enforcement[case.constraint] is Enforcement.COMPLETION
    answer = send(trial, request, case)
    if answer.status not in request.expected_status:
        return  # it enforces more than it declares
    if case.allowed:
        trial.store.verify_upload("target", case.spec)
    else:
        with pytest.raises(ConstraintViolated) as found:
            trial.store.verify_upload("target", case.spec)
        assert found.value.constraint in (case.constraint, "size")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_constraint_is_enforced_or_refused_to_be_signed(trial: Trial, case: Case) -> None:
    case = adapted(trial, case)
    request = trial.try_sign("target", case.spec)
    if isinstance(request, UnenforceableConstraint):
        if trial.declares((Route.PUT, case.constraint)):
            assert case.constraint is Constraint.CHECKSUM, f"{case.constraint} is declared, and refused: {request}"
            trial.undeclared(case.name.partition("-")[0])  # of several algorithms, a provider has some
            assert request.alternatives or request.hint
            return
        unenforceable(trial, case, request)
        return
    route = Route.PUT if request.method == "PUT" else Route.POST
    if route is not Route.PUT:
        trial.undeclared(f"put.{case.constraint}")
    assert request.enforcement[case.constraint] in (Enforcement.SIGNATURE, Enforcement.PROVIDER)
    if case.occupied:
        trial.store.write("target", OLD)
    if not case.allowed:
        trial.needs(f"{route}.{case.constraint}")
    answer = send(trial, request, case)
    if case.allowed:
        assert answer.status in request.expected_status, f"{answer.status} {answer.text}"
        stored(trial.holds("target", case.body), case.spec)
        return
    assert answer.refused, f"{case.name}: answered {answer.status}"
    if case.occupied:
        trial.holds("target", OLD)
    else:
        trial.nothing_at("target")


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if not case.allowed and not case.occupied and case.constraint is not Constraint.IF_ABSENT],
    ids=lambda case: case.name,
)
def test_a_refused_upload_leaves_what_was_there(trial: Trial, case: Case) -> None:
    case = adapted(trial, case)
    before = trial.store.write("target", OLD, content_type="text/x-old")
    request = trial.try_sign("target", case.spec)
    if isinstance(request, UnenforceableConstraint):
        trial.undeclared(f"put.{case.constraint}")
        assert request.constraint == case.constraint
        return
    trial.needs(f"{'put' if request.method == 'PUT' else 'post'}.{case.constraint}")
    assert send(trial, request, case).refused
    after = trial.holds("target", OLD)
    assert after.etag == before.etag
    assert after.content_type == "text/x-old"


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
def test_a_constraint_holds_beside_a_size_range(trial: Trial, constraint: Constraint) -> None:
    """Together they may need a form; who refuses to bind both says so, and signs nothing."""
    if constraint in (Constraint.SIZE, Constraint.SIZE_RANGE):
        spec = UploadSpec(content_type="image/png", max_size=len(BODY))
        case = Case("range-over-with-type", Constraint.SIZE_RANGE, spec, BODY + b"+", allowed=False)
    else:
        alone = next(case for case in CASES if case.constraint is constraint and not case.allowed)
        alone = adapted(trial, alone)
        both = UploadSpec.from_dict({**alone.spec.to_dict(), "max_size": len(BODY)})
        case = replace(alone, spec=both)
    request = trial.try_sign("target", case.spec)
    if isinstance(request, UnenforceableConstraint):
        trial.undeclared(f"{constraint} together with a size range")
        assert request.constraint in case.spec.constraints
        return
    if case.occupied:
        trial.store.write("target", OLD)
    trial.needs(f"{'put' if request.method == 'PUT' else 'post'}.{case.constraint}")
    assert send(trial, request, case).refused
    if case.occupied:
        trial.holds("target", OLD)
        trial.store.delete("target")
    trial.nothing_at("target")
    good = replace(case, body=BODY, swap=None, drop=None)
    answer = send(trial, request, good)
    assert answer.status in request.expected_status, answer.text
    stored(trial.holds("target", BODY), case.spec)


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
def test_what_is_declared_is_signed_and_what_is_not_is_refused(trial: Trial, constraint: Constraint) -> None:
    """The capabilities say the truth about every cell, before any I/O."""
    capabilities, spec = trial.store.capabilities, spec_of(constraint)
    if constraint is Constraint.CHECKSUM and isinstance(trial.try_sign("k", spec), UnenforceableConstraint):
        spec = spec_of(constraint, checksum="md5")
    routes = [Route.PUT] + ([Route.POST] if capabilities.has("sign_form") else [])
    declared = [route for route in routes if capabilities.enforcer(route, constraint)]
    result = trial.try_sign("k", spec)
    if declared:
        assert isinstance(result, SignedRequest)
        assert result.enforcement[constraint] == capabilities.enforcer(declared[0], constraint)
        assert result.spec == spec
    else:
        trial.undeclared(f"put.{constraint}")
        assert isinstance(result, UnenforceableConstraint)


def test_an_upload_without_constraints_stores_what_is_sent(trial: Trial) -> None:
    request = trial.sign_upload("target")
    assert dict(request.enforcement) == {}
    trial.upload(request, BODY)
    trial.holds("target", BODY)


def test_an_upload_replaces_what_was_there_whole(trial: Trial) -> None:
    trial.store.write("target", b"x" * 5000, content_type="text/plain", metadata={"old": "1"})
    trial.upload(trial.sign_upload("target"), BODY)
    assert dict(trial.holds("target", BODY).metadata) == {}


def test_verify_upload_finds_what_the_signature_did_not_bind(trial: Trial) -> None:
    info = trial.store.write("target", BODY, content_type="text/html", metadata={"a": "1"})
    store = trial.store
    assert (
        store.verify_upload("target", UploadSpec(size=len(BODY), content_type="text/html"), pin=info.pin).key
        == "target"
    )
    digest = Checksum.of("sha256", BODY)
    store.verify_upload("target", UploadSpec(checksum=digest, metadata={"a": "1"}, max_size=len(BODY)))
    for spec, name in (
        (UploadSpec(size=3), "size"),
        (UploadSpec(max_size=3), "size"),
        (UploadSpec(content_type="image/png"), "content_type"),
        (UploadSpec(metadata={"a": "2"}), "metadata"),
        (UploadSpec(metadata={}, checksum=Checksum.of("sha256", b"other")), "checksum"),
    ):
        with pytest.raises(ConstraintViolated) as found:
            store.verify_upload("target", spec)
        assert found.value.constraint == name
        assert found.value.key == "target"
    trial.holds("target", BODY)
    with pytest.raises(BlobNotFound):
        store.verify_upload("nothing", UploadSpec(size=1))


def test_verify_upload_deletes_exactly_what_it_condemned(trial: Trial) -> None:

    trial.store.write("target", BODY)
    if not trial.declares(Feature.DELETE_PINNED):
        with pytest.raises(Unsupported):
            trial.store.verify_upload("target", UploadSpec(size=3), delete_on_violation=True)
        trial.holds("target", BODY)
        return
    with pytest.raises(ConstraintViolated):
        trial.store.verify_upload("target", UploadSpec(size=3), delete_on_violation=True)
    trial.nothing_at("target")
    if trial.declares(Feature.VERSIONS):
        trial.store.write("target", OLD)
        trial.store.write("target", BODY)
        with pytest.raises(ConstraintViolated):
            trial.store.verify_upload("target", UploadSpec(size=3), delete_on_violation=True)
        if not trial.harness.checks("uncovers"):
            trial.nothing_at("target")
        trial.needs("uncovers")
        trial.holds("target", OLD)  # no marker: what was there before is there again
