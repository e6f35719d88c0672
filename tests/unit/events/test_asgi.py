"""The webhook as an ASGI application, behind a real HTTP client."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import anyio
import httpx
import pytest

from blobkit.events import ParsedEvents, SharedSecret, Webhook, WebhookApp

from . import samples

SECRET = {"X-Events": "s3cret"}
BODY = json.dumps([samples.eventgrid("a b")]).encode()


def hook(max_bytes: int = 10_000) -> Webhook:
    """A webhook with a secret."""
    return Webhook(SharedSecret.header("x-events", "s3cret"), max_bytes=max_bytes)


def call(
    app: WebhookApp, method: str = "POST", body: bytes = BODY, headers: Mapping[str, str] = SECRET
) -> httpx.Response:
    """One request."""

    async def main() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app.test") as client:
            return await client.request(method, "/any/path", content=body, headers={**SECRET, **headers})

    return anyio.run(main)


@pytest.fixture(params=["a function", "a coroutine function"])
def stored(request: pytest.FixtureRequest) -> tuple[Callable[[ParsedEvents], object], list[str]]:
    keys: list[str] = []

    def store(parsed: ParsedEvents) -> None:
        if any(event.key == "fails" for event in parsed):
            raise OSError("disk full")
        keys.extend(event.key for event in parsed)

    async def awaited(parsed: ParsedEvents) -> None:
        await anyio.lowlevel.checkpoint()
        store(parsed)

    return (store if request.param == "a function" else awaited), keys


Stored = tuple[Callable[[ParsedEvents], object], list[str]]


def test_events_are_stored_before_the_answer_and_503_is_answered_when_they_cannot_be(stored: Stored) -> None:
    app = WebhookApp(hook(), stored[0])
    assert call(app).status_code == 200
    assert stored[1] == ["a b"]
    failed = call(app, body=json.dumps([samples.eventgrid("fails")]).encode())
    assert (failed.status_code, failed.headers["retry-after"]) == (503, "30")


def test_the_handshakes_are_answered(stored: Stored) -> None:
    app = WebhookApp(hook(), stored[0])
    answer = call(
        app, body=json.dumps([samples.validation()]).encode(), headers={"aeg-event-type": "SubscriptionValidation"}
    )
    assert answer.json() == {"validationResponse": "code-1"}
    origin = "eventgrid.azure.net"
    answer = call(app, "OPTIONS", b"", {"WebHook-Request-Origin": origin})
    assert (answer.status_code, answer.headers["webhook-allowed-origin"]) == (200, origin)


def test_strangers_other_methods_and_long_bodies_are_refused(stored: Stored) -> None:
    app = WebhookApp(hook(max_bytes=1000), stored[0])
    assert call(app, headers={"X-Events": "wrong"}).status_code == 403
    assert call(app, "GET").status_code == 405
    assert call(app, body=b"x" * 1001).status_code == 413
    assert stored[1] == []


def test_a_client_that_goes_away_is_not_answered() -> None:
    sent: list[object] = []

    async def main() -> None:
        async def receive() -> dict[str, object]:
            return {"type": "http.disconnect"}

        async def send(message: object) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "headers": [], "query_string": b""}
        await WebhookApp(hook(), lambda parsed: None)(scope, receive, send)

    anyio.run(main)
    assert sent == []


def test_the_lifespan_and_websockets_are_answered() -> None:
    sent: list[str] = []

    async def main(kind: str, *messages: str) -> None:
        waiting = list(messages)

        async def receive() -> dict[str, object]:
            return {"type": waiting.pop(0)}

        async def send(message: object) -> None:
            assert isinstance(message, dict)
            sent.append(message["type"])

        await WebhookApp(hook(), lambda parsed: None)({"type": kind}, receive, send)

    anyio.run(main, "lifespan", "lifespan.startup", "lifespan.shutdown")
    anyio.run(main, "websocket", "websocket.connect")
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]
