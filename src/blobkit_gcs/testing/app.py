"""The ASGI application: reads a request, lets things go wrong when asked to, hands it to the right API, answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from blobkit_gcs.testing.answers import Answer
from blobkit_gcs.testing.engine import Engine
from blobkit_gcs.testing.failures import Failure
from blobkit_gcs.testing.faults import Fault, Faults
from blobkit_gcs.testing.identity import Identity
from blobkit_gcs.testing.json_api import JsonApi
from blobkit_gcs.testing.resumable import Session, Sessions
from blobkit_gcs.testing.verification import Call
from blobkit_gcs.testing.xml_api import XmlApi, place

__all__ = ["App"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_LARGEST: Final = 1024**3
_LONGEST_PAUSE: Final = 30.0
_JSON_PATHS: Final = (
    "/storage/v1/",
    "/upload/storage/v1/",
    "/download/storage/v1/",
    "/batch/storage/v1",
    "/v1/projects/",
    "/token",
)
_HOSTS: Final = ("127.0.0.1", "localhost", "storage.googleapis.com")
"""``BUCKET.`` before one of these names the bucket."""
_EXPOSED: Final = (
    "content-length, content-type, etag, location, range, x-goog-generation, x-goog-hash, x-guploader-uploadid"
)


class App:
    """One server.

    Attributes:
        faults: What goes wrong.
        calls: How many requests arrived.
        bound: Buckets by the hosts that are bound to them.
    """

    def __init__(
        self,
        engine: Engine,
        identity: Identity,
        sessions: Sessions,
        json_api: JsonApi,
        xml_api: XmlApi,
        now: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._identity = identity
        self._sessions = sessions
        self._json = json_api
        self._xml = xml_api
        self._now = now
        self.faults = Faults()
        self.calls = 0
        self.bound: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        self.calls += 1
        call = _call(scope, self.bound)
        body, whole = await _body(receive)
        fault = self.faults.take(call)
        if fault is not None and not fault.after and await _wrong(fault, receive, send):
            return
        if fault is not None and fault.effect == "pause":
            await _pause(fault)
        answer = self._answer(call, body, whole=whole)
        if not whole:
            return
        if fault is not None and fault.after and await _wrong(fault, receive, send):
            return
        await _send(answer, call, send, fault, receive)

    def _answer(self, call: Call, body: bytes, *, whole: bool) -> Answer:
        is_json = _is_json(call)
        try:
            try:
                with self._engine.lock:
                    answer = self._dispatch(call, body, whole=whole)
            except (
                ValueError,
                KeyError,
                TypeError,
                AttributeError,
            ) as error:  # a fault of this server: let the test see it
                raise Failure(500, "internalError", f"{type(error).__name__}: {error}") from error
        except Failure as failure:
            kind = "application/json; charset=UTF-8" if is_json else "application/xml; charset=UTF-8"
            answer = Answer(
                failure.status,
                {**failure.headers, "content-type": kind},
                failure.as_json() if is_json else failure.as_xml(),
            )
        self._cors(call, answer)
        return answer

    def _dispatch(self, call: Call, body: bytes, *, whole: bool) -> Answer:
        if call.method == "OPTIONS":
            return Answer(200)
        if len(body) > _LARGEST:
            raise Failure(
                413, "uploadTooLarge", "This server stores no more than a gibibyte.", xml_code="EntityTooLarge"
            )
        session = self._session(call)
        if session is not None:
            return self._json.session(session, call, body, whole=whole)
        if not whole:
            raise Failure(400, "invalid", "The body ended early.")
        if call.bucket is None and call.path == "/token":
            return self._token(body)
        if call.bucket is None and call.path.endswith(":signBlob"):
            return self._sign_blob(call, body)
        return self._json.handle(call, body) if _is_json(call) else self._xml.handle(call, body)

    def _session(self, call: Call) -> Session | None:
        """The session whose URI this is."""
        upload_id = call.parameter("upload_id")
        return None if upload_id is None else self._sessions.find(upload_id)

    def _token(self, body: bytes) -> Answer:
        form = dict(parse_qsl(body.decode("ascii", "replace")))
        try:
            return _as_json(self._identity.token(form.get("grant_type"), form.get("assertion")))
        except Failure as failure:
            said = {"error": failure.reason, "error_description": failure.message}
            return Answer(failure.status, {"content-type": "application/json"}, json.dumps(said).encode())

    def _sign_blob(self, call: Call, body: bytes) -> Answer:
        self._identity.check_token(call.header("authorization"))
        email = call.path.removesuffix(":signBlob").rpartition("/")[2].replace("%40", "@")
        try:
            said = json.loads(body)
            payload, delegates = str(said["payload"]), said.get("delegates", [])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Failure(400, "invalid", "payload is missing") from error
        return _as_json(self._identity.sign_blob(email, payload, delegates))

    # --- CORS: https://cloud.google.com/storage/docs/cross-origin ---

    def _cors(self, call: Call, answer: Answer) -> None:
        origin = call.header("origin")
        if origin is None:
            return
        try:
            session = self._session(call)
            if session is not None:
                if session.start.origin == origin:
                    answer.headers |= {"access-control-allow-origin": origin, "access-control-expose-headers": _EXPOSED}
                    if call.method == "OPTIONS":
                        asked = call.header("access-control-request-headers")
                        answer.headers["access-control-allow-methods"] = "PUT, POST, DELETE"
                        answer.headers["access-control-allow-headers"] = asked or "*"
                return
            rules = [] if _is_json(call) else self._engine.bucket(place(call)[0]).cors
        except Failure:
            return
        for rule in rules:
            if found := _allowed(rule, origin, call):
                answer.headers |= found
                return


def _allowed(rule: Mapping[str, object], origin: str, call: Call) -> dict[str, str] | None:
    """The headers that a rule gives. ``responseHeader`` is both what may be sent and what may be read."""
    origins, methods, named = (_texts(rule.get(name)) for name in ("origin", "method", "responseHeader"))
    if origin not in origins and "*" not in origins:
        return None
    preflight = call.method == "OPTIONS"
    method = call.header("access-control-request-method") if preflight else call.method
    if method not in methods and "*" not in methods:
        return None
    lower = {name.lower() for name in named}
    asked = [name.strip().lower() for name in (call.header("access-control-request-headers") or "").split(",")]
    if preflight and any(name and name not in lower for name in asked):
        return None
    given = {"access-control-allow-origin": "*" if "*" in origins else origin, "vary": "Origin"}
    if not preflight:
        return {**given, "access-control-expose-headers": ", ".join(named)}
    return {
        **given,
        "access-control-allow-methods": ", ".join(methods),
        "access-control-allow-headers": ", ".join(named),
        "access-control-max-age": str(rule.get("maxAgeSeconds", 3600)),
    }


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []


def _is_json(call: Call) -> bool:
    return call.bucket is None and call.path.startswith(_JSON_PATHS)


def _as_json(value: object) -> Answer:
    return Answer(200, {"content-type": "application/json; charset=UTF-8"}, json.dumps(value).encode())


def _call(scope: Scope, bound: Mapping[str, str]) -> Call:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    headers = [(name.decode("latin-1").lower(), _text(value)) for name, value in scope["headers"]]
    host = dict(headers).get("host", "").partition(":")[0].lower()
    named = (host.removesuffix(f".{suffix}") for suffix in _HOSTS if host.endswith(f".{suffix}"))
    return Call(
        scope["method"],
        raw.partition(b"?")[0].decode("ascii", "replace"),
        parse_qsl(scope["query_string"].decode("ascii", "replace"), keep_blank_values=True),
        headers,
        bound.get(host) or next(named, None),
    )


def _text(value: bytes) -> str:
    """Header bytes are UTF-8 where they can be, as the clients of both APIs write them."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


