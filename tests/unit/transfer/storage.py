"""A storage in a dictionary behind a real socket, which fails on demand: what a transfer meets in the wild."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, urlsplit

SIGNATURE = "s1gn4tur3-c4n4ry"
Fault = Literal["503", "429", "drop", "drop-after", "403", "404", "412", "truncate", "changed", "whole"]


@dataclass
class Storage:
    """What is stored, and the faults that the next requests meet, in order."""

    chunks: dict[int, bytes] = field(default_factory=dict)
    session: bytearray = field(default_factory=bytearray)
    total: int = 0
    finished: bool = False
    object: bytes = b""
    etag: str = '"v1"'
    faults: deque[Fault] = field(default_factory=deque)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self) -> Fault | None:
        with self.lock:
            return self.faults.popleft() if self.faults else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    storage: Storage

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Quiet."""

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "content_length": str(len(body))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.close()

    def do_PUT(self) -> None:
        storage = self.storage
        fault = storage.fault()
        data = self.rfile.read(int(self.headers["content-length"]))
        storage.requests.append(("PUT", self.path, {k.lower(): v for k, v in self.headers.items()}))
        match fault:
            case "drop":
                return self._drop()
            case "503" | "429":
                return self._answer(int(fault), retry_after="7")
            case "403" | "404" | "412":
                return self._answer(int(fault), b"<Error><Code>AccessDenied</Code></Error>")
        query = parse_qs(urlsplit(self.path).query)
        if "session" in query:
            self._sequential(data)
            if fault == "drop-after":
                self._drop()
            return None
        number = int(query["n"][0]) if "n" in query else 0
        storage.chunks[number] = data
        if fault == "drop-after":
            return self._drop()
        return self._answer(200, etag=f'"e{number}"')

    def _sequential(self, data: bytes) -> None:
        """A session as Google Cloud Storage has it: 308 with Range until the last byte."""
        storage, span = self.storage, self.headers["content-range"]
        if not span.startswith("bytes */"):
            found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", span)
            assert found is not None, span
            first, last, storage.total = (int(text) for text in found.groups())
            assert last - first + 1 == len(data)
            if first > len(storage.session):
                return self._answer(503)
            storage.session[first:] = data
        if storage.total and len(storage.session) == storage.total:
            storage.finished = True
            return self._answer(200, etag='"done"')
        if not storage.session:
            return self._answer(308)
        return self._answer(308, range=f"bytes=0-{len(storage.session) - 1}")

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        self.storage.requests.append(("POST", self.path, {k.lower(): v for k, v in self.headers.items()}))
        self.storage.chunks[0] = data
        self._answer(201)

    def do_GET(self) -> None:
        storage = self.storage
        fault = storage.fault()
        headers = {k.lower(): v for k, v in self.headers.items()}
        storage.requests.append(("GET", self.path, headers))
        match fault:
            case "drop":
                return self._drop()
            case "503" | "429" | "403" | "404":
                return self._answer(int(fault))
            case "changed":
                storage.object, storage.etag = b"X" * len(storage.object), '"v2"'
            case "whole":
                return self._answer(200, storage.object, etag=storage.etag)
        if headers.get("if-match", storage.etag) != storage.etag:
            return self._answer(412)
        first, last = (int(text) for text in headers["range"].removeprefix("bytes=").split("-"))
        size = len(storage.object)
        if first >= size:
            return self._answer(416, content_range=f"bytes */{size}")
        body = storage.object[first : last + 1]
        if fault != "truncate":
            return self._answer(
                206, body, etag=storage.etag, content_range=f"bytes {first}-{first + len(body) - 1}/{size}"
            )
        self.send_response(206)
        self.send_header("etag", storage.etag)
        self.send_header("content-range", f"bytes {first}-{first + len(body) - 1}/{size}")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        return self._drop()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A dropped connection is what was asked for."""


@contextmanager
def serving() -> Iterator[Storage]:
    storage = Storage()
    handler: Callable[..., BaseHTTPRequestHandler] = type("Bound", (Handler,), {"storage": storage})
    with _Quiet(("127.0.0.1", 0), handler) as server:
        storage.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield storage
        finally:
            server.shutdown()
            thread.join()
