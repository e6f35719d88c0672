"""A service that hands out plans, as :mod:`blobkit.transfer.service` describes it, on an embedded store."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from blobkit.errors import AlreadyExists, BlobkitError, NotFound
from blobkit.opening import open_store
from blobkit.planning import plan_chunk
from blobkit.plans import PlanLinks
from blobkit.serving import serve_in_thread
from blobkit.session import UploadSession
from blobkit.store import Store

AUTHORIZED = "Bearer s3rvice-t0ken"


@dataclass
class Api:
    """What the service was asked, and how it answers.

    ``mode``: how plans are made. ``fail``: statuses for the next requests, before they have any effect.
    """

    store: Store
    url: str = ""
    mode: str = "lazy"
    sessions: dict[str, UploadSession] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    completed: list[dict[str, object]] = field(default_factory=list)
    fail: list[int] = field(default_factory=list)
    chunk_size: int = 65536

    def begin(self, wanted: dict[str, object]) -> object:
        key, size = f"in/{wanted['filename']}", wanted["size"]
        assert isinstance(size, int)
        if self.mode == "single":
            return self.store.plan_upload(key, size).as_dict()
        session = self.store.start_upload(key, size=size, chunk_size=self.chunk_size, owner="u1")
        name = session.upload_id
        self.sessions[name] = session
        links = PlanLinks(
            sign=f"/uploads/{name}/chunks/{{n}}",
            list=f"/uploads/{name}",
            complete=f"/uploads/{name}/complete",
            abort=f"/uploads/{name}",
        )
        sign = "inline" if self.mode == "inline" else "lazy"
        return session.plan(sign=sign, links=links, id=name).as_dict()  # type: ignore[arg-type]  # one of the two

    def answer(self, method: str, path: str, said: dict[str, object]) -> object:
        _, _, *rest = path.partition("?")[0].split("/")
        if not rest:
            return self.begin(said)
        session = self.sessions.get(rest[0])
        if session is None:
            raise NotFound("no such upload")
        if method == "DELETE":
            session.abort()
            return {}
        if rest[1:] == ["complete"]:
            self.completed.append(said)
            receipts = said["receipts"]
            assert isinstance(receipts, dict)
            info = session.complete({int(number): str(receipt) for number, receipt in receipts.items()})
            return {"key": info.key, "size": info.size}
        if len(rest) == 3:
            item = plan_chunk(session.sign_chunks([int(rest[2])])[0])
            return {
                "n": item.number,
                "offset": item.offset,
                "size": item.size,
                "url": item.url,
                "headers": dict(item.headers),
                "expires_at": item.expires_at.isoformat(),
            }
        status = session.status()
        return {"state": status.state, "received": list(status.received), "received_bytes": status.received_bytes}


class Handler(BaseHTTPRequestHandler):
    """Speaks JSON."""

    protocol_version = "HTTP/1.1"
    api: Api

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Quiet."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.api.asked.append((self.command, self.path))
        status, said = self._decided(json.loads(body or b"{}"))
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _decided(self, said: dict[str, object]) -> tuple[int, object]:
        if self.headers.get("authorization") != AUTHORIZED:
            return 401, {"error": "unauthorized", "message": "who are you?"}
        if self.api.fail:
            return self.api.fail.pop(0), {"error": "unavailable"}
        try:
            return 200, self.api.answer(self.command, self.path, said)
        except NotFound:
            return 404, {"error": "not_found"}
        except AlreadyExists:
            return 409, {"error": "already_exists"}
        except BlobkitError as error:
            return 422, {"error": "refused", "message": error.message}

    def do_POST(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()


@contextmanager
def service(folder: Path) -> Iterator[Api]:
    """A service and its storage, each on a port of its own."""

    def opened(endpoint: str) -> Store:
        return open_store(f"local://{folder}/store?public_endpoint={endpoint}")

    with serve_in_thread(opened) as store:
        api = Api(store)
        handler: Callable[..., BaseHTTPRequestHandler] = type("Bound", (Handler,), {"api": api})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            api.url = f"http://127.0.0.1:{server.server_address[1]}/uploads"
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield api
            finally:
                server.shutdown()
                thread.join()