async def _body(receive: Receive) -> tuple[bytes, bool]:
    """What arrived, and whether it is all of it."""
    found = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(found), False
        if len(found) <= _LARGEST:
            found += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(found), True


async def _wrong(fault: Fault, receive: Receive, send: Send) -> bool:
    """Answer, or hang up; whether that was all."""
    if fault.effect == "status":
        headers = [(b"content-length", b"0")]
        if fault.retry_after is not None:
            headers.append((b"retry-after", str(fault.retry_after).encode()))
        await send({"type": "http.response.start", "status": fault.status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return True
    if fault.effect == "drop":
        await _hang_up(receive)
        return True
    return False


async def _pause(fault: Fault) -> None:
    if fault.release is not None:
        await asyncio.get_running_loop().run_in_executor(None, fault.release.wait, _LONGEST_PAUSE)


async def _hang_up(receive: Receive) -> None:
    """Close the connection. ASGI knows no such thing: uvicorn's own request cycle has the transport."""
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise RuntimeError("this server cannot be made to hang up: serve the application with uvicorn")
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(answer: Answer, call: Call, send: Send, fault: Fault | None, receive: Receive) -> None:
    body = b"" if call.method == "HEAD" or answer.status in (204, 304) else answer.body
    headers = {**answer.headers}
    if answer.status != 204:
        headers["content-length"] = str(len(answer.body))
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    if fault is not None and fault.effect == "truncate":
        await send({"type": "http.response.body", "body": body[: fault.keep], "more_body": True})
        await _hang_up(receive)
        return
    await send({"type": "http.response.body", "body": body})
