"""A storage in a dictionary behind a real socket, which fails on demand: what a transfer meets in the wild."""

from __future__ import annotations

import re
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, urlsplit

SIGNATURE = "s1gn4tur3-c4n4ry"
Fault = Literal[
    "503", "429", "501", "drop", "drop-after", "403", "404", "412", "truncate", "changed", "whole",
    "early-403", "forget", "exists", "digest", "short", "chunked", "chunked-cut", "whole-cut", "endless", "bare-416", "weak",
]  # fmt: skip
_BLOCK = 1 << 16
_REFUSALS: dict[Fault, tuple[int, str]] = {
    "403": (403, "AccessDenied"),
    "404": (404, "AccessDenied"),
    "412": (412, "AccessDenied"),
    "429": (429, ""),
    "501": (501, ""),
    "503": (503, ""),
    "exists": (409, "BlobAlreadyExists"),
    "digest": (400, "BadDigest"),
}


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
    discard: bool = False  # count the bytes of chunks instead of keeping them
    gate: Callable[[int], None] = lambda number: None  # called before a chunk is stored
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

    def _refuse(self, fault: Fault) -> None:
        status, code = _REFUSALS[fault]
        headers = {"retry_after": "7"} if fault in ("503", "429") else {}
        self._answer(status, f"<Error><Code>{code}</Code></Error>".encode() if code else b"", **headers)

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.close()

    def do_PUT(self) -> None:
        storage = self.storage
        fault = storage.fault()
        if fault == "early-403":  # with all of the body still on its way
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>", connection="close")
            return None
        data = self._body()
        storage.requests.append(("PUT", self.path, {k.lower(): v for k, v in self.headers.items()}))
        if fault == "drop":
            return self._drop()
        if fault in _REFUSALS:
            return self._refuse(fault)
        if fault == "forget" and storage.session:
            del storage.session[-1:]
            return self._answer(308, range=f"bytes=0-{len(storage.session) - 1}")
        query = parse_qs(urlsplit(self.path).query)
        if "session" in query:
            self._sequential(data)
            if fault == "drop-after":
                self._drop()
            return None
        number = int(query["n"][0]) if "n" in query else 0
        storage.gate(number)
        storage.chunks[number] = data
        if fault == "drop-after":
            return self._drop()
        return self._answer(200, etag=f'"e{number}"')

    def _body(self) -> bytes:
        size = int(self.headers["content-length"])
        if not self.storage.discard:
            data = self.rfile.read(size)
            if len(data) < size:  # the client died, or thought better of it: nothing is stored
                self.close_connection = True
                raise ConnectionAbortedError
            return data
        while size:
            size -= len(self.rfile.read(min(_BLOCK, size)))
        return b""

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
        if span == "bytes */0" or (storage.total and len(storage.session) == storage.total):
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
        if fault == "changed":
            storage.object, storage.etag = b"X" * len(storage.object), '"v2"'
        if fault is not None and self._failed(fault, "range" in headers):
            return None
        if headers.get("if-match", storage.etag) != storage.etag:
            return self._answer(412)
        if "range" not in headers:
            return self._answer(200, storage.object, etag=storage.etag)
        size = len(storage.object)
        begin, _, end = headers["range"].removeprefix("bytes=").partition("-")
        first, last = int(begin), int(end or size - 1)
        if fault == "short":
            last = first + (min(last, size - 1) - first) // 2
        if first >= size:
            return self._answer(416, content_range=f"bytes */{size}")
        body = storage.object[first : last + 1]
        span = f"bytes {first}-{first + len(body) - 1}/{size}"
        if fault == "truncate":
            return self._cut(206, body, content_range=span)
        return self._answer(
            206, body, etag=f"W/{storage.etag}" if fault == "weak" else storage.etag, content_range=span
        )

    def _failed(self, fault: Fault, ranged: bool) -> bool:
        """Whether the fault was the answer."""
        storage = self.storage
        if fault in _REFUSALS:
            self._refuse(fault)
        elif fault == "drop":
            self._drop()
        elif fault == "whole":
            self._answer(200, storage.object, etag=storage.etag)
        elif fault == "whole-cut":
            self._cut(200, storage.object)
        elif fault in ("chunked", "chunked-cut", "endless"):
            self._without_length(fault)
        elif fault == "bare-416" and ranged:
            self._answer(416)
        else:
            return False
        return True

    def _cut(self, status: int, body: bytes, **headers: str) -> None:
        """Half of what was announced."""
        self.send_response(status)
        for name, value in {**headers, "etag": self.storage.etag, "content_length": str(len(body))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self._drop()

    def _without_length(self, fault: Fault) -> None:
        """All of it, as a server sends what it compresses or relays: in pieces, or until the connection ends."""
        body = self.storage.object
        self.send_response(200)
        if fault != "endless":
            self.send_header("transfer-encoding", "chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "chunked-cut" else body)
        if fault != "chunked":
            self._drop()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A dropped connection is what was asked for."""


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Storage]:
    storage = Storage()
    handler: Callable[..., BaseHTTPRequestHandler] = type("Bound", (Handler,), {"storage": storage})
    with _Quiet(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        storage.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield storage
        finally:
            server.shutdown()
            thread.join()
