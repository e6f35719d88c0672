"""What a browser at another origin needs: preflights that pass, and receipts that scripts may read (the Fetch standard)."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from blobkit.backend import Feature
from blobkit.errors import Unsupported
from blobkit.testing.clients import Answer
from blobkit.testing.trial import Trial

LIFE: Final = timedelta(minutes=5)
SIMPLE: Final = {"accept", "accept-language", "content-language", "range"}


def preflight(trial: Trial, url: str, method: str, headers: list[str]) -> Answer:
    """Ask, as a browser does, whether a request of this method with these headers may be made."""
    asked = ", ".join(sorted(name.lower() for name in headers if name.lower() not in SIMPLE))
    return trial.client.send(
        "OPTIONS",
        url,
        {
            "Origin": trial.harness.origin,
            "Access-Control-Request-Method": method,
            **({"Access-Control-Request-Headers": asked} if asked else {}),
        },
    )


def allows(trial: Trial, answer: Answer, method: str, headers: list[str]) -> None:
    """Assert that the preflight lets the method and the headers through."""
    assert answer.status in (200, 204), f"the preflight was answered {answer.status}"
    assert answer.headers.get("access-control-allow-origin") in ("*", trial.harness.origin)
    methods = answer.headers.get("access-control-allow-methods", "")
    assert (
        method in [name.strip() for name in methods.split(",")]
        or methods.strip() == "*"
        or method in ("GET", "HEAD", "POST")
    )
    allowed = {name.strip().lower() for name in answer.headers.get("access-control-allow-headers", "").split(",")}
    assert "*" in allowed or {name.lower() for name in headers} - SIMPLE <= allowed


def test_a_browser_may_upload_with_the_headers_that_were_signed(trial: Trial) -> None:
    request = trial.store.sign_upload("k", content_type="image/png", metadata={"a": "1"}, verify_after="all")
    trial.needs("cors")
    allows(
        trial,
        preflight(trial, request.url.reveal(), request.method, list(request.headers)),
        request.method,
        list(request.headers),
    )
    answer = trial.client.send(
        request.method, request.url.reveal(), {**request.headers, "Origin": trial.harness.origin}, b"from a browser"
    )
    if request.method == "PUT":
        assert answer.status in request.expected_status, answer.text
        assert answer.headers.get("access-control-allow-origin") in ("*", trial.harness.origin)


def test_a_browser_may_download(trial: Trial) -> None:
    trial.store.write("k", b"data")
    request = trial.store.sign_download("k", expires_in=LIFE)
    trial.needs("cors")
    answer = trial.client.send("GET", request.url.reveal(), {"Origin": trial.harness.origin})
    assert answer.body == b"data"
    assert answer.headers.get("access-control-allow-origin") in ("*", trial.harness.origin)


def test_a_browser_may_send_chunks_and_read_their_receipts(trial: Trial) -> None:
    if not trial.declares(Feature.CHUNKED):
        with pytest.raises(Unsupported):
            trial.store.start_upload("k", size=1)
        return
    data = trial.body(1.5)
    session = trial.store.start_upload(
        "k",
        size=len(data),
        chunk_size=trial.chunk_size,
        origin=trial.harness.origin,
        allow_session_life=trial.bearer_chunks,
    )
    signed = session.sign_chunks([1])[0]
    trial.needs("cors")
    headers = [*signed.headers, *(["content-range"] if signed.template.content_range else [])]
    allows(trial, preflight(trial, signed.url.reveal(), signed.method, headers), signed.method, headers)
    if signed.template.content_range:
        return
    sent = {**signed.headers, "Origin": trial.harness.origin}
    answer = trial.client.send(signed.method, signed.url.reveal(), sent, data[: signed.size])
    assert answer.status in signed.expected_status, answer.text
    receipt = signed.template.receipt
    if receipt.kind == "header" and receipt.name is not None:
        exposed = {name.strip().lower() for name in answer.headers.get("access-control-expose-headers", "").split(",")}
        assert receipt.name.lower() in exposed or "*" in exposed, "a script cannot read the receipt"
