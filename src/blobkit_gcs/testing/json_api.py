"""The JSON API, as far as google-cloud-storage needs it for objects. https://cloud.google.com/storage/docs/json_api/v1."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from email.message import Message
from email.parser import BytesHeaderParser
from itertools import islice
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from blobkit_gcs.testing.answers import META, Answer, content, made, number
from blobkit_gcs.testing.checks import Checks
from blobkit_gcs.testing.engine import Bucket, Engine, Preconditions, Properties, Stored, crc32c_of, md5_of
from blobkit_gcs.testing.failures import Failure
from blobkit_gcs.testing.identity import Identity
from blobkit_gcs.testing.resumable import Session, Sessions, Start
from blobkit_gcs.testing.verification import Call

__all__ = ["JsonApi", "resource"]

_OBJECT: Final = re.compile(r"(?:/(download|upload))?/storage/v1/b/([^/]+)/o(?:/(.+))?\Z")
_BUCKET: Final = re.compile(r"/storage/v1/b/([^/]+)\Z")
_REWRITE: Final = re.compile(r"(.+)/rewriteTo/b/([^/]+)/o/(.+)\Z")
_FIELDS: Final = {
    "contentType": "content_type",
    "cacheControl": "cache_control",
    "contentDisposition": "content_disposition",
    "contentEncoding": "content_encoding",
    "contentLanguage": "content_language",
    "storageClass": "storage_class",
    "metadata": "metadata",
}
_JSON: Final = {"content-type": "application/json; charset=UTF-8"}


def resource(stored: Stored, endpoint: str) -> dict[str, object]:
    """The object as the JSON API describes it; numbers of 64 bits are texts."""
    where = f"{quote(stored.bucket, safe='')}/o/{quote(stored.key, safe='')}"
    when = stored.created.isoformat().replace("+00:00", "Z")
    described: dict[str, object] = {
        "kind": "storage#object",
        "id": f"{stored.bucket}/{stored.key}/{stored.generation}",
        "selfLink": f"{endpoint}/storage/v1/b/{where}",
        "mediaLink": f"{endpoint}/download/storage/v1/b/{where}?generation={stored.generation}&alt=media",
        "name": stored.key,
        "bucket": stored.bucket,
        "generation": str(stored.generation),
        "metageneration": str(stored.metageneration),
        "size": str(stored.size),
        "crc32c": stored.crc32c,
        "etag": stored.etag,
        "timeCreated": when,
        "updated": (stored.updated or stored.created).isoformat().replace("+00:00", "Z"),
        "timeStorageClassUpdated": when,
    }
    if stored.md5 is not None:
        described["md5Hash"] = stored.md5
    if stored.components is not None:
        described["componentCount"] = stored.components
    for name, attribute in _FIELDS.items():
        value = getattr(stored.properties, attribute)
        if value is not None and value != {}:
            described[name] = dict(value) if isinstance(value, Mapping) else value
    return described


class JsonApi:
    """Answers what the SDK asks."""

    def __init__(self, engine: Engine, identity: Identity, sessions: Sessions, checks: Checks, endpoint: str) -> None:
        self._engine = engine
        self._identity = identity
        self._sessions = sessions
        self._checks = checks
        self._endpoint = endpoint
        self._rewrites: dict[str, int] = {}
        self.rewrite_step: int | None = None

    def handle(self, call: Call, body: bytes) -> Answer:
        """One request. Raises Failure."""
        if self._checks.token:
            self._identity.check_token(call.header("authorization"))
        if call.path.startswith("/batch/storage/v1"):
            return self._batch(call, body)
        if found := _BUCKET.match(call.path):
            return self._bucket(call, self._engine.bucket(unquote(found[1])))
        found = _OBJECT.match(call.path)
        if found is None:
            raise Failure(404, "notFound", "Not Found")
        bucket, name = unquote(found[2]), found[3]
        if found[1] == "upload":
            return self._upload(call, bucket, body)
        if name is None:
            return self._list(call, bucket)
        if rewrite := _REWRITE.match(name):
            return self._rewrite(call, (bucket, unquote(rewrite[1])), (unquote(rewrite[2]), unquote(rewrite[3])), body)
        return self._object(call, bucket, unquote(name), body)

    def _answer(self, stored: Stored, status: int = 200) -> Answer:
        return Answer(status, dict(_JSON), json.dumps(resource(stored, self._endpoint)).encode())

    def _conditions(self, call: Call, prefix: str = "if") -> Preconditions:
        if not self._checks.preconditions:
            return Preconditions()
        return Preconditions(
            number(call.parameter(f"{prefix}GenerationMatch")),
            number(call.parameter(f"{prefix}GenerationNotMatch")),
            number(call.parameter(f"{prefix}MetagenerationMatch")),
            number(call.parameter(f"{prefix}MetagenerationNotMatch")),
        )

    # --- buckets and objects ---

    def _bucket(self, call: Call, bucket: Bucket) -> Answer:
        if call.method != "GET":
            raise Failure(405, "methodNotAllowed", "Buckets are made by create_bucket().")
        described = {
            "kind": "storage#bucket",
            "id": bucket.name,
            "name": bucket.name,
            "location": "EU",
            "storageClass": "STANDARD",
            "versioning": {"enabled": bucket.versioning},
            "cors": list(bucket.cors),
        }
        return Answer(200, dict(_JSON), json.dumps(described).encode())

    def _object(self, call: Call, bucket: str, key: str, body: bytes) -> Answer:
        generation = number(call.parameter("generation"))
        if call.method == "DELETE":
            self._engine.delete(bucket, key, generation, self._conditions(call))
            return Answer(204)
        stored = self._engine.get(bucket, key, generation)
        if call.method == "PATCH":
            return self._answer(self._engine.patch(stored, _patched(stored, body), self._conditions(call)))
        if call.method != "GET":
            raise Failure(405, "methodNotAllowed", "The method is not allowed here.")
        self._conditions(call).check(stored)
        return content(call, stored, {}) if call.parameter("alt") == "media" else self._answer(stored)

    def _list(self, call: Call, bucket: str) -> Answer:
        prefix, delimiter = call.parameter("prefix") or "", call.parameter("delimiter") or ""
        start, end = (call.parameter("startOffset") or "").encode(), (call.parameter("endOffset") or "").encode()
        versions = (call.parameter("versions") or "").lower() == "true"
        most = min(1000, number(call.parameter("maxResults")) or 1000)
        after = b64decode(call.parameter("pageToken") or "").decode()
        rows: dict[str, Stored | None] = {}
        for stored in self._engine.listed(bucket, prefix, versions=versions):
            name = stored.key.encode()
            if name < start or (end and name >= end):
                continue
            rest = stored.key[len(prefix) :]
            if delimiter and delimiter in rest:
                rows[f"{prefix}{rest.partition(delimiter)[0]}{delimiter}\0"] = None
            else:
                rows[f"{stored.key}\0{stored.generation:020}"] = stored
        page = list(islice(((row, item) for row, item in rows.items() if row.encode() > after.encode()), most + 1))
        described: dict[str, object] = {"kind": "storage#objects"}
        items = [resource(item, self._endpoint) for _, item in page[:most] if item is not None]
        prefixes = [row[:-1] for row, item in page[:most] if item is None]
        if items:
            described["items"] = items
        if prefixes:
            described["prefixes"] = prefixes
        if len(page) > most:
            described["nextPageToken"] = b64encode(page[most - 1][0].encode()).decode()
        return Answer(200, dict(_JSON), json.dumps(described).encode())

    def _rewrite(self, call: Call, source: tuple[str, str], target: tuple[str, str], body: bytes) -> Answer:
        """https://cloud.google.com/storage/docs/json_api/v1/objects/rewrite: some bytes for each call, until it is done."""
        stored = self._engine.get(*source, number(call.parameter("sourceGeneration")))
        self._conditions(call, "ifSource").check(stored)
        self._conditions(call).check(self._engine.find(*target))
        token = call.parameter("rewriteToken")
        step = number(call.parameter("maxBytesRewrittenPerCall")) or self.rewrite_step or max(1, stored.size)
        moved = step
        if token is not None:
            made_for, _, _ = b64decode(token).decode().partition("|")
            if made_for != str(stored.generation) or token not in self._rewrites:
                raise Failure(400, "invalid", "The rewrite token is for another source.")
            moved = self._rewrites.pop(token) + step
        described: dict[str, object] = {"kind": "storage#rewriteResponse", "objectSize": str(stored.size)}
        if moved < stored.size:
            token = b64encode(f"{stored.generation}|{target[0]}/{target[1]}|{moved}".encode()).decode()
            self._rewrites[token] = moved
            described |= {"done": False, "totalBytesRewritten": str(moved), "rewriteToken": token}
        else:
            given = _loaded(body)
            properties = _properties(given) if any(name in given for name in _FIELDS) else stored.properties
            sums = stored.md5, stored.crc32c
            conditions = self._conditions(call)
            copy = self._engine.put(*target, stored.data, properties, conditions, stored.components, sums)
            described |= {
                "done": True,
                "totalBytesRewritten": str(stored.size),
                "resource": resource(copy, self._endpoint),
            }
        return Answer(200, dict(_JSON), json.dumps(described).encode())

    # --- uploads ---

    def _upload(self, call: Call, bucket: str, body: bytes) -> Answer:
        kind = call.parameter("uploadType")
        if call.method != "POST" or kind not in ("media", "multipart", "resumable"):
            raise Failure(400, "invalid", "uploadType is media, multipart or resumable")
        if kind == "resumable":
            return self._start(call, bucket, _loaded(body))
        if kind == "media":
            described: dict[str, object] = {"contentType": call.header("content-type")}
            data = body
        else:
            described, data, data_type = _related(call, body)
            described.setdefault("contentType", data_type)
        key = str(described.get("name") or call.parameter("name") or "")
        self._digests(described, data)
        return self._answer(self._engine.put(bucket, key, data, _properties(described), self._conditions(call)))

    def _digests(self, described: Mapping[str, object], data: bytes) -> None:
        md5, crc32c = described.get("md5Hash"), described.get("crc32c")
        wrong = (self._checks.md5 and md5 is not None and md5 != md5_of(data)) or (
            self._checks.crc32c and crc32c is not None and crc32c != crc32c_of(data)
        )
        if wrong:
            raise Failure(400, "invalid", "Provided hash does not match the content.")

    def _start(self, call: Call, bucket: str, described: Mapping[str, object]) -> Answer:
        key = str(described.get("name") or call.parameter("name") or "")
        if not key:
            raise Failure(400, "required", "Required parameter: name")
        properties = _properties({"contentType": call.header("x-upload-content-type"), **described})
        md5, crc32c = described.get("md5Hash"), described.get("crc32c")
        session = self._sessions.open(
            Start(
                bucket,
                key,
                properties,
                self._conditions(call),
                size=number(call.header("x-upload-content-length")),
                md5=None if md5 is None else str(md5),
                crc32c=None if crc32c is None else str(crc32c),
                origin=call.header("origin"),
            )
        )
        where = f"{self._endpoint}/upload/storage/v1/b/{quote(bucket, safe='')}/o"
        query = f"uploadType=resumable&name={quote(key, safe='')}&upload_id={session.id}"
        return Answer(200, {"location": f"{where}?{query}", "x-guploader-uploadid": session.id})

    def session(self, session: Session, call: Call, body: bytes, *, whole: bool) -> Answer:
        """One request to a session's URI, which is all the authority that it needs."""
        if call.method == "DELETE":
            self._sessions.cancel(session)
            return Answer(499, {"content-length": "0"})
        added = {name.removeprefix(META): value for name, value in call.headers if name.startswith(META)}
        done = self._sessions.receive(session, call.header("content-range"), body, added, whole=whole)
        if done is not None:
            return made(done) if session.start.xml else self._answer(done)
        headers = {} if session.range is None else {"range": session.range}
        if (call.header("x-guploader-no-308") or "").lower() == "yes":
            return Answer(200, {**headers, "x-http-status-code-override": "308"})
        return Answer(308, headers)

    # --- batches ---

    def _batch(self, call: Call, body: bytes) -> Answer:
        """https://cloud.google.com/storage/docs/batch: a multipart/mixed of HTTP requests, 100 at most."""
        answers: list[bytes] = []
        parts = _mixed(call.header("content-type"), body)
        if len(parts) > 100:
            raise Failure(400, "invalid", "The batch has more than 100 requests.")
        for headers, payload in parts:
            try:
                answer = self.handle(_inner(call, payload), payload.partition(b"\r\n\r\n")[2] or _tail(payload))
            except Failure as failure:
                answer = Answer(failure.status, dict(_JSON), failure.as_json())
            head = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
            ident = headers.get("content-id", "").strip("<>")
            answers.append(
                f"--batch_strict\r\nContent-Type: application/http\r\nContent-ID: <response-{ident}>\r\n\r\n"
                f"HTTP/1.1 {answer.status} X\r\n{head}Content-Length: {len(answer.body)}\r\n\r\n".encode()
                + answer.body
                + b"\r\n"
            )
        whole = b"".join(answers) + b"--batch_strict--\r\n"
        return Answer(200, {"content-type": "multipart/mixed; boundary=batch_strict"}, whole)


