"""The XML API, on hosts of either kind: ``/BUCKET/KEY``, or ``/KEY`` where the host names the bucket.

https://cloud.google.com/storage/docs/xml-api/overview
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from email.message import Message
from email.parser import BytesHeaderParser
from typing import Final
from urllib.parse import quote, unquote

from blobkit_gcs.testing.answers import Answer, content, header_conditions, header_properties, made, number
from blobkit_gcs.testing.checks import Checks
from blobkit_gcs.testing.engine import Engine, Preconditions, Properties, crc32c_of, md5_of
from blobkit_gcs.testing.failures import Failure
from blobkit_gcs.testing.identity import Identity
from blobkit_gcs.testing.multipart import Multipart
from blobkit_gcs.testing.resumable import Sessions, Start
from blobkit_gcs.testing.verification import Call, Verifier

__all__ = ["XmlApi", "place"]

_OVERRIDES: Final = {
    "response-content-disposition": "content-disposition",
    "response-content-type": "content-type",
}
_FORM_FIELDS: Final = {
    "content-type": "content_type",
    "cache-control": "cache_control",
    "content-disposition": "content_disposition",
    "content-encoding": "content_encoding",
    "x-goog-storage-class": "storage_class",
}


def place(call: Call) -> tuple[str, str]:
    """Bucket and key of a request. Raises 400."""
    bucket, key = call.bucket, call.path.removeprefix("/")
    if bucket is None:
        bucket, _, key = key.partition("/")
    try:
        return unquote(bucket, errors="strict"), unquote(key, errors="strict")
    except UnicodeDecodeError as error:
        raise Failure(400, "invalid", "The name is not UTF-8.", xml_code="InvalidURI") from error


class XmlApi:
    """Answers what signed URLs, forms and XML sessions ask."""

    def __init__(
        self,
        engine: Engine,
        identity: Identity,
        sessions: Sessions,
        multipart: Multipart,
        checks: Checks,
        now: Callable[[], datetime],
        endpoint: str,
    ) -> None:
        self._engine = engine
        self._identity = identity
        self._sessions = sessions
        self._multipart = multipart
        self._checks = checks
        self._now = now
        self._endpoint = endpoint
        self._verifier = Verifier(identity, checks)

    def handle(self, call: Call, body: bytes) -> Answer:
        """One request. Raises Failure."""
        bucket, key = place(call)
        if call.method == "POST" and not key and not call.query:
            return self._form(bucket, call, body)
        self._authorise(call)
        self._engine.bucket(bucket)
        if not key:
            if call.method == "GET" and call.parameter("uploads") is not None:
                return Answer(200, _XML, self._multipart.list_uploads(bucket, call.parameter("prefix") or ""))
            raise Failure(405, "methodNotAllowed", "The XML API of this server knows buckets by their uploads only.")
        if call.parameter("uploadId") is not None or call.parameter("uploads") is not None:
            return self._multiparts(call, bucket, key, body)
        if call.method == "POST" and (call.header("x-goog-resumable") or "").lower() == "start":
            return self._start(call, bucket, key)
        handler = _METHODS.get(call.method)
        if handler is None:
            raise Failure(405, "methodNotAllowed", "The method is not allowed here.")
        return handler(self, call, bucket, key, body)

    def _authorise(self, call: Call) -> None:
        if call.parameter("X-Goog-Algorithm") is not None or call.parameter("X-Goog-Signature") is not None:
            self._verifier.url(call, self._now())
        elif call.header("authorization") is not None:
            self._identity.check_token(call.header("authorization"))
        elif self._checks.token:
            raise Failure(403, "forbidden", "Anonymous caller does not have access to the object.")

    # --- objects ---

    def _get(self, call: Call, bucket: str, key: str, body: bytes) -> Answer:
        stored = self._engine.get(bucket, key, number(call.parameter("generation")))
        if self._checks.preconditions:
            header_conditions(call).check(stored)
        overrides = {header: value for name, header in _OVERRIDES.items() if (value := call.parameter(name))}
        return content(call, stored, overrides)

    def _put(self, call: Call, bucket: str, key: str, body: bytes) -> Answer:
        self._check_size(call, len(body))
        self._check_digests(call, body)
        conditions = header_conditions(call) if self._checks.preconditions else Preconditions()
        return made(self._engine.put(bucket, key, body, header_properties(call), conditions))

    def _delete(self, call: Call, bucket: str, key: str, body: bytes) -> Answer:
        conditions = header_conditions(call) if self._checks.preconditions else Preconditions()
        self._engine.delete(bucket, key, number(call.parameter("generation")), conditions)
        return Answer(204)

    def _check_size(self, call: Call, size: int) -> None:
        bounds = _bounds(call)
        if bounds is not None and self._checks.content_length_range and not bounds[0] <= size <= bounds[1]:
            code = "EntityTooLarge" if size > bounds[1] else "EntityTooSmall"
            raise Failure(400, "invalid", "Your proposed upload is of another size.", xml_code=code)

    def _check_digests(self, call: Call, body: bytes) -> None:
        said = call.header("x-goog-content-sha256")
        if said is not None and self._checks.content_sha256 and said != hashlib.sha256(body).hexdigest():
            raise Failure(400, "invalid", "The sha256 is of other content.", xml_code="XAmzContentSHA256Mismatch")
        given = [
            part.strip().partition("=")[::2] for part in (call.header("x-goog-hash") or "").split(",") if part.strip()
        ]
        wanted = [("md5", value)] if (value := call.header("content-md5")) else []
        for name, value in [*wanted, *given]:
            wrong = (name == "md5" and self._checks.md5 and value != md5_of(body)) or (
                name == "crc32c" and self._checks.crc32c and value != crc32c_of(body)
            )
            if wrong:
                raise Failure(
                    400, "invalid", f"The {name} you specified did not match what we received.", xml_code="BadDigest"
                )

    # --- sessions ---

    def _start(self, call: Call, bucket: str, key: str) -> Answer:
        """What is signed for the start holds for the whole session; the length range too."""
        session = self._sessions.open(
            Start(
                bucket,
                key,
                header_properties(call),
                header_conditions(call),
                bounds=_bounds(call),
                origin=call.header("origin"),
                xml=True,
            )
        )
        where = f"{self._endpoint}/{quote(bucket)}/{quote(key, safe='/~')}?upload_id={session.id}"
        return Answer(201, {"location": where, "x-guploader-uploadid": session.id})

    def _multiparts(self, call: Call, bucket: str, key: str, body: bytes) -> Answer:
        if self._checks.multipart_preconditions and any(name.startswith("x-goog-if-") for name, _ in call.headers):
            raise Failure(400, "notImplemented", "Preconditions are not supported here.", xml_code="NotImplemented")
        if call.method == "POST" and call.parameter("uploads") is not None:
            return Answer(200, _XML, self._multipart.start(bucket, key, header_properties(call)))
        upload = self._multipart.find(bucket, key, call.parameter("uploadId") or "")
        if call.method == "PUT":
            self._check_size(call, len(body))
            self._check_digests(call, body)
            etag = self._multipart.put_part(upload, call.parameter("partNumber") or "", body)
            return Answer(200, {"etag": etag, "x-goog-hash": f"crc32c={crc32c_of(body)}"})
        if call.method == "POST":
            stored, result = self._multipart.complete(upload, body)
            return Answer(
                200,
                {**_XML, "x-goog-generation": str(stored.generation), "x-goog-hash": f"crc32c={stored.crc32c}"},
                result,
            )
        if call.method == "DELETE":
            self._multipart.abort(upload)
            return Answer(204)
        if call.method == "GET":
            page = self._multipart.list_parts(upload, call.parameter("part-number-marker"), call.parameter("max-parts"))
            return Answer(200, _XML, page)
        raise Failure(405, "methodNotAllowed", "The method is not allowed here.")

    # --- forms ---

    def _form(self, bucket: str, call: Call, body: bytes) -> Answer:
        """POST policy: https://cloud.google.com/storage/docs/xml-api/post-object-forms."""
        fields, file, file_type = _parts(call, body)
        lower = {name.lower(): value for name, value in fields.items()}
        key = lower.get("key")
        if not key or file is None:
            raise Failure(400, "invalid", "The form needs a key and a file.", xml_code="InvalidArgument")
        self._verifier.form(bucket, fields, len(file), self._now())
        if (md5 := lower.get("content-md5")) is not None and self._checks.md5 and md5 != md5_of(file):
            raise Failure(400, "invalid", "The md5 you specified did not match what we received.", xml_code="BadDigest")
        values = {name: lower[field] for field, name in _FORM_FIELDS.items() if field in lower}
        properties = Properties(
            content_type=values.get("content_type") or file_type,
            cache_control=values.get("cache_control"),
            content_disposition=values.get("content_disposition"),
            content_encoding=values.get("content_encoding"),
            storage_class=values.get("storage_class", "STANDARD"),
            metadata={
                name.removeprefix("x-goog-meta-"): value
                for name, value in lower.items()
                if name.startswith("x-goog-meta-")
            },
        )
        conditions = Preconditions(generation=number(lower.get("x-goog-if-generation-match")))
        stored = self._engine.put(
            bucket, key, file, properties, conditions if self._checks.preconditions else Preconditions()
        )
        status = int(lower["success_action_status"]) if lower.get("success_action_status") in ("200", "201") else 204
        return Answer(
            status, {"etag": f'"{stored.xml_etag}"', "location": f"{self._endpoint}/{quote(bucket)}/{quote(key)}"}
        )


