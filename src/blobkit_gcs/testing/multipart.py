"""XML API multipart uploads. https://cloud.google.com/storage/docs/multipart-uploads.

No preconditions there: a request that carries one is refused. Parts but the last have 5 MiB at least.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from blobkit_gcs.testing.checks import Checks
from blobkit_gcs.testing.engine import Engine, Preconditions, Properties, Stored
from blobkit_gcs.testing.failures import Failure

__all__ = ["Multipart", "Upload"]

_LEAST: Final = 5 * 1024 * 1024
_MOST: Final = 10_000
_NS: Final = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(slots=True)
class Upload:
    """One multipart upload; its parts by number, with their etags."""

    id: str
    bucket: str
    key: str
    properties: Properties
    started: datetime
    parts: dict[int, tuple[str, bytes]] = field(default_factory=dict)


class Multipart:
    """All multipart uploads."""

    def __init__(self, engine: Engine, checks: Checks) -> None:
        self._engine = engine
        self._checks = checks
        self._uploads: dict[str, Upload] = {}

    def start(self, bucket: str, key: str, properties: Properties) -> bytes:
        """InitiateMultipartUploadResult. Raises 404."""
        self._engine.bucket(bucket)
        upload = Upload(secrets.token_urlsafe(48), bucket, key, properties, datetime.now(UTC))
        self._uploads[upload.id] = upload
        return _xml(
            "InitiateMultipartUploadResult",
            f"<Bucket>{escape(bucket)}</Bucket><Key>{escape(key)}</Key><UploadId>{upload.id}</UploadId>",
        )

    def find(self, bucket: str, key: str, upload_id: str) -> Upload:
        """The upload. Raises 404."""
        upload = self._uploads.get(upload_id)
        if upload is None or (upload.bucket, upload.key) != (bucket, key):
            raise Failure(404, "notFound", "The requested upload was not found.", xml_code="NoSuchUpload")
        return upload

    def put_part(self, upload: Upload, number: str, body: bytes) -> str:
        """Store a part, in the place of one with the same number; its etag. Raises 400."""
        if not (number.isascii() and number.isdigit() and 1 <= int(number) <= _MOST):
            raise Failure(400, "invalid", "partNumber is 1 to 10000", xml_code="InvalidArgument")
        etag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        upload.parts[int(number)] = (etag, body)
        return etag

    def complete(self, upload: Upload, body: bytes) -> tuple[Stored, bytes]:
        """The object, and CompleteMultipartUploadResult. Raises 400."""
        listed = _listed(body)
        if self._checks.part_order and [number for number, _ in listed] != sorted({number for number, _ in listed}):
            raise Failure(400, "invalid", "The parts are not in ascending order.", xml_code="InvalidPartOrder")
        data: list[bytes] = []
        for index, (number, etag) in enumerate(listed, 1):
            known = upload.parts.get(number)
            if known is None or (self._checks.part_etag and known[0].strip('"') != etag.strip('"')):
                raise Failure(400, "invalid", f"Part {number} is another one, or missing.", xml_code="InvalidPart")
            if self._checks.part_size and index < len(listed) and len(known[1]) < _LEAST:
                raise Failure(400, "invalid", f"Part {number} is too small.", xml_code="EntityTooSmall")
            data.append(known[1])
        whole = b"".join(data)
        stored = self._engine.put(upload.bucket, upload.key, whole, upload.properties, Preconditions(), len(data))
        del self._uploads[upload.id]
        return stored, _xml(
            "CompleteMultipartUploadResult",
            f"<Bucket>{escape(upload.bucket)}</Bucket><Key>{escape(upload.key)}</Key>"
            f"<ETag>&quot;{stored.xml_etag}&quot;</ETag>",
        )

    def abort(self, upload: Upload) -> None:
        """Forget it and its parts."""
        del self._uploads[upload.id]

    def list_parts(self, upload: Upload, marker: str | None, most: str | None) -> bytes:
        """ListPartsResult, a page of it."""
        after, limit = int(marker or 0), min(1000, int(most or 1000))
        numbers = sorted(number for number in upload.parts if number > after)
        page = numbers[:limit]
        items = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(upload.parts[number][0], {chr(34): '&quot;'})}</ETag>"
            f"<Size>{len(upload.parts[number][1])}</Size></Part>"
            for number in page
        )
        more = len(numbers) > len(page)
        following = f"<NextPartNumberMarker>{page[-1]}</NextPartNumberMarker>" if more else ""
        return _xml(
            "ListPartsResult",
            f"<Bucket>{escape(upload.bucket)}</Bucket><Key>{escape(upload.key)}</Key><UploadId>{upload.id}</UploadId>"
            f"<PartNumberMarker>{after}</PartNumberMarker>{following}<MaxParts>{limit}</MaxParts>"
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{items}",
        )

    def list_uploads(self, bucket: str, prefix: str) -> bytes:
        """ListMultipartUploadsResult."""
        self._engine.bucket(bucket)
        found: Sequence[Upload] = sorted(
            (one for one in self._uploads.values() if one.bucket == bucket and one.key.startswith(prefix)),
            key=lambda one: (one.key, one.started),
        )
        items = "".join(
            f"<Upload><Key>{escape(one.key)}</Key><UploadId>{one.id}</UploadId>"
            f"<Initiated>{one.started.isoformat().replace('+00:00', 'Z')}</Initiated></Upload>"
            for one in found
        )
        return _xml(
            "ListMultipartUploadsResult", f"<Bucket>{escape(bucket)}</Bucket><IsTruncated>false</IsTruncated>{items}"
        )


def _listed(body: bytes) -> list[tuple[int, str]]:
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body or len(body) > 4 * 1024 * 1024:
        raise Failure(400, "invalid", "The XML is not well-formed.", xml_code="MalformedXML")
    try:
        root = ET.fromstring(body)  # noqa: S314 - without a document type there are no entities
        found = [
            (int(part.findtext("{*}PartNumber") or ""), part.findtext("{*}ETag") or "")
            for part in root.findall("{*}Part")
        ]
    except (ET.ParseError, ValueError) as error:
        raise Failure(400, "invalid", "The XML is not well-formed.", xml_code="MalformedXML") from error
    if not found:
        raise Failure(400, "invalid", "There are no parts.", xml_code="MalformedXML")
    return found


def _xml(name: str, inner: str) -> bytes:
    return f"<?xml version='1.0' encoding='UTF-8'?><{name} xmlns='{_NS}'>{inner}</{name}>".encode()
