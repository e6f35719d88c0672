"""A :class:`~blobkit.events.webhook.Webhook` as an ASGI application, to be mounted anywhere or served by itself.

::

    app = WebhookApp(Webhook(SnsVerifier([TOPIC])), store=inbox.add)      # uvicorn module:app
    api.mount("/events", app)                                             # Starlette, FastAPI

OPTIONS must reach it: a CORS middleware around it would answer the handshake of Event Grid in its place.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, cast

from blobkit.events.parse import ParsedEvents
from blobkit.events.webhook import Response, Webhook

__all__ = ["WebhookApp"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Store = Callable[[ParsedEvents], object]


class WebhookApp:
    """Answers HTTP requests to any path.

    Args:
        webhook: Checks and reads.
        store: Stores what was found, durably, before a 2xx answer is given; when it raises, the answer is 503. A coroutine
            function is awaited, any other runs in a worker thread.
    """

    def __init__(self, webhook: Webhook, store: Store) -> None:
        self._webhook, self._store = webhook, store
        self._awaited = inspect.iscoroutinefunction(store) or inspect.iscoroutinefunction(type(store).__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See https://asgi.readthedocs.io/en/stable/specs/www.html."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            try:
                body = await _body(receive, self._webhook.max_bytes)
            except _Gone:
                return
            except _TooLong:
                await _respond(Response(413), send)
                return
            await _respond(await self._answer(scope, body), send)

    async def _answer(self, scope: Scope, body: bytes) -> Response:
        headers = _headers(cast("Iterable[tuple[bytes, bytes]]", scope["headers"]))
        request = (scope["method"], headers, cast("bytes", scope.get("query_string", b"")), body)
        # In a worker thread: verifying may fetch keys, and storing takes its time.
        if not self._awaited:
            return await asyncio.to_thread(self._webhook.receive, *request, self._store)
        response, parsed = await asyncio.to_thread(self._webhook.handle, *request)
        if parsed.anything:
            try:
                await cast("Awaitable[object]", self._store(parsed))
            except Exception:
                return self._webhook.not_stored()
        return response


class _TooLong(Exception):
    """The body exceeds the bound."""


class _Gone(Exception):
    """The client went away."""


async def _body(receive: Receive, most: int) -> bytes:
    whole = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        whole += message.get("body", b"")
        if len(whole) > most:
            raise _TooLong
        if not message.get("more_body", False):
            return bytes(whole)


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}


async def _respond(response: Response, send: Send) -> None:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()]
    headers.append((b"content-length", str(len(response.body)).encode("ascii")))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
