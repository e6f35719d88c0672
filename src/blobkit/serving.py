"""Serve the data plane of an embedded store with uvicorn: in the foreground, or in a thread of this process.

The core knows no embedded store: it serves whatever ASGI application :meth:`Backend.data_plane` gives. Nothing is logged of
a request, since its URL is a secret.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

from blobkit.backend import Feature
from blobkit.errors import ConfigError, PluginMissing, Unavailable, Unsupported

if TYPE_CHECKING:
    import uvicorn

    from blobkit.backend import ASGIApp
    from blobkit.store import Store

__all__ = ["data_plane", "listening", "running", "serve_forever", "serve_in_thread", "signalled"]

_START: Final = 15.0
_GRACE: Final = 10  # seconds for running requests to end


def data_plane(store: Store) -> ASGIApp:
    """The application that answers the store's signed URLs.

    Raises:
        Unsupported: The provider serves its own URLs.
    """
    app = store.data_plane() if store.capabilities.has(Feature.DATA_PLANE) else None
    if app is None:
        raise Unsupported(
            f"a {store.provider} store serves its own URLs",
            features=[Feature.DATA_PLANE],
            provider=store.provider,
            hint="only embedded stores (local, memory) have a data plane to serve",
        )
    return app


@contextmanager
def serve_in_thread(open_with_endpoint: Callable[[str], Store]) -> Iterator[Store]:
    """A store whose data plane is served on a free port of 127.0.0.1 while the context lasts.

    The port is bound first, then the store is opened, so that it signs URLs that lead to this server. Leaving the context
    finishes running requests (for ten seconds at most), stops the thread, closes the port and the store.

    Args:
        open_with_endpoint: Opens the store with this ``public_endpoint`` (``http://127.0.0.1:PORT``).

    Yields:
        The open store.

    Raises:
        Unsupported: The store has no data plane.
        PluginMissing: uvicorn is not installed.
        Unavailable: The server did not come up.
    """
    with listening("127.0.0.1", 0) as sock:
        host, port = sock.getsockname()
        with open_with_endpoint(f"http://{host}:{port}") as store, running(data_plane(store), sock):
            yield store


def serve_forever(
    store: Store, host: str = "127.0.0.1", port: int = 8707, *, ready: Callable[[str], None] | None = None
) -> None:
    """Serve the store's data plane until SIGINT or SIGTERM; running requests are finished first, for ten seconds at most.

    Call it from the main thread: signal handlers are installed, and put back at the end.

    Args:
        store: An embedded store; it is left open.
        host: The address to listen on.
        port: 0 for any free one.
        ready: Called with ``http://HOST:PORT`` once connections are accepted.

    Raises:
        ConfigError: The port is taken, or the address is not one of this machine.
        Unsupported, PluginMissing, Unavailable: As :func:`serve_in_thread`.
    """
    app = data_plane(store)
    stop = threading.Event()
    with listening(host, port) as sock, signalled(stop), running(app, sock) as thread:
        if ready is not None:
            shown = f"[{host}]" if ":" in host else host
            ready(f"http://{shown}:{sock.getsockname()[1]}")
        while not stop.wait(1.0):
            if not thread.is_alive():
                raise Unavailable("the server stopped by itself")


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens already, so that no client is refused while the server comes up.

    Raises:
        ConfigError: The port is taken, or the address is not one of this machine.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        sock = socket.socket(family, kind)
    except OSError as error:
        raise ConfigError(f"not an address to listen on: {host!r}: {error.strerror}") from error
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
            sock.listen(2048)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}:{port}: {error.strerror}", hint="another port, or 0 for any free one"
            ) from error
        yield sock


@contextmanager
def signalled(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set ``stop`` while the context lasts. Only in the main thread."""

    def handler(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def running(app: ASGIApp, sock: socket.socket) -> Iterator[threading.Thread]:
    """An application served on a :func:`listening` socket by a thread, from the first connection to the last finished request.

    Yields:
        The thread; it ends by itself only when the server failed.

    Raises:
        PluginMissing: uvicorn is not installed.
        Unavailable: The server did not come up.
    """
    server = _server(app)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            server.run(sockets=[sock])
        except BaseException as error:  # uvicorn leaves by SystemExit when the application does not start
            failures.append(error)

    thread = threading.Thread(target=run, name="blobkit-data-plane", daemon=True)
    thread.start()
    try:
        limit = time.monotonic() + _START
        while not server.started:
            if not thread.is_alive() or time.monotonic() > limit:
                raise Unavailable("the data plane did not start") from (failures[0] if failures else None)
            thread.join(0.005)
        yield thread
    finally:
        server.should_exit = True
        thread.join(_GRACE + _START)


def _server(app: ASGIApp) -> uvicorn.Server:
    try:
        import uvicorn
    except ImportError as error:
        raise PluginMissing("serving a data plane needs uvicorn", hint='pip install "blobkit[local]"') from error
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,  # how this process logs is not ours to change
        log_level="critical",  # the application logs its own failures; uvicorn would also log every client that goes away
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
        ws="none",
    )
    return uvicorn.Server(config)
