"""What the strict server does: of each operation what the tests ask, with the conditions that S3 documents."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Mapping
from email import message_from_bytes
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from .strict_model import Refusal, Seen, StrictS3, Upload, Version
from .strict_rules import check_policy

__all__ = ["OPERATIONS", "operation_of"]

STORED: Final = (
    "content-type", "cache-control", "content-disposition", "content-encoding", "x-amz-storage-class", "expires",
    "x-amz-website-redirect-location", "content-language",
)  # fmt: skip
DIGESTS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "content-md5": lambda data: hashlib.md5(data, usedforsecurity=False).digest(),
    "x-amz-checksum-sha256": lambda data: hashlib.sha256(data).digest(),
    "x-amz-checksum-sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "x-amz-checksum-crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
}


def operation_of(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """The operation's name in boto3."""
    key = path.removeprefix("/").partition("/")[2]
    if not key:
        if method == "POST":
            return "DeleteObjects" if "delete" in query else "PostObject"
        if "uploads" in query:
            return "ListMultipartUploads"
        return "ListObjectVersions" if "versions" in query else "ListObjectsV2"
    copying = "x-amz-copy-source" in headers
    if "uploadId" in query:
        return {
            "PUT": "UploadPartCopy" if copying else "UploadPart",
            "GET": "ListParts",
            "POST": "CompleteMultipartUpload",
            "DELETE": "AbortMultipartUpload",
        }[method]
    if method == "POST":
        return "CreateMultipartUpload"
    if "tagging" in query:
        return "GetObjectTagging"
    if "retention" in query:
        return "GetObjectRetention"
    return {"PUT": "CopyObject" if copying else "PutObject", "GET": "GetObject", "HEAD": "HeadObject"}.get(
        method, "DeleteObject"
    )


def _key(seen: Seen) -> str:
    return unquote(seen.path).removeprefix("/media/")


def _stored(headers: Mapping[str, str]) -> dict[str, str]:
    return {n: v for n, v in headers.items() if n in STORED or n.startswith(("x-amz-meta-", "x-amz-server-side-"))}


def _check_digests(headers: Mapping[str, str], body: bytes) -> None:
    for name, digest in DIGESTS.items():
        if name in headers and base64.b64decode(headers[name]) != digest(body):
            raise Refusal(400, "BadDigest", f"The {name} you specified did not match what we received.")


