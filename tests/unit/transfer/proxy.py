"""A proxy that leads to one server, whatever host it is asked for: tunnels, and requests with the whole URL."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class AnyProxy:
    """What it was asked, and how it answers.

    ``port``: of the server behind it. ``asked``: method, target and headers. ``refuse``: statuses of the next answers.
    """

    port: int = 0
    at: str = ""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    refuse: deque[int] = field(default_factory=deque)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: AnyProxy

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Quiet."""

    def _refused(self) -> bool:
        self.proxy.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        if not self.proxy.refuse:
            return False
        self.close_connection = True
        self.send_response(self.proxy.refuse.popleft())
        self.send_header("content-length", "0")
        self.end_headers()
        return True

    def do_CONNECT(self) -> None:
        if self._refused():
            return
        with socket.create_connection(("127.0.0.1", self.proxy.port)) as server:
            self.send_response(200, "Connection established")
            self.end_headers()
            back = threading.Thread(target=pump, args=[server, self.connection])
            back.start()
            pump(self.connection, server)
            back.join()
        self.close_connection = True

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self._refused():
            return
        parts = urlsplit(self.path)
        hop = ("proxy-authorization", "connection")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in hop}
        server = HTTPConnection("127.0.0.1", self.proxy.port)
        server.request(self.command, f"{parts.path}?{parts.query}", body or None, headers)
        answer = server.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        server.close()

    def do_PUT(self) -> None:
        self.do_GET()


def pump(one: socket.socket, other: socket.socket) -> None:
    """Pass on what comes, until it ends."""
    with suppress(OSError):
        while block := one.recv(65536):
            other.sendall(block)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away may."""


@contextmanager
def proxying(url: str) -> Iterator[AnyProxy]:
    """A proxy in front of the server of this URL."""
    proxy = AnyProxy(urlsplit(url).port or 0)
    handler: Callable[..., BaseHTTPRequestHandler] = type("Bound", (Handler,), {"proxy": proxy})
    with _Quiet(("127.0.0.1", 0), handler) as server:
        proxy.at = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
