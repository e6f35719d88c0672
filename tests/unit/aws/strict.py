"""A server that refuses what S3 documents that it refuses, in this process, and fails in the ways that S3 documents.

No server that can be had without AWS refuses ``x-amz-*`` headers that were not signed, compares ``x-amz-checksum-*``, or has
conditions on every write. Signatures are checked with botocore's own classes; nothing of ``blobkit_aws`` takes part.
It is a model for tests, not a store: everything is in memory, and of each operation there is what the tests ask.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape

from .strict_model import ACCESS, REGION, SECRET, Fault, Refusal, Seen, StrictS3, Version
from .strict_operations import OPERATIONS, operation_of
from .strict_rules import authorize

__all__ = ["ACCESS", "REGION", "SECRET", "Fault", "Seen", "StrictS3", "Version", "strict"]

Reply = tuple[int, dict[str, str], bytes]


def answer(server: StrictS3, seen: Seen) -> Reply:
    """What is answered to a request. Raises Refusal."""
    authorize(server, seen)
    if seen.operation in server.denied:
        raise Refusal(403, "AccessDenied", "Access Denied")
    if not seen.path.startswith("/media"):
        raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist")
    with server.lock:
        return OPERATIONS[seen.operation](server, seen)


def reply(server: StrictS3, seen: Seen) -> Reply | None:
    """The same, with what is to go wrong; None when the connection is to be closed instead."""
    with server.lock:
        server.seen.append(seen)
        number = len(server.seen)
        fault = _next_fault(server, seen.operation)
    if fault is not None and fault.first is not None:
        fault.first()
    try:
        done: Reply = (0, {}, b"")
        if fault is None or fault.effect or not (fault.status or fault.lose):
            done = answer(server, seen)
        if fault is not None and fault.lose:
            return None
        if fault is not None and fault.status:
            raise Refusal(fault.status, fault.code, "injected")
    except Refusal as refusal:
        text = f"<Error><Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message></Error>"
        done = (refusal.status, {"Content-Type": "application/xml"}, text.encode())
    status, headers, body = done
    return status, {"x-amz-request-id": f"REQ{number}", **headers}, body


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
        """Quiet."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        operation = operation_of(self.command, parts.path, query, headers)
        assert isinstance(self.server, _Server)
        done = reply(self.server.model, Seen(operation, self.command, parts.path, query, headers, body))
        if done is None:
            self.close_connection = True
            return
        status, answered, content = done
        if status != 204:
            answered.setdefault("Content-Length", str(len(content)))
        self.send_response(status)
        for name, value in answered.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - their names


def _next_fault(server: StrictS3, operation: str) -> Fault | None:
    for fault in server.faults:
        if fault.operation == operation:
            if fault.skip > 0:
                fault.skip -= 1
                return None
            server.faults.remove(fault)
            return fault
    return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    model: StrictS3

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


@contextmanager
def strict(*, versioned: bool = False, token: str | None = None) -> Iterator[StrictS3]:
    """A running server."""
    server = StrictS3(versioned=versioned, token=token)
    http = _Server(("127.0.0.1", 0), _Handler)
    http.model = server
    server.endpoint = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