def _check_conditions(server: StrictS3, seen: Seen, key: str) -> None:
    held, wanted = server.current(key), seen.headers.get("if-match")
    if seen.headers.get("if-none-match") == "*" and held is not None:
        raise Refusal(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    if wanted is not None and held is None:
        raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
    if wanted is not None and held is not None and wanted.strip('"') != held.etag:
        raise Refusal(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")


def _version(server: StrictS3, key: str, version: str | None) -> Version:
    if version is None:
        held = server.current(key)
        if held is None:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        return held
    for held in server.objects.get(key, ()):
        if held.id == version and not held.marker:
            return held
    raise Refusal(404, "NoSuchVersion", "The specified version does not exist.")


def _made(server: StrictS3, made: Version) -> dict[str, str]:
    return {"ETag": f'"{made.etag}"', **({"x-amz-version-id": made.id} if server.versioned else {})}


def _put_object(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    _check_digests(seen.headers, seen.body)
    _check_conditions(server, seen, _key(seen))
    made = server.put(_key(seen), seen.body, _stored(seen.headers), seen.headers.get("x-amz-tagging", ""))
    return 200, _made(server, made), b""


def _get_object(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    held = _version(server, _key(seen), seen.query.get("versionId"))
    wanted = seen.headers.get("if-match")
    if wanted is not None and wanted.strip('"') != held.etag:
        raise Refusal(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    data, status, headers = held.data, 200, {**held.headers, **_made(server, held)}
    headers["Last-Modified"] = held.modified.strftime("%a, %d %b %Y %H:%M:%S GMT")
    for name, value in seen.query.items():
        if name.startswith("response-"):
            headers[name.removeprefix("response-")] = value
    if "range" in seen.headers and seen.method == "GET":
        first, _, last = seen.headers["range"].removeprefix("bytes=").partition("-")
        if int(first) >= len(data):
            raise Refusal(416, "InvalidRange", "The requested range is not satisfiable")
        end = min(int(last) + 1 if last else len(data), len(data))
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(data)}"
        data, status = data[int(first) : end], 206
    return status, {**headers, "Content-Length": str(len(data))}, b"" if seen.method == "HEAD" else data


def _delete_object(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    key, version = _key(seen), seen.query.get("versionId")
    _check_conditions(server, seen, key)  # of the current version, whatever version is named
    if version is None and server.versioned:
        marker = server.put(key, b"")
        marker.marker = True
        return 204, {"x-amz-delete-marker": "true", "x-amz-version-id": marker.id}, b""
    versions = server.objects.get(key, [])
    for held in list(versions):
        if version in (None, held.id):
            if held.locked:
                raise Refusal(403, "AccessDenied", "Access Denied because object protected by object lock.")
            versions.remove(held)
    return 204, {}, b""


def _delete_objects(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    if not any(name in seen.headers for name in DIGESTS):
        raise Refusal(
            400, "InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*"
        )
    _check_digests(seen.headers, seen.body)
    parts = []
    for item in ET.fromstring(seen.body).iter("{http://s3.amazonaws.com/doc/2006-03-01/}Key"):
        key = item.text or ""
        if key.endswith("locked"):
            parts.append(
                f"<Error><Key>{escape(key)}</Key><Code>AccessDenied</Code><Message>object lock</Message></Error>"
            )
            continue
        server.objects.pop(key, None)
        parts.append(f"<Deleted><Key>{escape(key)}</Key></Deleted>")
    return 200, {}, f"<DeleteResult>{''.join(parts)}</DeleteResult>".encode()


def _source(server: StrictS3, seen: Seen) -> Version:
    path, _, version = seen.headers["x-amz-copy-source"].partition("?versionId=")
    held = _version(server, unquote(path).removeprefix("/").removeprefix("media/"), version or None)
    wanted = seen.headers.get("x-amz-copy-source-if-match")
    if wanted is not None and wanted.strip('"') != held.etag:
        raise Refusal(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    return held


def _copy_object(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    held = _source(server, seen)
    _check_conditions(server, seen, _key(seen))
    headers = {**held.headers, **{n: v for n, v in _stored(seen.headers).items() if not n.startswith("content-")}}
    made = server.put(_key(seen), held.data, headers, held.tags)
    body = f'<CopyObjectResult><ETag>"{made.etag}"</ETag></CopyObjectResult>'
    return 200, _made(server, made), body.encode()


def _create(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    server.ids += 1
    upload_id = f"upload-{server.ids}"
    server.uploads[upload_id] = Upload(_key(seen), _stored(seen.headers), seen.headers.get("x-amz-tagging", ""))
    body = f"<InitiateMultipartUploadResult><UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>"
    return 200, {}, body.encode()


def _upload(server: StrictS3, seen: Seen) -> Upload:
    upload = server.uploads.get(seen.query["uploadId"])
    if upload is None or upload.key != _key(seen):
        raise Refusal(404, "NoSuchUpload", "The specified multipart upload does not exist.")
    return upload


def _upload_part(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    _check_digests(seen.headers, seen.body)
    etag = hashlib.md5(seen.body, usedforsecurity=False).hexdigest()
    _upload(server, seen).parts[int(seen.query["partNumber"])] = (seen.body, etag)
    return 200, {"ETag": f'"{etag}"'}, b""


def _upload_part_copy(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    held, upload = _source(server, seen), _upload(server, seen)
    first, _, last = seen.headers["x-amz-copy-source-range"].removeprefix("bytes=").partition("-")
    data = held.data[int(first) : int(last) + 1]
    etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
    upload.parts[int(seen.query["partNumber"])] = (data, etag)
    return 200, {}, f'<CopyPartResult><ETag>"{etag}"</ETag></CopyPartResult>'.encode()


def _list_parts(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    upload, after = _upload(server, seen), int(seen.query.get("part-number-marker", 0))
    numbers = sorted(number for number in upload.parts if number > after)
    page, more = numbers[: server.page], len(numbers) > server.page
    items = "".join(
        f'<Part><PartNumber>{n}</PartNumber><Size>{len(upload.parts[n][0])}</Size><ETag>"{upload.parts[n][1]}"</ETag></Part>'
        for n in page
    )
    last = f"<NextPartNumberMarker>{page[-1]}</NextPartNumberMarker>" if more else ""
    return (
        200,
        {},
        f"<ListPartsResult><IsTruncated>{str(more).lower()}</IsTruncated>{last}{items}</ListPartsResult>".encode(),
    )


def _complete(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    upload, key = _upload(server, seen), _key(seen)
    _check_conditions(server, seen, key)
    space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    data, previous = b"", 0
    for item in ET.fromstring(seen.body).iter(f"{space}Part"):
        number, etag = int(item.findtext(f"{space}PartNumber") or 0), (item.findtext(f"{space}ETag") or "").strip('"')
        if upload.parts.get(number, (b"", ""))[1] != etag:
            raise Refusal(400, "InvalidPart", "One or more of the specified parts could not be found.")
        if number <= previous:
            raise Refusal(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
        data, previous = data + upload.parts[number][0], number
    if int(seen.headers.get("x-amz-mp-object-size", len(data))) != len(data):
        raise Refusal(400, "InvalidRequest", "The provided x-amz-mp-object-size does not match")
    made = server.put(key, data, upload.headers, upload.tags)
    made.etag += "-1"
    del server.uploads[seen.query["uploadId"]]
    body = f'<CompleteMultipartUploadResult><ETag>"{made.etag}"</ETag></CompleteMultipartUploadResult>'
    return 200, _made(server, made), body.encode()


def _abort(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    upload = _upload(server, seen)
    upload.parts.clear()
    if server.late_parts > 0:
        server.late_parts -= 1
        upload.parts[1] = (b"late", "late")
    else:
        del server.uploads[seen.query["uploadId"]]
    return 204, {}, b""


def _list_uploads(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    prefix = seen.query.get("prefix", "")
    rows = sorted((u.key, i) for i, u in server.uploads.items() if u.key.startswith(prefix))
    rows = [row for row in rows if row > (seen.query.get("key-marker", ""), seen.query.get("upload-id-marker", ""))]
    page, more = rows[: server.page], len(rows) > server.page
    items = "".join(f"<Upload><Key>{escape(key)}</Key><UploadId>{id_}</UploadId></Upload>" for key, id_ in page)
    marks = (
        f"<NextKeyMarker>{escape(page[-1][0])}</NextKeyMarker><NextUploadIdMarker>{page[-1][1]}</NextUploadIdMarker>"
    )
    body = f"<R><IsTruncated>{str(more).lower()}</IsTruncated>{marks if more else ''}{items}</R>"
    return 200, {}, body.encode()


def _list_objects(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    prefix, after = (
        seen.query.get("prefix", ""),
        seen.query.get("continuation-token") or seen.query.get("start-after", ""),
    )
    keys = sorted(
        (k for k in server.objects if k.startswith(prefix) and k > after and server.current(k)), key=str.encode
    )
    page, more = keys[: server.page], len(keys) > server.page
    items = ""
    for key in page:
        held = server.objects[key][-1]
        items += (
            f'<Contents><Key>{quote(key)}</Key><Size>{len(held.data)}</Size><ETag>"{held.etag}"</ETag>'
            f"<LastModified>{held.modified.isoformat()}</LastModified></Contents>"
        )
    token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
    body = f"<R><EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>{token}{items}</R>"
    return 200, {}, body.encode()


def _list_versions(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    prefix = unquote(seen.query.get("prefix", ""))
    rows = [
        (key, held) for key in sorted(server.objects) if key.startswith(prefix) for held in server.objects[key][::-1]
    ]
    start = int(seen.query.get("version-id-marker", 0))
    page, more = rows[start : start + server.page], len(rows) > start + server.page
    items = "".join(
        f"<{'DeleteMarker' if held.marker else 'Version'}><Key>{quote(key)}</Key><VersionId>{held.id}</VersionId>"
        f"</{'DeleteMarker' if held.marker else 'Version'}>"
        for key, held in page
    )
    marks = f"<NextVersionIdMarker>{start + server.page}</NextVersionIdMarker>" if more else ""
    marks += f"<NextKeyMarker>{quote(page[-1][0])}</NextKeyMarker>" if more else ""
    body = f"<R><EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>{marks}{items}</R>"
    return 200, {}, body.encode()


def _tags(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    pairs = parse_qsl(_version(server, _key(seen), seen.query.get("versionId")).tags, keep_blank_values=True)
    items = "".join(f"<Tag><Key>{escape(name)}</Key><Value>{escape(value)}</Value></Tag>" for name, value in pairs)
    return 200, {}, f"<Tagging><TagSet>{items}</TagSet></Tagging>".encode()


def _retention(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    body = "<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>2031-01-02T03:04:05Z</RetainUntilDate></Retention>"
    return 200, {}, body.encode()


def _post_object(server: StrictS3, seen: Seen) -> tuple[int, dict[str, str], bytes]:
    head = f"Content-Type: {seen.headers['content-type']}\r\n\r\n".encode()
    fields: dict[str, str] = {}
    data = b""
    parts: Any = message_from_bytes(head + seen.body).get_payload()
    for part in parts:
        name = str(part.get_param("name", header="content-disposition"))
        content: bytes = part.get_payload(decode=True)
        if name == "file":
            data = content
        else:
            fields[name] = content.decode()
    check_policy(server, fields, len(data))
    lower = {name.lower(): value for name, value in fields.items()}
    _check_digests(lower, data)
    made = server.put(fields["key"], data, _stored(lower))
    return 204, _made(server, made), b""


OPERATIONS: Final[Mapping[str, Callable[[StrictS3, Seen], tuple[int, dict[str, str], bytes]]]] = {
    "PutObject": _put_object,
    "GetObject": _get_object,
    "HeadObject": _get_object,
    "DeleteObject": _delete_object,
    "DeleteObjects": _delete_objects,
    "CopyObject": _copy_object,
    "CreateMultipartUpload": _create,
    "UploadPart": _upload_part,
    "UploadPartCopy": _upload_part_copy,
    "ListParts": _list_parts,
    "CompleteMultipartUpload": _complete,
    "AbortMultipartUpload": _abort,
    "ListMultipartUploads": _list_uploads,
    "ListObjectsV2": _list_objects,
    "ListObjectVersions": _list_versions,
    "GetObjectTagging": _tags,
    "GetObjectRetention": _retention,
    "PostObject": _post_object,
}
