"""A proxy in front of any storage that lets things go wrong as networks do: for proving clients, this library's and others'.

with TroubleProxy("http://127.0.0.1:9000") as proxy:
    proxy.expect(Trouble("reset", after=100_000), Trouble("no_reply"))
    store = blobkit.open_store(f"s3://media/?endpoint=http://127.0.0.1:9000&public_endpoint={proxy.endpoint}")

Each trouble strikes one request, in the order in which they arrive. The proxy passes everything on byte for byte, but for the
server's own address in the heads of its answers, which becomes the proxy's.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import urlsplit

__all__ = ["KINDS", "Kind", "Trouble", "TroubleProxy", "any_trouble"]

Kind = Literal["status", "reset", "cut", "no_reply", "half_open", "stall", "latency", "throttle"]
KINDS: Final[tuple[Kind, ...]] = (
    "status",
    "reset",
    "cut",
    "no_reply",
    "half_open",
    "stall",
    "latency",
    "throttle",
)
_BLOCK: Final = 64 * 1024
_MAX_HEAD: Final = 64 * 1024
_LONGEST: Final = 60.0  # nothing here waits longer
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER of 0 seconds: closing sends RST


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that goes wrong with one request.

    Attributes:
        kind: ``status``: the answer is ``status``, and the storage hears of nothing. ``reset``: the connection is reset when
            ``after`` bytes of the request's body came through. ``cut``: it is reset when ``after`` bytes of the answer's body
            went back. ``no_reply``: the storage does all, and its answer is lost. ``half_open``: nobody listens any more after
            the request's head, and nobody says so. ``stall``: the answer stops after ``after`` bytes of its body.
            ``latency``: ``seconds`` pass first. ``throttle``: ``rate`` bytes a second, both ways.
        after: Bytes.
        status: For ``status``.
        retry_after: Seconds, for its header; None for none.
        seconds: For ``latency``.
        rate: For ``throttle``.
    """

    kind: Kind
    after: int = 0
    status: int = 503
    retry_after: int | None = None
    seconds: float = 0.01
    rate: float = 50e6


def any_trouble(chance: random.Random, size: int) -> Trouble:
    """Some trouble for a body of about ``size`` bytes."""
    return Trouble(
        chance.choice(KINDS),
        after=chance.randrange(size + 1),
        status=chance.choice([429, 500, 502, 503, 504]),
        retry_after=chance.choice([None, None, 0]),
        seconds=chance.uniform(0, 0.02),
        rate=chance.uniform(20e6, 200e6),
    )


class TroubleProxy:
    """A proxy on a free port of 127.0.0.1, from entering the context to leaving it.

    Args:
        server: The storage's ``http://host:port``.
        when: Which requests troubles may strike, given method and target; None for all.

    Attributes:
        endpoint: ``http://127.0.0.1:PORT``.
        struck: The troubles that happened.
        requests: How many requests came.
    """

    def __init__(self, server: str, when: Callable[[str, str], bool] | None = None) -> None:
        parts = urlsplit(server)
        self._server = (parts.hostname or "", parts.port or 80)
        self._when = when or (lambda method, target: True)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._rename = (f"{parts.netloc}".encode(), self.endpoint.removeprefix("http://").encode())
        self._troubles: deque[tuple[int, Trouble]] = deque()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._ending = threading.Event()
        self.struck: list[Trouble] = []
        self.requests = 0

    def expect(self, *troubles: Trouble, skip: int = 0) -> None:
        """Let these happen, one a request; the first after ``skip`` requests that go well."""
        with self._lock:
            for trouble in troubles:
                self._troubles.append((skip, trouble))
                skip = 0

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        with self._lock:
            self._troubles.clear()

    def _next(self, method: str, target: str) -> Trouble | None:
        with self._lock:
            self.requests += 1
            if not self._troubles or not self._when(method, target):
                return None
            skip, trouble = self._troubles.popleft()
            if skip:
                self._troubles.appendleft((skip - 1, trouble))
                return None
            self.struck.append(trouble)
            return trouble

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            sockets, threads = list(self._open), list(self._threads)
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(_LONGEST)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="blobkit-trouble", daemon=True)
        with self._lock:
            self._threads = [other for other in self._threads if other.is_alive()]
            self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.settimeout(_LONGEST)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(lambda client=client: self._serve(client))  # type: ignore[misc]  # the default binds it now

    def _serve(self, client: socket.socket) -> None:
        """One connection of a client, and the one to the server that belongs to it."""
        with self._lock:
            self._open.add(client)
        line = _Line(client)
        server: _Line | None = None
        try:
            while not self._ending.is_set() and (head := line.head()):
                if server is not None and _gone(server.sock):  # it closed an idle connection, as it may
                    self._forget(server)
                    server = None
                if server is None:
                    server = self._connect()
                if not self._one(line, server, head):
                    return
        except (OSError, ValueError):
            return  # one of the two went away: so does the other
        finally:
            for each in (line, server):
                if each is not None:
                    self._forget(each)

    def _forget(self, line: _Line) -> None:
        with self._lock:
            self._open.discard(line.sock)
        line.sock.close()

    def _connect(self) -> _Line:
        sock = socket.create_connection(self._server, timeout=_LONGEST)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open.add(sock)
        return _Line(sock)

    def _one(self, client: _Line, server: _Line, head: bytes) -> bool:
        """One request; whether the connection can be used for another one."""
        method, target = head.split(b" ", 2)[:2]
        trouble = self._next(method.decode("latin-1"), target.decode("latin-1"))
        kind = None if trouble is None else trouble.kind
        body = _length(head)
        if trouble is not None and kind == "latency":
            self._ending.wait(trouble.seconds)
        if trouble is not None and kind == "status":
            client.drain(body)
            wait = "" if trouble.retry_after is None else f"Retry-After: {trouble.retry_after}\r\n"
            client.sock.sendall(f"HTTP/1.1 {trouble.status} Trouble\r\n{wait}Content-Length: 0\r\n\r\n".encode())
            return True
        if kind == "half_open":
            client.until_gone()
            return False
        rate = trouble.rate if trouble is not None and kind == "throttle" else None
        limit = trouble.after if trouble is not None and kind == "reset" else None
        server.sock.sendall(head)
        if not client.pass_on(server, body, limit, rate):
            client.reset()
            return False
        return self._answer(client, server, method, trouble, rate)

    def _answer(self, client: _Line, server: _Line, method: bytes, trouble: Trouble | None, rate: float | None) -> bool:
        kind = None if trouble is None else trouble.kind
        while True:
            head = server.head()
            if not head:
                return False
            if not head.startswith(b"HTTP/1.1 1"):  # 100 Continue and its kin go through, and the answer follows
                break
            client.sock.sendall(head)
        if kind == "no_reply":
            server.pass_on(None, _length(head, answer_to=method), None, None)
            client.reset()
            return False
        client.sock.sendall(head.replace(*self._rename))
        limit = trouble.after if trouble is not None and kind in ("cut", "stall") else None
        whole = server.pass_on(client, _length(head, answer_to=method), limit, rate)
        if not whole and kind == "stall":
            client.until_gone()
            return False
        if not whole:
            client.reset()
            return False
        return _length(head, answer_to=method) is not None and b"connection: close" not in head.lower()


