"""A small object storage of its own, over HTTP, whose every check can be taken away: what the kit must notice.

It signs nothing: :mod:`.toy` does. What it speaks is near enough to the real ones to walk the same paths of the kit: signed
headers and queries, form policies, parts with receipts, and sequential sessions behind a bearer URL.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from blobkit.blobs import UPLOAD_ID_KEY, BlobInfo, Checksum, Pin
from blobkit.errors import AlreadyExists, BlobNotFound, PreconditionFailed
from blobkit.spec import UploadSpec

META, SUM, RANGE, ID = "x-toy-meta-", "x-toy-sum-", "x-toy-size-range", "x-toy-upload-id"
STORED = ("cache-control", "content-disposition", "content-encoding", "x-toy-class")
OVERRIDES = {
    "response-type": "Content-Type",
    "response-disposition": "Content-Disposition",
    "response-cache": "Cache-Control",
}


def canonical(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> bytes:
    lines = [method, path, *(f"{name}={value}" for name, value in sorted(query.items()) if name != "sig")]
    return "\n".join([*lines, *(f"{name}:{value}" for name, value in sorted(headers.items()))]).encode()


@dataclass
class Blob:
    data: bytes
    headers: dict[str, str]
    etag: str
    modified: datetime
    upload_id: str | None = None


@dataclass
class Session:
    key: str
    upload_id: str
    started: datetime
    total: int | None
    chunk_sizes: dict[int, int] = field(default_factory=dict)
    parts: dict[int, bytes] = field(default_factory=dict)
    offset: int = 0
    data: bytes = b""
    spec: UploadSpec | None = None


@dataclass
class Toy:
    """The storage. ``without`` names the checks that are taken away."""

    secret: bytes = b"toy secret"
    wide: bool = False
    last_chunk: bool = False
    enforcing: bool = True
    without: frozenset[str] = frozenset()
    blobs: dict[str, Blob] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def checks(self, name: str) -> bool:
        return name not in self.without

    def name(self, key: str) -> str:
        return key if self.checks("normalised_keys") else key.lower().replace("//", "/")

    def sign(self, text: bytes, secret: bytes | None = None) -> str:
        return hmac.digest(secret or self.secret, text, "sha256").hex()

    def signed_path(self, path: str) -> str:
        return path if self.checks("key") else "/"

    def put(
        self,
        key: str,
        data: bytes,
        headers: Mapping[str, str],
        *,
        upload_id: str | None = None,
        absent: bool = False,
        match: Pin | None = None,
    ) -> Blob:
        with self.lock:
            key = self.name(key)
            old = self.blobs.get(key)
            if absent and old is not None:
                raise AlreadyExists("there is an object already", http_status=412)
            if match is not None and self.checks("if_match") and (old is None or old.etag != match.etag):
                raise PreconditionFailed("another object", http_status=412)
            kept = {n: v for n, v in headers.items() if n in STORED or n == "content-type" or n.startswith(META)}
            if not self.checks("lost_metadata"):
                kept = {n: v for n, v in kept.items() if not n.startswith(META)}
            blob = Blob(data, kept, uuid.uuid4().hex, datetime.now(UTC), upload_id)
            self.blobs[key] = blob
            return blob

    def get(self, key: str) -> Blob:
        with self.lock:
            found = self.blobs.get(self.name(key))
        if found is None:
            if not self.checks("not_found"):
                raise PreconditionFailed("the wrong error")
            raise BlobNotFound("no such object", http_status=404, code="NoSuchKey")
        return found

    def info(self, key: str, blob: Blob) -> BlobInfo:
        headers = blob.headers
        return BlobInfo(
            key=key,
            size=len(blob.data),
            etag=blob.etag,
            modified=blob.modified,
            content_type=headers.get("content-type"),
            metadata={
                n.removeprefix(META): v for n, v in headers.items() if n.startswith(META) and n != META + UPLOAD_ID_KEY
            },
            cache_control=headers.get("cache-control"),
            content_disposition=headers.get("content-disposition"),
            content_encoding=headers.get("content-encoding"),
            storage_class=headers.get("x-toy-class"),
            upload_id=blob.upload_id,
        )

    # --- sequential sessions ---

    def piece(self, session: Session, spans: str, data: bytes) -> int:
        """One request of a sequential session: 308 while more is expected, 200 when it became the object, 503 for a gap."""
        span, _, whole = spans.removeprefix("bytes ").partition("/")
        start = session.offset if span == "*" else int(span.partition("-")[0])
        if start > session.offset:
            return 503
        if whole != "*" and start + len(data) > int(whole):
            return 400
        session.data += data[session.offset - start :]
        session.offset = len(session.data)
        total = None if whole == "*" else int(whole)
        if total is not None and session.offset == total and (session.total in (None, total)):
            spec = session.spec or UploadSpec()
            self.put(session.key, session.data, headers_of(spec), upload_id=session.upload_id, absent=spec.if_absent)
            del self.sessions[session.upload_id]
            return 200
        return 308


def headers_of(spec: UploadSpec) -> dict[str, str]:
    values = {
        "content-type": spec.content_type,
        "cache-control": spec.cache_control,
        "content-disposition": spec.content_disposition,
        "content-encoding": spec.content_encoding,
        "x-toy-class": spec.storage_class,
        **{META + name: value for name, value in spec.metadata.items()},
    }
    return {name: value for name, value in values.items() if value is not None}


class Refused(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


# Which check guards which header: a mutant forgets to compare it.
GUARDS = {
    "content-length": "size", RANGE: "size_range", "content-type": "content_type", "if-none-match": "if_absent",
    "cache-control": "cache_control", "content-disposition": "content_disposition",
    "content-encoding": "content_encoding", "x-toy-class": "storage_class",
}  # fmt: skip


def guard_of(name: str) -> str:
    if name.startswith(META):
        return "metadata"
    return "checksum" if name.startswith(SUM) else GUARDS[name]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    toy: Toy

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self.answer(body)
        except Refused as refusal:
            self.reply(refusal.status, str(refusal).encode())
        except BlobNotFound:
            self.reply(404, b"no such object")
        except (AlreadyExists, PreconditionFailed):
            self.reply(412, b"precondition")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = handle_any  # noqa: N815 - their names

    def answer(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        if self.command == "OPTIONS":
            return self.reply(200 if self.toy.checks("cors") else 403, b"")
        key = unquote(parts.path.removeprefix("/"))
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if "session" in query:
            return self.bearer(query, body)
        if self.command == "POST" and not query:
            return self.form(body)
        self.authorise(parts.path, query)
        with self.toy.lock:
            if "part" in query:
                return self.part(query, body)
            match self.command:
                case "PUT":
                    return self.put(key, body)
                case "DELETE":
                    self.toy.blobs.pop(self.toy.name(key), None)
                    return self.reply(204, b"")
                case "GET" | "HEAD":
                    return self.get(key, query)
                case _:
                    raise Refused(405, "method")

    def authorise(self, path: str, query: dict[str, str]) -> None:
        toy = self.toy
        if "sig" not in query:
            raise Refused(403, "unsigned")
        listed = [name for name in query.get("x-toy-headers", "").split(";") if name]
        if toy.checks("signed_headers") and any(name not in self.headers for name in listed):
            raise Refused(403, "a header that was signed is not there")
        own = {name.lower() for name in self.headers if name.lower().startswith("x-toy-")}
        if toy.checks("unsigned_headers") and own - set(listed) and query.get("loose") != "1":
            raise Refused(403, "a header that is there was not signed")
        text = canonical(self.signed_method(query), toy.signed_path(path), query, self.signed(listed, query))
        if toy.checks("signature") and not hmac.compare_digest(toy.sign(text), query["sig"]):
            raise Refused(403, "signature")
        if toy.checks("expiry") and int(query["x-toy-expires"]) <= time.time():
            raise Refused(403, "expired")

    def signed_method(self, query: Mapping[str, str]) -> str:
        reading = self.command in ("GET", "HEAD")
        loose = not self.toy.checks("method") or (reading and not self.toy.checks("head"))
        return query["x-toy-method"] if loose or (self.toy.wide and self.command == "HEAD") else self.command

    def signed(self, listed: Sequence[str], query: Mapping[str, str]) -> dict[str, str]:
        """The signed headers as they were sent; a mutant takes some as they were signed."""
        said = json.loads(base64.urlsafe_b64decode(query["x-toy-said"]))
        headers = {name: self.headers.get(name, "") for name in listed}
        forgotten = {name for name in said if not self.toy.checks(guard_of(name))}
        if not self.toy.checks("signed_headers"):
            forgotten |= {name for name in said if name not in self.headers}
        return headers | {name: said[name] for name in forgotten}

    def constraints(self, headers: Mapping[str, str], body: bytes, *, form: bool = False) -> None:
        limits = headers.get(RANGE)
        if limits and self.toy.checks("form_size_range" if form else "size_range"):
            low, _, high = limits.partition(",")
            if not int(low) <= len(body) <= int(high or len(body)):
                raise Refused(400, "size")
        for name, value in headers.items():
            if name.startswith(SUM) and self.toy.checks("checksum"):
                algorithm = name.removeprefix(SUM)
                if Checksum.of(algorithm, body).base64 != value:
                    raise Refused(400, "checksum")

    def put(self, key: str, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.toy.enforcing:
            self.constraints(headers, body)
        absent = headers.get("if-none-match") == "*" and self.toy.checks("if_absent")
        blob = self.toy.put(key, body, headers, upload_id=headers.get(ID), absent=absent)
        self.reply(200, b"", {"ETag": f'"{blob.etag}"'})

    def get(self, key: str, query: Mapping[str, str]) -> None:
        blob = self.toy.get(key)
        shown = {
            "Content-Type": blob.headers.get("content-type", "application/octet-stream"),
            "ETag": f'"{blob.etag}"',
            **{name: value for name, value in blob.headers.items() if name in STORED[:3]},
        }
        if self.toy.checks("overrides"):
            shown |= {OVERRIDES[name]: value for name, value in query.items() if name in OVERRIDES}
        data, status, spans = blob.data, 200, self.headers.get("Range")
        if spans and self.command == "GET":
            low, _, high = spans.removeprefix("bytes=").partition("-")
            start = int(low) if low else max(0, len(data) - int(high))
            end = min(int(high) + 1, len(data)) if low and high else len(data)
            if start >= len(data) and self.toy.checks("unsatisfiable_range"):
                raise Refused(416, "range")
            shown["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
            data, status = data[start:end], 206
        self.reply(status, data, shown)

    def part(self, query: Mapping[str, str], body: bytes) -> None:
        session = self.toy.sessions.get(query["upload"])
        number = int(query["part"])
        if self.command != "PUT" and self.toy.checks("method"):
            raise Refused(405, "method")
        if session is None:
            raise Refused(404, "no such session")
        if query["sum"]:
            algorithm, _, value = query["sum"].partition(":")
            if self.toy.checks("commit_checksum") and Checksum.of(algorithm, body).base64 != value:
                raise Refused(400, "checksum")
        if not self.toy.checks("mixed_sessions"):
            for other in self.toy.sessions.values():
                if other.key == session.key:
                    other.parts[number] = body
        session.parts[number] = body
        if not self.toy.checks("early_commit"):
            self.toy.put(session.key, b"".join(session.parts[n] for n in sorted(session.parts)), {})
        self.reply(200, b"", {} if self.toy.wide else {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def bearer(self, query: Mapping[str, str], body: bytes) -> None:
        with self.toy.lock:
            session = self.toy.sessions.get(query["session"])
            if session is None:
                raise Refused(404, "no such session")
            if self.command not in ("PUT", "POST"):
                raise Refused(405, "method")
            status = self.toy.piece(session, self.headers["Content-Range"], body)
            held = {"Range": f"bytes=0-{session.offset - 1}"} if session.offset else {}
        self.reply(status, b"", held)

    def form(self, body: bytes) -> None:
        toy = self.toy
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        fields: dict[str, bytes] = {}
        for part in BytesParser().parsebytes(head + body).walk():
            name = part.get_param("name", header="content-disposition")
            if name:
                value = part.get_payload(decode=True)
                assert isinstance(value, bytes)
                fields[str(name)] = value
        data = fields.pop("file", b"")
        texts = {name: value.decode() for name, value in fields.items()}
        policy, signature = texts.pop("policy", ""), texts.pop("sig", "")
        if toy.checks("form_signature") and not hmac.compare_digest(toy.sign(policy.encode()), signature):
            raise Refused(403, "signature")
        if not policy:
            raise Refused(403, "no policy")
        said = json.loads(base64.b64decode(policy))
        if toy.checks("form_expiry") and said["expires"] <= time.time():
            raise Refused(403, "expired")
        if texts != said["fields"] and toy.checks("form_fields"):
            raise Refused(403, "fields")
        with toy.lock:
            headers = {name.lower(): value for name, value in texts.items()}
            self.constraints({**headers, **({RANGE: said["range"]} if said["range"] else {})}, data, form=True)
            toy.put(texts["key"], data, headers, upload_id=headers.get(ID))
        self.reply(204, b"")

    def reply(self, status: int, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if self.toy.checks("cors"):
            self.send_header("Access-Control-Allow-Origin", "*")
            for name in ("Methods", "Headers"):
                asked = self.headers.get(f"Access-Control-Request-{name.rstrip('s') if name == 'Methods' else name}")
                self.send_header(f"Access-Control-Allow-{name}", asked or "*")
            self.send_header("Access-Control-Expose-Headers", "ETag, Range")
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(data)


class ToyHttp:
    """The storage over HTTP on a free port of 127.0.0.1."""

    def __init__(self, toy: Toy) -> None:
        handler = type("ToyHandler", (Handler,), {"toy": toy})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def path_of(key: str) -> str:
    return "/" + quote(key, safe="/-_.~")
