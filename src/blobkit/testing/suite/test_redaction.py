"""Signatures, tokens and session URLs do not print: not in repr, str, format, pickles, errors, tracebacks or logs."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import pytest

from blobkit.backend import Feature
from blobkit.errors import BlobkitError, ChunkMismatch
from blobkit.redaction import RedactingFilter
from blobkit.signed import SignedRequest
from blobkit.spec import UploadSpec
from blobkit.testing.trial import Trial, signature_field, signature_of

LIFE: Final = timedelta(minutes=5)


def printed(value: object) -> Iterator[str]:
    """Every way in which a value becomes text without anybody meaning it."""
    yield repr(value)
    yield str(value)
    yield f"{value}"
    yield format(value)
    yield "%s %r" % (value, value)  # noqa: UP031 - as loggers do
    yield repr([value])
    yield repr({"request": value})
    yield str(Exception(value))


def secrets_of(trial: Trial) -> tuple[list[object], list[str]]:
    """Everything that carries a secret, and the secrets."""
    store = trial.store
    requests: list[SignedRequest] = [
        store.sign_upload("k", expires_in=LIFE),
        store.sign_download("k", expires_in=LIFE),
        *store.sign_uploads(["a", "b"], expires_in=LIFE),
    ]
    if store.capabilities.has(Feature.SIGN_DELETE):
        requests.append(store.sign_delete("k", expires_in=LIFE))
    if store.capabilities.has(Feature.SIGN_FORM):
        requests.append(store.sign_upload("k", spec=UploadSpec(max_size=10), verify_after="all"))
    things: list[object] = [*requests, *(request.url for request in requests), store.plan_upload("k", 10)]
    secrets = []
    for request in requests:
        if request.fields is not None:
            secrets.append(request.fields[signature_field(request.fields)])
        if signature := signature_of(request.url.reveal()):
            secrets.append(signature)
    if store.capabilities.has(Feature.CHUNKED):
        session = trial.start("s", size=len(trial.body()))
        chunks = session.sign_chunks()
        things += [session, session.token, session.plan(), *chunks, *(chunk.url for chunk in chunks), session._state]
        secrets += [session.token.reveal(), *(signature_of(c.url.reveal()) or c.url.reveal() for c in chunks)]
    return things, secrets


def test_nothing_that_was_signed_prints_its_secret(trial: Trial) -> None:
    things, secrets = secrets_of(trial)
    assert len(secrets) >= 4
    for thing in things:
        for text in printed(thing):
            for secret in secrets:
                assert secret not in text, f"{type(thing).__name__} prints a secret"


def test_nothing_that_was_signed_pickles_or_is_a_string(trial: Trial) -> None:
    requests = [trial.store.sign_upload("k", expires_in=LIFE), trial.store.sign_download("k", expires_in=LIFE)]
    plan = trial.store.plan_upload("k", 10, expires_in=LIFE)
    things: list[object] = [*requests, *(request.url for request in requests), plan, plan.single]
    for thing in things:
        assert not isinstance(thing, str)
        with pytest.raises(TypeError):
            pickle.dumps(thing)
        with pytest.raises(TypeError):
            copy.copy(thing)
        with pytest.raises((AttributeError, TypeError)):  # TypeError: of a frozen dataclass with slots, in Python 3.11
            setattr(thing, "method", "GET")  # noqa: B010 - as a careless caller would


def test_reveal_and_as_dict_are_the_doors(trial: Trial) -> None:
    request = trial.store.sign_download("k", expires_in=LIFE)
    url = request.url.reveal()
    assert url.startswith("http")
    assert request.as_dict()["url"] == url
    assert url in request.as_json().replace("\\u0026", "&")
    assert url in request.as_curl("out.bin")


def test_errors_and_tracebacks_print_no_secret(trial: Trial) -> None:
    if not trial.declares(Feature.CHUNKED):
        with pytest.raises(BlobkitError):
            trial.store.start_upload("k", size=1)
        return
    session = trial.start("k", size=10)
    secrets = [session.token.reveal(), *(chunk.url.reveal().partition("?")[2] for chunk in session.sign_chunks())]
    with pytest.raises(ChunkMismatch) as found:
        session.complete()
    text = "".join(traceback.format_exception(found.value))
    for secret in filter(None, secrets):
        assert secret not in text
        assert secret not in repr(found.value)
    session.abort()


def test_the_log_filter_masks_what_http_libraries_print(trial: Trial) -> None:
    url = trial.store.sign_download("k", expires_in=LIFE).url.reveal()
    signature = signature_of(url)
    assert signature
    record = logging.LogRecord("urllib3", logging.DEBUG, __file__, 1, 'GET %s HTTP/1.1" 200', (url,), None)
    assert RedactingFilter().filter(record)
    assert signature not in record.getMessage()


def test_the_store_prints_no_credentials(trial: Trial) -> None:
    for secret in trial.store.config.secrets.values():
        for text in (repr(trial.store), repr(trial.store.config), str(trial.store.config)):
            assert secret.reveal() not in text
    assert trial.store.provider in repr(trial.store)
