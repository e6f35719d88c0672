"""HTTP/1.1 for bodies of any size: the standard library's ``http.client`` below a small pool of connections.

It was chosen by measurement (``python -m benchmarks transfer_http``): with blocks of one MiB urllib3 is as fast, so what counts
is the socket, which is at hand here. Plain HTTP leaves by ``sendfile`` (a fifth less CPU time); an answer is read into a buffer
that the caller owns (a tenth less); a timeout is without a byte moving, whichever way; and a server that answers before it has
heard all is heard at once. There are no redirects, no retries and no cookies, and no URL in an error: what grants access
does not print.
"""

from __future__ import annotations

import os
import selectors
import ssl
import threading
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from types import TracebackType
from typing import Final, Protocol, Self
from urllib.parse import SplitResult, urlsplit

from blobkit.errors import ConnectionFailed, InvalidArgument, SourceChanged
from blobkit.transfer.proxies import Forwarding, proxy_for, refused, tunnelled
from blobkit.transfer.refusals import Answer
from blobkit.transfer.source import Slice

__all__ = ["Http", "Incoming", "Outgoing"]

_ERROR_BODY: Final = 64 * 1024
_CONNECT: Final = 20.0
_RECORDS: Final = (
    128 * 1024
)  # TLS sends a buffer whole or not at all: small ones, for a timeout that means a standstill
_Origin = tuple[str, str, int | None]


class Outgoing(Protocol):
    """A body on its way out."""

    def __iter__(self) -> Iterator[memoryview | Slice]:
        """What to send, in order; each piece is used before the next is taken."""
        ...

    def sent(self, size: int) -> None:
        """So many bytes more have left."""
        ...