def _properties(described: Mapping[str, object]) -> Properties:
    values: dict[str, object] = {
        attribute: described[name] for name, attribute in _FIELDS.items() if described.get(name) is not None
    }
    metadata = values.pop("metadata", {})
    if not isinstance(metadata, Mapping):
        raise Failure(400, "invalid", "metadata is an object of texts")
    texts = {name: str(value) for name, value in values.items()}
    empty = Properties(metadata={str(name): str(value) for name, value in metadata.items()})
    return replace(empty, **texts)  # type: ignore[arg-type]  # metadata is not among the texts


def _patched(stored: Stored, body: bytes) -> Properties:
    """JSON merge: a null takes away."""
    given, old = _loaded(body), stored.properties
    changes: dict[str, object] = {
        attribute: given[name] for name, attribute in _FIELDS.items() if name in given and name != "metadata"
    }
    if "metadata" in given:
        metadata = given["metadata"]
        merged = {**old.metadata, **metadata} if isinstance(metadata, Mapping) else {}
        changes["metadata"] = {str(name): str(value) for name, value in merged.items() if value is not None}
    return replace(old, **changes)  # type: ignore[arg-type]  # texts and one mapping, by _FIELDS


def _loaded(body: bytes) -> dict[str, object]:
    if not body.strip():
        return {}
    try:
        value = json.loads(body)
    except ValueError as error:
        raise Failure(400, "parseError", "Parse Error") from error
    if not isinstance(value, dict):
        raise Failure(400, "parseError", "Parse Error")
    return value


