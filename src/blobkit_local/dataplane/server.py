"""Serve a data plane with uvicorn: in the foreground, or in a thread for tests, demos and notebooks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import uvicorn

from blobkit.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from blobkit.backend import ASGIApp

__all__ = ["LocalServer", "serve"]


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", server_header=False)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}", hint="another port, or 0 for any"
        ) from error
    return sock


def serve(app: ASGIApp, *, host: str = "127.0.0.1", port: int = 8707) -> None:
    """Serve until SIGINT or SIGTERM; requests that run are finished. Raises ConfigError when the port is taken."""
    sock = _bind(host, port)
    try:
        uvicorn.Server(_config(app)).run(sockets=[sock])
    finally:
        sock.close()


class LocalServer:
    """Serves in a background thread on loopback. A context manager.

    Args:
        app: An ASGI application; or a function of the URL, called before serving starts, that makes one (so that a store
            can be opened with the URL as its ``public_endpoint``).
        port: 0 for any free one.

    Attributes:
        url: ``http://127.0.0.1:PORT``.
    """

    def __init__(
        self, app: ASGIApp | None = None, *, make: Callable[[str], ASGIApp] | None = None, port: int = 0
    ) -> None:
        self._socket = _bind("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        try:
            made = app if app is not None else make(self.url) if make is not None else None
            if made is None:
                raise ConfigError("an application, or a function that makes one")
        except BaseException:
            self._socket.close()
            raise
        self._server = uvicorn.Server(_config(made))
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="blobkit-server", daemon=True)

    def _run(self) -> None:
        started = self._server.startup

        async def startup(sockets: list[socket.socket] | None = None) -> None:
            await started(sockets)
            self._ready.set()

        self._server.startup = startup  # type: ignore[method-assign]
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._ready.set()

    def start(self) -> Self:
        """Serve; returns when connections are accepted. Raises Unavailable when the server did not come up."""
        self._thread.start()
        self._ready.wait(30)
        if not self._server.started:
            raise Unavailable("the server did not start")
        return self

    def stop(self) -> None:
        """Finish what runs, and stop. Idempotent."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(30)
        self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