_XML: Final = {"content-type": "application/xml; charset=UTF-8"}
_METHODS: Final[dict[str, Callable[[XmlApi, Call, str, str, bytes], Answer]]] = {
    "GET": XmlApi._get,
    "HEAD": XmlApi._get,
    "PUT": XmlApi._put,
    "DELETE": XmlApi._delete,
}


def _bounds(call: Call) -> tuple[int, int] | None:
    """``x-goog-content-length-range: MIN,MAX``, in bytes."""
    wanted = call.header("x-goog-content-length-range")
    if wanted is None:
        return None
    low, _, high = wanted.partition(",")
    least, most = number(low.strip()), number(high.strip())
    if least is None or most is None:
        raise Failure(400, "invalid", "x-goog-content-length-range is MIN,MAX")
    return least, most


def _parts(call: Call, body: bytes) -> tuple[dict[str, str], bytes | None, str | None]:
    """Fields, file and the file's own type of a multipart/form-data body; what follows the file is ignored."""
    kind = Message()
    kind["content-type"] = call.header("content-type") or ""
    boundary = kind.get_boundary()
    if kind.get_content_type() != "multipart/form-data" or not boundary:
        raise Failure(400, "invalid", "Not a form.", xml_code="InvalidArgument")
    fields: dict[str, str] = {}
    mark = b"--" + boundary.encode()
    for part in (b"\r\n" + body).split(b"\r\n" + mark)[1:]:
        if part.startswith(b"--"):
            break
        head, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = BytesHeaderParser().parsebytes(head + b"\r\n\r\n")
        name = headers.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            raise Failure(400, "invalid", "A part of the form has no name.", xml_code="InvalidArgument")
        if name == "file":
            return fields, value, headers.get("content-type")
        fields[name] = value.decode("utf-8")
    return fields, None, None