def _mixed(content_type: str | None, body: bytes) -> list[tuple[Message, bytes]]:
    """The parts of a multipart body."""
    kind = Message()
    kind["content-type"] = content_type or ""
    boundary = kind.get_boundary()
    if not boundary:
        raise Failure(400, "badRequest", "A multipart body needs a boundary.")
    parts: list[tuple[Message, bytes]] = []
    for part in (b"\r\n" + _crlf(body, boundary)).split(b"\r\n--" + boundary.encode())[1:]:
        if part.startswith(b"--"):
            break
        head, _, payload = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        parts.append((BytesHeaderParser().parsebytes(head + b"\r\n\r\n"), payload))
    return parts


def _crlf(body: bytes, boundary: str) -> bytes:
    """Python's own MIME writer ends lines with a line feed alone."""
    return body if f"--{boundary}\r\n".encode() in body else body.replace(b"\n", b"\r\n")


def _related(call: Call, body: bytes) -> tuple[dict[str, object], bytes, str | None]:
    """A multipart/related upload: the description, the bytes and their type."""
    parts = _mixed(call.header("content-type"), body)
    if len(parts) != 2:
        raise Failure(400, "badRequest", "A multipart upload has two parts.")
    return _loaded(parts[0][1]), parts[1][1], parts[1][0].get("content-type")


def _inner(outer: Call, payload: bytes) -> Call:
    """The request in a part of a batch; what it does not say of itself, the batch does."""
    head = payload.partition(b"\r\n\r\n")[0].decode("utf-8")
    line, _, rest = head.partition("\r\n")
    method, _, target = line.partition(" ")
    url = urlsplit(target.rpartition(" HTTP/")[0])
    headers = [
        (name.strip().lower(), value.strip())
        for name, _, value in (item.partition(":") for item in rest.split("\r\n") if ":" in item)
    ]
    if not any(name == "authorization" for name, _ in headers):
        headers.append(("authorization", outer.header("authorization") or ""))
    return Call(method, url.path, parse_qsl(url.query, keep_blank_values=True), headers)


def _tail(payload: bytes) -> bytes:
    return payload.partition(b"\n\n")[2]
