"""Serve an embedded store's data plane over loopback, from a thread of this process."""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from blobkit.backend import ASGIApp

__all__ = ["LoopbackServer"]

_START: Final = 15.0


class LoopbackServer:
    """uvicorn in a thread, on a free port of 127.0.0.1. A context manager.

    The port is bound at once, so that a store can be opened with :attr:`endpoint` before its application exists.

    Attributes:
        endpoint: ``http://127.0.0.1:PORT``.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def start(self, app: ASGIApp) -> None:
        """Serve ``app``; return when it answers. Needs uvicorn (the ``local`` extra).

        Raises:
            RuntimeError: It does not start.
        """
        import uvicorn

        config = uvicorn.Config(
            app,
            log_level="critical",
            access_log=False,
            ws="none",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)

        def serve() -> None:
            try:
                server.run(sockets=[self._socket])
            except BaseException as error:
                self._failure = error

        self._thread = threading.Thread(target=serve, name="blobkit-testing-server", daemon=True)
        self._thread.start()
        self._server = server
        limit = time.monotonic() + _START
        while not server.started:
            if not self._thread.is_alive() or time.monotonic() > limit:
                raise RuntimeError("the data plane did not start") from self._failure
            self._stop.wait(0.005)

    def close(self) -> None:
        """Stop serving and release the port. Idempotent."""
        if self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_START)
            self._thread = None
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