class Http:
    """A pool of connections, used by many threads. A context manager.

    Args:
        timeout: Seconds without a byte before a connection counts as dead.
        tls: What https trusts; None takes what this machine trusts.
    """

    def __init__(self, timeout: float, tls: ssl.SSLContext | None = None) -> None:
        self._timeout = timeout
        self._tls = tls
        self._lock = threading.Lock()
        self._idle: dict[_Origin, list[HTTPConnection]] = {}
        self._busy: set[HTTPConnection] = set()
        self._aborted = False

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Outgoing | bytes | None,
        size: int,
        *,
        limit: int = _ERROR_BODY,
    ) -> Answer:
        """One request with a body of ``size`` bytes; of the answer's body at most ``limit`` bytes are read.

        Raises:
            ConnectionFailed: No connection, no answer in time, or one that broke off.
            SourceChanged: The body ended early.
            InvalidArgument: A URL or header that HTTP cannot carry.
        """
        parts = _split(url)
        connection = self._connection(parts)
        try:
            _head(connection, method, parts, {**headers, "content-length": str(size)})
            heard = _body(connection, body, self._timeout)
            response = _answered(connection)
            data = response.read(limit)
            answer = Answer(response.status, _lower(response), data)
            whole = heard and not response.will_close and response.isclosed()
        except (OSError, HTTPException) as error:
            self._drop(connection)
            raise _connection_failed(error) from None
        except BaseException:
            self._drop(connection)
            raise
        self._give_back(parts, connection, whole)
        return answer

    def open(self, url: str, headers: Mapping[str, str]) -> Incoming:
        """A GET whose body is read piece by piece. Raises ConnectionFailed, InvalidArgument."""
        parts = _split(url)
        connection = self._connection(parts)
        try:
            _head(connection, "GET", parts, {"accept-encoding": "identity", **headers})
            return Incoming(self, parts, connection, _answered(connection))
        except (OSError, HTTPException) as error:
            self._drop(connection)
            raise _connection_failed(error) from None
        except BaseException:
            self._drop(connection)
            raise

    def abort(self) -> None:
        """Break off what is under way in other threads: they fail at once instead of at their timeouts. Final."""
        with self._lock:
            self._aborted = True
            busy = list(self._busy)
        for connection in busy:
            _shut(connection)

    # --- connections ---

    def _connection(self, parts: SplitResult) -> HTTPConnection:
        idle = self._idle.setdefault(_origin(parts), [])
        while True:
            with self._lock:
                connection = idle.pop() if idle else None
            if connection is None:
                break
            if not _speaks(connection):
                return self._taken(connection)
            connection.close()  # the server has closed it, or says what nobody asked
        connection = self._connected(parts)
        connection.sock.settimeout(self._timeout)
        return self._taken(connection)

    def _connected(self, parts: SplitResult) -> HTTPConnection:
        """A new connection, through a proxy where the environment names one."""
        proxy, timeout = proxy_for(parts), min(self._timeout, _CONNECT)
        try:
            if proxy is not None and parts.scheme == "https":
                return tunnelled(proxy, parts, timeout, self._trust())
            connection: HTTPConnection
            if proxy is not None:
                connection = Forwarding(proxy, timeout)
            elif parts.scheme == "https":
                connection = HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=self._trust())
            else:
                connection = HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
            connection.connect()
        except ConnectionFailed:
            raise
        except (OSError, HTTPException, ValueError) as error:
            raise _connection_failed(error, "" if proxy is None else " through the proxy") from None
        return connection

    def _taken(self, connection: HTTPConnection) -> HTTPConnection:
        with self._lock:
            self._busy.add(connection)
            if not self._aborted:
                return connection
        self._drop(connection)
        raise ConnectionFailed("stopped", retryable=False)

    def _trust(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                self._tls = ssl.create_default_context()
            return self._tls

    def _give_back(self, parts: SplitResult, connection: HTTPConnection, usable: bool) -> None:
        if not usable or connection.sock is None:
            self._drop(connection)
            return
        with self._lock:
            self._busy.discard(connection)
            self._idle[_origin(parts)].append(connection)

    def _drop(self, connection: HTTPConnection) -> None:
        with self._lock:
            self._busy.discard(connection)
        connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connections in self._idle.values():
            while connections:
                connections.pop().close()


class Incoming:
    """An answer whose body is being read. A context manager."""

    def __init__(self, http: Http, parts: SplitResult, connection: HTTPConnection, response: HTTPResponse) -> None:
        self._http = http
        self._parts = parts
        self._connection = connection
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = _lower(response)

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer as far as there are bytes; 0 at the end. Raises ConnectionFailed when it breaks off."""
        try:
            return self._response.readinto(buffer)
        except (OSError, HTTPException, ValueError) as error:
            raise _connection_failed(error) from None

    def refused(self) -> Answer:
        """The answer as one that carries an error."""
        try:
            return Answer(self.status, self.headers, self._response.read(_ERROR_BODY))
        except (OSError, HTTPException, ValueError) as error:
            raise _connection_failed(error) from None

    def close(self) -> None:
        """Leave the rest unread."""
        self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        whole = self._response.isclosed() and not self._response.will_close  # nothing of it is left in the connection
        self._response.close()
        self._http._give_back(self._parts, self._connection, whole and error is None)


# --- the request ------------------------------------------------------------------------------------------------------


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for what is no port
    except ValueError:
        raise InvalidArgument("not a URL that can be requested") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise InvalidArgument("not an http or https URL")
    return parts


def _origin(parts: SplitResult) -> _Origin:
    return parts.scheme, parts.hostname or "", parts.port


def _head(connection: HTTPConnection, method: str, parts: SplitResult, headers: Mapping[str, str]) -> None:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if isinstance(connection, Forwarding):
        target, headers = f"{parts.scheme}://{parts.netloc}{target}", {**headers, **connection.proxy.headers}
    names = {name.lower() for name in headers}
    try:
        connection.putrequest(method, target, skip_host="host" in names, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value.encode("utf-8"))
    except (ValueError, HTTPException) as error:
        raise InvalidArgument(f"not a request that HTTP can carry: {type(error).__name__}") from None
    connection.endheaders()


def _answered(connection: HTTPConnection) -> HTTPResponse:
    """The answer, unless it is the proxy's own: it does not know who asks."""
    response = connection.getresponse()
    if response.status == 407 and isinstance(connection, Forwarding):
        raise refused(407)
    return response


def _lower(response: HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


# --- the body ---------------------------------------------------------------------------------------------------------


def _body(connection: HTTPConnection, body: Outgoing | bytes | None, timeout: float) -> bool:
    """Send it; False when the server answered before it had heard all of it, and did not want the rest."""
    if not body:
        return True
    if isinstance(body, bytes):
        connection.send(body)
        return True
    line = _Line(connection, timeout)
    try:
        return all(line.put(piece, body) for piece in body)
    except (BrokenPipeError, ConnectionResetError):
        return False  # it closed its ear: what it said before is read next, if it said anything
    finally:
        line.close()


class _Line:
    """The way out, which also listens: a standstill is a timeout, an early answer ends the sending."""

    def __init__(self, connection: HTTPConnection, timeout: float) -> None:
        self._sock = connection.sock
        self._timeout = timeout
        self._secret = isinstance(self._sock, ssl.SSLSocket)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._sock, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def close(self) -> None:
        self._selector.close()

    def put(self, piece: memoryview | Slice, body: Outgoing) -> bool:
        """Send one piece; False when the server speaks meanwhile."""
        if isinstance(piece, Slice):
            return self._file(piece, body)
        while piece:
            if not self._clear():
                return False
            sent = self._sock.send(piece[:_RECORDS] if self._secret else piece)
            body.sent(sent)
            piece = piece[sent:]
        return True

    def _file(self, piece: Slice, body: Outgoing) -> bool:
        at, end = piece.offset, piece.offset + piece.size
        while at < end:
            if not self._clear():
                return False
            try:
                sent = os.sendfile(self._sock.fileno(), piece.fd, at, end - at)
            except BlockingIOError:
                continue
            if not sent:
                raise SourceChanged("the file became shorter while it was read")
            body.sent(sent)
            at += sent
        return True

    def _clear(self) -> bool:
        """Wait until something fits in; False when the server speaks (under TLS that may be its own housekeeping)."""
        if self._secret:
            return True
        ready = self._selector.select(self._timeout)
        if not ready:
            raise TimeoutError("nothing moved")
        return not ready[0][1] & selectors.EVENT_READ


def _speaks(connection: HTTPConnection) -> bool:
    """Whether there is something to read from a connection that should be silent."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection.sock, selectors.EVENT_READ)
        return bool(selector.select(0))


def _shut(connection: HTTPConnection) -> None:
    import socket

    sock = connection.sock
    if sock is not None:
        try:
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            return  # it is gone already


def _connection_failed(error: Exception, which: str = "") -> ConnectionFailed:
    """Only the kind of failure goes on, and no cause: a library's own message may hold the whole URL."""
    certificate = isinstance(error, ssl.SSLCertVerificationError)
    name = type(error).__name__
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        name += f", {error.strerror}"
    hint = "the server's certificate is not trusted here" if certificate else None
    return ConnectionFailed(
        f"the connection {which}".rstrip() + f" failed: {name}", hint=hint, retryable=not certificate
    )
