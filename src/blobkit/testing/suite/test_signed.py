"""Verb x URL x header x tampering x expiry: a signed request is accepted exactly as it was signed, and in no other form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

import pytest

from blobkit.backend import Feature
from blobkit.errors import Unsupported
from blobkit.signed import SignedRequest
from blobkit.spec import Constraint, Enforcement, UploadSpec
from blobkit.store import Store
from blobkit.testing.clients import Answer, form_body
from blobkit.testing.clock import FakeClock
from blobkit.testing.executor import content_range
from blobkit.testing.matrix import BODY
from blobkit.testing.trial import Trial, one_bit_off, signature_field, signature_of, with_signature

VERBS: Final = ("upload", "form", "download", "head", "delete", "chunk")
FEATURES: Final[Mapping[str, Feature]] = {
    "upload": Feature.SIGN_UPLOAD,
    "form": Feature.SIGN_FORM,
    "download": Feature.SIGN_DOWNLOAD,
    "head": Feature.SIGN_HEAD,
    "delete": Feature.SIGN_DELETE,
    "chunk": Feature.CHUNKED,
}
DATA: Final = b"what the tests move"


@dataclass(frozen=True, slots=True)
class Shot:
    """One request as it would leave, and how to see that it had its effect."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str]
    body: bytes | None
    good: tuple[int, ...]
    happened: Callable[[Answer], bool] = field(repr=False)
    fields: Mapping[str, str] | None = field(default=None, repr=False)

    def fire(self, trial: Trial) -> Answer:
        """Make the request."""
        headers, body = dict(self.headers), self.body
        if self.fields is not None:
            headers["Content-Type"], body = form_body(self.fields, body or b"")
        return trial.client.send(self.method, self.url, headers, body)


def aim(trial: Trial, verb: str, signer: Store, life: timedelta, key: str = "target") -> Shot | None:
    """A request of this verb, signed by ``signer`` for ``life``; None when the store does not declare the verb, after
    asserting that it then refuses to sign."""
    if not trial.declares(FEATURES[verb]):
        refuse(trial, verb, signer, life)
        return None
    if verb == "chunk":
        return _chunk(trial, signer, life, key)
    if verb in ("upload", "form"):
        spec = UploadSpec(min_size=1, max_size=100) if verb == "form" else None
        request = signer.sign_upload(key, spec=spec, expires_in=life)
        if verb == "form" and request.method != "POST":
            trial.undeclared("a form where a PUT will not do")
            return None
        return _shot(request, DATA, lambda answer: trial.store.exists(key))
    trial.store.write(key, DATA)
    if verb == "delete":
        return _shot(signer.sign_delete(key, expires_in=life), None, lambda answer: not trial.store.exists(key))
    method = "HEAD" if verb == "head" else "GET"
    request = signer.sign_download(key, method="HEAD" if verb == "head" else "GET", expires_in=life)
    if method == "HEAD":
        return _shot(request, None, lambda answer: answer.headers.get("content-length") == str(len(DATA)))
    return _shot(request, None, lambda answer: answer.body == DATA)


def refuse(trial: Trial, verb: str, signer: Store, life: timedelta) -> None:
    """Assert that a verb that is not declared is not signed."""
    if verb == "form":  # nobody asks for a form: the store chooses it, where it has one
        assert trial.try_sign("target", UploadSpec(max_size=100)) is not None
        return
    signing: Mapping[str, Callable[[], object]] = {
        "upload": lambda: signer.sign_upload("target", expires_in=life),
        "download": lambda: signer.sign_download("target", expires_in=life),
        "head": lambda: signer.sign_download("target", method="HEAD", expires_in=life),
        "delete": lambda: signer.sign_delete("target", expires_in=life),
        "chunk": lambda: signer.start_upload("target", size=1),
    }
    with pytest.raises(Unsupported) as refusal:
        signing[verb]()
    assert FEATURES[verb] in refusal.value.features


