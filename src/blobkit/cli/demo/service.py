"""The service of the demo: it hands out plans to a client that knows its address and a token, as ``docs/transfer.md`` says.

What it does with a wish for an upload is the demo's: the client waits meanwhile. The receipts that a client brings at the end
are kept for the demo, which completes.
"""

from __future__ import annotations

import hmac
import json
import queue
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from blobkit.errors import BlobkitError, InvalidArgument, NotFound
from blobkit.plans import PlanLinks

if TYPE_CHECKING:
    from blobkit.plans import UploadPlan
    from blobkit.session import SessionStatus, UploadSession

__all__ = ["Service", "Wish", "serving"]

_MAX_BODY: Final = 64 << 20  # the receipts of as many chunks as there may be
_TOO_LONG: Final = 60.0  # seconds
_OFTEN: Final = 0.02


@dataclass(frozen=True, slots=True)
class Wish:
    """A client asks for an upload, and waits for its plan.

    Attributes:
        said: The file's name and size, as the client tells them.
        plan: To be set.
    """

    said: Mapping[str, Any]
    plan: Future[UploadPlan]


@dataclass
class Service:
    """What it knows, and was asked.

    Attributes:
        url: Its address.
        token: What a client has to show.
        session: The upload that it answers for; None while there is none.
        begins: Whether it takes wishes.
        told: What the last client was told that the storage holds; None until one asked.
        receipts: What the last client said that the storage had answered, by chunk number; None until one was done.
    """

    url: str
    token: str = field(repr=False)
    session: UploadSession | None = None
    begins: bool = True
    told: SessionStatus | None = None
    receipts: Mapping[int, str] | None = None
    _wishes: queue.SimpleQueue[Wish] = field(default_factory=queue.SimpleQueue, repr=False)
    _granted: list[Future[UploadPlan]] = field(default_factory=list, repr=False)

    def wish(self, alive: Callable[[], bool]) -> Wish | None:
        """The next wish; None when the client is not alive, and had none."""
        while True:
            living = alive()
            try:
                return self._wishes.get(timeout=_OFTEN)
            except queue.Empty:
                if not living:
                    return None

    def close(self) -> None:
        """Wishes that were not granted never will be."""
        for plan in self._granted:
            plan.cancel()

    def plan(self, session: UploadSession) -> UploadPlan:
        """The plan of a session: chunks are signed when the client asks, so that none of its URLs has to live for long."""
        here = f"/uploads/{session.upload_id}"
        links = PlanLinks(sign=f"{here}/chunks/{{n}}", list=here, complete=f"{here}/complete")
        return session.plan(sign="lazy", links=links, id=session.upload_id)

    def answer(self, method: str, path: str, said: Mapping[str, Any]) -> Mapping[str, object]:
        """What a request is answered. Raises NotFound, InvalidArgument, and what the store raises."""
        words = path.strip("/").split("/")
        if (method, words) == ("POST", ["uploads"]):
            if not self.begins:
                raise InvalidArgument("another upload was begun, and one was to be resumed")
            wish = Wish(said, Future())
            self._granted.append(wish.plan)
            self._wishes.put(wish)
            return wish.plan.result(_TOO_LONG).as_dict()
        session = self.session
        if session is None or words[:2] != ["uploads", session.upload_id]:
            raise NotFound("no such upload")
        match method, words[2:]:
            case "GET", []:
                self.told = status = self.held(session)
                return {
                    "state": status.state,
                    "received": list(status.received),
                    "received_bytes": status.received_bytes,
                }
            case "GET", ["chunks", number] if number.isdecimal():
                return self.signed(session, int(number))
            case "POST", ["complete"]:
                self.receipts = {int(number): str(receipt) for number, receipt in said.get("receipts", {}).items()}
                return {"key": session.key}
        raise InvalidArgument("no such request")

    def held(self, session: UploadSession) -> SessionStatus:
        """What the storage holds of an upload, asked now."""
        return session.status()

    def signed(self, session: UploadSession, number: int) -> Mapping[str, object]:
        """One chunk's request."""
        return session.sign_chunks([number])[0].as_dict()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _TOO_LONG
    disable_nagle_algorithm = True
    service: Service

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Nothing is logged."""

    def do_GET(self) -> None:
        """Every method comes here."""
        size = int(self.headers.get("content-length") or 0)
        known = hmac.compare_digest(self.headers.get("authorization") or "", f"Bearer {self.service.token}")
        if not known or not 0 <= size <= _MAX_BODY:
            self.close_connection = True
            self._say(400 if known else 401, {"error": "refused"})
            return
        try:
            self._say(200, self.service.answer(self.command, self.path, json.loads(self.rfile.read(size) or b"{}")))
        except NotFound as error:
            self._say(404, {"error": "not_found", "message": error.message})
        except BlobkitError as error:
            self._say(500 if error.retryable else 422, {"error": type(error).__name__, "message": error.message})

    def do_POST(self) -> None:
        """As the others."""
        self.do_GET()

    def _say(self, status: int, said: Mapping[str, object]) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: object) -> None:  # noqa: ANN401 - the parent's own
        """A client that was killed leaves its connection in the middle, and at the end nobody grants a wish."""
        if not isinstance(sys.exception(), OSError | CancelledError):
            super().handle_error(request, client_address)


@contextmanager
def serving() -> Iterator[Service]:
    """A service on a free port of 127.0.0.1 while the context lasts."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        service = Service(f"http://127.0.0.1:{server.server_address[1]}/uploads", secrets.token_urlsafe())
        server.RequestHandlerClass = type("Bound", (_Handler,), {"service": service})
        thread = threading.Thread(target=server.serve_forever, args=[_OFTEN], name="blobkit-demo", daemon=True)
        thread.start()
        try:
            yield service
        finally:
            service.close()
            server.shutdown()
            thread.join()