class _Line:
    """One side of a connection, read through a buffer."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def head(self) -> bytes:
        """Up to the empty line; nothing when the other side is gone. Raises ValueError, OSError."""
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > _MAX_HEAD:
                raise ValueError("a head without an end")
            block = self.sock.recv(_BLOCK)
            if not block:
                return b""
            self._buffer += block
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def drain(self, size: int | None) -> None:
        """Read a body and forget it."""
        self.pass_on(None, size, None, None)

    def pass_on(self, to: _Line | None, size: int | None, limit: int | None, rate: float | None) -> bool:
        """Pass a body on; False when the limit was met.

        ``size``: its bytes; None: until the other side is done, -1: as it is chunked.
        """
        passed, start = 0, time.monotonic()
        chunked = size == -1
        tail = b""
        while size is None or chunked or passed < size:
            block = self._some(_BLOCK if size is None or chunked else min(_BLOCK, size - passed))
            if not block and size is not None:
                raise ConnectionAbortedError("the body ended early")
            if not block:
                break
            if limit is not None and passed + len(block) >= limit:
                if to is not None:
                    to.sock.sendall(block[: limit - passed])
                return False
            if to is not None:
                to.sock.sendall(block)
            passed += len(block)
            if rate is not None:
                time.sleep(max(0.0, start + passed / rate - time.monotonic()))
            if chunked:
                tail = (tail + block)[-5:]
                if tail == b"0\r\n\r\n":
                    break
        return True

    def _some(self, size: int) -> bytes:
        if self._buffer:
            block, self._buffer = self._buffer[:size], self._buffer[size:]
            return block
        return self.sock.recv(size)

    def until_gone(self) -> None:
        """Neither read nor write, until the other side gives up."""
        self.sock.settimeout(_LONGEST)
        with suppress(OSError):
            while not _gone(self.sock):
                time.sleep(0.005)

    def reset(self) -> None:
        """End the connection as a crash does."""
        with suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()


def _gone(sock: socket.socket) -> bool:
    """Whether the other side has closed, without reading what it sent before."""
    try:
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    except (OSError, AttributeError):
        return True
    return state[0] != 1  # TCP_ESTABLISHED


def _length(head: bytes, answer_to: bytes | None = None) -> int | None:
    """Bytes of the body that follows; -1 when it is chunked; None when only the end of the connection ends it."""
    lines = head.lower().split(b"\r\n")
    status = lines[0].split(b" ")[1] if answer_to is not None else b""
    if answer_to == b"HEAD" or status in (b"204", b"304"):
        return 0
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        if name == b"transfer-encoding" and b"chunked" in value:
            return -1
        if name == b"content-length":
            return int(value)
    return None if answer_to is not None else 0