def _shot(request: SignedRequest, body: bytes | None, happened: Callable[[Answer], bool]) -> Shot:
    return Shot(
        request.method,
        request.url.reveal(),
        dict(request.headers),
        body,
        request.expected_status,
        happened,
        request.fields,
    )


def _chunk(trial: Trial, signer: Store, life: timedelta, key: str) -> Shot:
    data = trial.body(2.5, seed=7)
    session = trial.start(key, size=len(data))
    owner = signer.resume_upload(session.token)
    signed = owner.sign_chunks([1], expires_in=life)[0]
    headers = dict(signed.headers)
    if signed.template.content_range:
        headers["Content-Range"] = content_range(0, signed.size, len(data))
    good = signed.expected_status + ((signed.template.incomplete_status,) if signed.template.incomplete_status else ())
    return Shot(
        signed.method,
        signed.url.reveal(),
        headers,
        data[: signed.size],
        good,
        lambda answer: 1 in session.status().received,
    )


def life_of(trial: Trial, wanted: timedelta) -> timedelta:
    """As much of this life as the store can sign for."""
    longest = trial.store.capabilities.limits.max_expiry
    return wanted if longest is None else min(wanted, longest)


def assert_refused(shot: Shot, answer: Answer) -> None:
    """Assert that a request was refused and changed nothing."""
    assert answer.refused, f"{shot.method} was answered {answer.status}, not refused"
    assert answer.status not in shot.good
    assert not shot.happened(answer), "the request was refused, and took effect all the same"


@pytest.mark.parametrize("verb", VERBS)
def test_a_signed_request_does_what_it_says(trial: Trial, verb: str) -> None:
    if (shot := aim(trial, verb, trial.store, timedelta(minutes=5))) is None:
        return
    answer = shot.fire(trial)
    assert answer.status in shot.good, answer.text
    assert shot.happened(answer)


@pytest.mark.parametrize("life", [timedelta(seconds=60), timedelta(hours=1)], ids=["one-minute", "one-hour"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_request_that_expired_a_minute_ago_is_refused(trial: Trial, verb: str, life: timedelta) -> None:
    life = life_of(trial, life)
    shot = aim(trial, verb, trial.past(life + timedelta(seconds=60)), life)
    if shot is None:
        return
    if verb == "chunk" and trial.bearer_chunks:
        trial.undeclared("chunk URLs that expire when asked")
        return
    trial.needs("expiry")
    assert_refused(shot, shot.fire(trial))


@pytest.mark.parametrize("verb", VERBS)
def test_a_request_signed_a_while_ago_is_accepted_until_it_expires(trial: Trial, verb: str) -> None:
    life = life_of(trial, timedelta(hours=2))
    if (shot := aim(trial, verb, trial.past(life / 2), life)) is None:
        return
    answer = shot.fire(trial)
    assert answer.status in shot.good, answer.text
    assert shot.happened(answer)


@pytest.mark.parametrize("verb", VERBS)
def test_one_bit_of_the_signature_changed_is_refused(trial: Trial, verb: str) -> None:
    if (shot := aim(trial, verb, trial.store, timedelta(minutes=5))) is None:
        return
    if shot.fields is not None:
        name = signature_field(shot.fields)
        forged = replace(shot, fields={**shot.fields, name: one_bit_off(shot.fields[name])})
    elif (signature := signature_of(shot.url)) is not None:
        forged = replace(shot, url=with_signature(shot.url, one_bit_off(signature)))
    else:  # a bearer URL: its secret is the last thing in it
        forged = replace(shot, url=shot.url[:-1] + ("0" if shot.url[-1] != "0" else "1"))
    trial.needs("signature")
    assert_refused(shot, forged.fire(trial))
    if shot.fields is None and signature_of(shot.url) is not None:
        assert_refused(shot, replace(shot, url=with_signature(shot.url, "")).fire(trial))


@pytest.mark.parametrize("verb", VERBS)
def test_a_signature_made_with_other_keys_is_refused(trial: Trial, verb: str) -> None:
    """All but the signature is as it should be: only the secret behind it is another's."""
    life, clock = timedelta(minutes=5), FakeClock()
    if (shot := aim(trial, verb, trial.open(clock=clock), life)) is None:
        return
    if shot.fields is None and signature_of(shot.url) is None:
        trial.undeclared("chunk URLs that are signed")
        return
    foreign = trial.other("foreign_keys", clock=clock)
    if verb == "chunk":
        theirs = trial.start("target", size=len(trial.body()), store=foreign)
        signed = theirs.sign_chunks([1], expires_in=life)[0].url.reveal()
        theirs.abort()
    elif verb in ("upload", "form"):
        spec = UploadSpec(min_size=1, max_size=100) if verb == "form" else None
        request = foreign.sign_upload("target", spec=spec, expires_in=life)
        if shot.fields is not None:
            trial.needs("signature")
            assert_refused(shot, replace(shot, fields=request.fields).fire(trial))
            return
        signed = request.url.reveal()
    elif verb == "delete":
        signed = foreign.sign_delete("target", expires_in=life).url.reveal()
    else:
        signed = foreign.sign_download(
            "target", method="HEAD" if verb == "head" else "GET", expires_in=life
        ).url.reveal()
    forged = signature_of(signed)
    assert forged is not None
    assert forged != signature_of(shot.url), "the foreign store has the same keys"
    trial.needs("signature")
    assert_refused(shot, replace(shot, url=with_signature(shot.url, forged)).fire(trial))


@pytest.mark.parametrize("verb", VERBS)
def test_a_signature_made_for_another_key_is_refused(trial: Trial, verb: str) -> None:
    life, signer = timedelta(minutes=5), trial.open(clock=FakeClock())  # the same second: only the key differs
    if (shot := aim(trial, verb, signer, life)) is None:
        return
    if (other := aim(trial, verb, signer, life, key="other")) is None:
        return
    if shot.fields is not None and other.fields is not None:
        mixed = {name: other.fields[name] if name.lower() == "key" else value for name, value in shot.fields.items()}
        assert mixed != shot.fields
        trial.needs("key")
        assert_refused(other, replace(shot, fields=mixed).fire(trial))
        return
    if (signature := signature_of(other.url)) is None or signature_of(shot.url) is None:
        trial.undeclared("chunk URLs that are signed")
        return
    assert signature != signature_of(shot.url), "two keys have one signature"
    trial.needs("key")
    assert_refused(shot, replace(shot, url=with_signature(shot.url, signature)).fire(trial))


METHODS: Final = {
    "upload": ("GET", "DELETE", "POST"),
    "download": ("PUT", "DELETE"),
    "head": ("PUT", "DELETE"),
    "delete": ("GET", "PUT"),
    "chunk": ("GET", "DELETE"),
}


@pytest.mark.parametrize(("verb", "method"), [(verb, method) for verb, ways in METHODS.items() for method in ways])
def test_a_url_signed_for_one_method_is_refused_for_another(trial: Trial, verb: str, method: str) -> None:
    if (shot := aim(trial, verb, trial.store, timedelta(minutes=5))) is None:
        return
    if verb == "chunk" and trial.bearer_chunks:
        trial.undeclared("chunk URLs for one method")
        return
    trial.needs("method")
    there = trial.store.exists("target")
    body = b"forged" if method in ("PUT", "POST") else None
    answer = replace(shot, method=method, body=body, fields=None).fire(trial)
    assert answer.refused, f"{method} on a URL for {shot.method} was answered {answer.status}"
    assert trial.store.exists("target") == there
    if there:
        assert trial.store.read("target") == DATA


@pytest.mark.parametrize(("verb", "method"), [("download", "HEAD"), ("head", "GET")])
def test_a_url_signed_for_get_is_refused_for_head_and_the_other_way_round(trial: Trial, verb: str, method: str) -> None:
    if (shot := aim(trial, verb, trial.store, timedelta(minutes=5))) is None:
        return
    trial.needs("method", "head")
    answer = replace(shot, method=method).fire(trial)
    assert answer.refused, f"{method} on a URL for {shot.method} was answered {answer.status}"
    assert DATA not in answer.body


def test_a_chunk_url_is_refused_for_another_chunk(trial: Trial) -> None:
    if not trial.declares(Feature.CHUNKED):
        refuse(trial, "chunk", trial.store, timedelta(minutes=5))
        return
    if trial.store.capabilities.chunk_grant == "object" or trial.bearer_chunks:
        trial.undeclared("chunk URLs that write one chunk only")
        return
    data = trial.body(2.5)
    session = trial.start("target", size=len(data))
    signer = trial.open(clock=FakeClock()).resume_upload(session.token)
    first, second = signer.sign_chunks([1, 2])
    signature = signature_of(second.url.reveal())
    assert signature is not None
    assert signature != signature_of(first.url.reveal())
    trial.needs("key")
    if trial.sequential:
        trial.send_chunks(session, data, [1])
    forged = with_signature(first.url.reveal(), signature)
    answer = trial.client.send("PUT", forged, first.headers, data[: first.size])
    assert answer.refused
    assert session.status().received == ((1,) if trial.sequential else ())


RICH: Final[Mapping[Constraint, Mapping[str, object]]] = {
    Constraint.CONTENT_TYPE: {"content_type": "image/png"},
    Constraint.METADATA: {"metadata": {"kitname": "kit-value-1"}},
    Constraint.CACHE_CONTROL: {"cache_control": "private, max-age=61"},
    Constraint.CONTENT_DISPOSITION: {"content_disposition": 'attachment; filename="kit-a.bin"'},
    Constraint.IF_ABSENT: {"if_absent": True},
    Constraint.SIZE: {"size": len(BODY)},
}


def rich_spec(trial: Trial, *, form: bool) -> UploadSpec:
    """Everything at once that the signature can bind here, on a PUT or on a form."""
    wanted: dict[str, object] = {}
    for constraint, values in RICH.items():
        probe = {**wanted, **values}
        if form and constraint is not Constraint.SIZE:
            probe |= {"min_size": len(BODY), "max_size": len(BODY)}
        elif form:
            continue
        request = trial.try_sign("probe", UploadSpec.from_dict(probe))
        if isinstance(request, SignedRequest) and (request.method == "POST") == form:
            bound = request.enforcement.get(constraint)
            if bound is Enforcement.SIGNATURE:
                wanted = probe
    return UploadSpec.from_dict(wanted)


@pytest.mark.parametrize("route", ["put", "form"])
def test_every_listed_header_and_field_is_needed(trial: Trial, route: str) -> None:
    """The list is minimal, and binding: a request that lacks one of it, or says otherwise, is refused."""
    if not trial.declares(Feature.SIGN_FORM if route == "form" else Feature.SIGN_UPLOAD):
        refuse(trial, "form" if route == "form" else "upload", trial.store, timedelta(minutes=5))
        return
    spec = rich_spec(trial, form=route == "form")
    request = trial.sign_upload("target", spec)
    if (request.method == "POST") != (route == "form"):
        trial.undeclared("a form where a PUT will not do")
        return
    shot = _shot(request, BODY, lambda answer: trial.store.exists("target"))
    listed = dict(shot.headers) if shot.fields is None else dict(shot.fields)
    trial.needs("signed_headers")
    for name in listed:
        rest = {key: value for key, value in listed.items() if key != name}
        without = replace(shot, headers=rest) if shot.fields is None else replace(shot, fields=rest)
        answer = without.fire(trial)
        assert answer.refused, f"{name} is listed, but a request without it is answered {answer.status}"
        assert not trial.store.exists("target")
    answer = shot.fire(trial)
    assert answer.status in shot.good, answer.text
    trial.holds("target", BODY)


def test_a_header_of_the_provider_that_was_not_signed_is_refused(trial: Trial) -> None:
    if not trial.declares(Feature.SIGN_UPLOAD):
        refuse(trial, "upload", trial.store, timedelta(minutes=5))
        return
    request = trial.try_sign("target", UploadSpec(metadata={"kitname": "v"}))
    if not isinstance(request, SignedRequest) or request.method != "PUT":
        trial.undeclared("metadata that a PUT's signature binds")
        return
    name = next((name for name in request.headers if name.lower().endswith("kitname")), None)
    if name is None:
        trial.undeclared("metadata in headers")
        return
    trial.needs("unsigned_headers")
    extra = name[: -len("kitname")] + "kitextra"
    answer = trial.client.send("PUT", request.url.reveal(), {**request.headers, extra: "smuggled"}, DATA)
    assert answer.refused, f"an unsigned {extra} was answered {answer.status}"
    trial.nothing_at("target")


def test_the_expiry_that_a_request_tells_is_the_one_that_was_asked(trial: Trial) -> None:
    if not trial.declares(Feature.SIGN_UPLOAD):
        refuse(trial, "upload", trial.store, timedelta(minutes=5))
        return
    clock = FakeClock()
    store = trial.open(clock=clock)
    for life in (timedelta(seconds=90), timedelta(minutes=4)):
        assert store.sign_upload("k", expires_in=life).expires_at == clock.now + life
        assert store.sign_upload("k", expires_at=clock.now + life).expires_at == clock.now + life


def test_signing_twice_in_one_second_gives_the_same_url(trial: Trial) -> None:
    """Signing is pure: nothing random, nothing but the clock."""
    if not trial.declares(Feature.SIGN_DOWNLOAD):
        refuse(trial, "download", trial.store, timedelta(minutes=5))
        return
    store = trial.open(clock=FakeClock())
    first, second = (store.sign_download("k", expires_in=timedelta(minutes=3)).url.reveal() for _ in range(2))
    assert first == second


def test_a_stable_url_is_the_same_all_through_its_window(trial: Trial) -> None:
    if not trial.declares(Feature.SIGN_DOWNLOAD):
        refuse(trial, "download", trial.store, timedelta(minutes=5))
        return
    trial.store.write("target", DATA)
    clock = FakeClock()
    start = int(clock.now.timestamp()) // 60 * 60
    clock.advance(timedelta(seconds=start - int(clock.now.timestamp())))
    store, window = trial.open(clock=clock), timedelta(minutes=1)
    first = store.sign_download("target", expires_in=timedelta(minutes=2), stable_for=window)
    clock.advance(timedelta(seconds=59))
    last = store.sign_download("target", expires_in=timedelta(minutes=2), stable_for=window)
    clock.advance(timedelta(seconds=1))
    after = store.sign_download("target", expires_in=timedelta(minutes=2), stable_for=window)
    assert first.url.reveal() == last.url.reveal() != after.url.reveal()
    assert trial.download(first).body == DATA


def test_a_batch_of_uploads_is_signed_as_one_by_one(trial: Trial) -> None:
    if not trial.declares(Feature.SIGN_UPLOAD):
        refuse(trial, "upload", trial.store, timedelta(minutes=5))
        return
    store, life = trial.open(clock=FakeClock()), timedelta(minutes=5)
    keys = ["one", "two", "three/é"]
    batch = store.sign_uploads(keys, expires_in=life)
    assert len(batch) == 3
    for key, request in zip(keys, batch, strict=True):
        if not store.capabilities.signing_io:
            assert request.url.reveal() == store.sign_upload(key, expires_in=life).url.reveal()
        trial.upload(request, key.encode())
        trial.holds(key, key.encode())
