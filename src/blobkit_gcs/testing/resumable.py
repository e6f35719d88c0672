"""Resumable sessions: what one request means to them. https://cloud.google.com/storage/docs/performing-resumable-uploads.

A session's URI is all that is needed to use it. Bytes at offsets that are persisted already are ignored; a gap is 503; the
preconditions given at the start are judged at the end; the one who sends the last bytes may add metadata; a finished session
answers with its object again.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from blobkit_gcs.testing.checks import Checks
from blobkit_gcs.testing.engine import Engine, Preconditions, Properties, Stored, crc32c_of, md5_of
from blobkit_gcs.testing.failures import Failure

__all__ = ["Session", "Sessions", "Start"]

_QUANTUM: Final = 256 * 1024
_RANGE: Final = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)\Z")


@dataclass(frozen=True, slots=True)
class Start:
    """What a session is started for.

    Attributes:
        size: X-Upload-Content-Length.
        bounds: x-goog-content-length-range: least and most bytes.
        md5, crc32c: Base64, compared at the end.
        origin: Of the browser that will use it; without one, browsers get no CORS headers.
        xml: Started through the XML API, which answers in headers.
    """

    bucket: str
    key: str
    properties: Properties
    conditions: Preconditions = field(default_factory=Preconditions)
    size: int | None = None
    bounds: tuple[int, int] | None = None
    md5: str | None = None
    crc32c: str | None = None
    origin: str | None = None
    xml: bool = False


@dataclass(slots=True)
class Session:
    """One session.

    Attributes:
        data: What is persisted.
        done: The object, once it is finished.
        ended: ``cancelled`` or ``expired``.
    """

    id: str
    start: Start
    data: bytearray = field(default_factory=bytearray)
    done: Stored | None = None
    ended: str | None = None

    @property
    def range(self) -> str | None:
        """The Range header of an answer; None when nothing is persisted."""
        return f"bytes=0-{len(self.data) - 1}" if self.data else None


class Sessions:
    """All sessions."""

    def __init__(self, engine: Engine, checks: Checks) -> None:
        self._engine = engine
        self._checks = checks
        self._sessions: dict[str, Session] = {}

    def open(self, start: Start) -> Session:
        """A new session. Raises 404 for a bucket that is not there."""
        self._engine.bucket(start.bucket)
        session = Session(secrets.token_urlsafe(48), start)
        self._sessions[session.id] = session
        return session

    def find(self, upload_id: str) -> Session:
        """The session. Raises 404, 410."""
        session = self._sessions.get(upload_id)
        if session is None or session.ended == "cancelled":
            raise Failure(404, "notFound", "Upload session not found.", xml_code="NoSuchUpload")
        if session.ended == "expired":
            raise Failure(410, "gone", "The upload session has expired.", xml_code="NoSuchUpload")
        return session

    def expire_all(self) -> None:
        """As if a week had passed."""
        for session in self._sessions.values():
            session.ended = session.ended or ("expired" if session.done is None else None)

    def cancel(self, session: Session) -> None:
        """Forget it; a finished one stays finished."""
        if session.done is None:
            session.ended = "cancelled"
            session.data.clear()

    def receive(
        self, session: Session, content_range: str | None, body: bytes, added: Mapping[str, str], *, whole: bool = True
    ) -> Stored | None:
        """One request with bytes, or a question.

        Args:
            session: The session.
            content_range: The header.
            body: What arrived.
            added: Metadata that came with it.
            whole: Whether all of the body arrived; what arrived is persisted, in steps of 256 KiB.

        Returns:
            The object when it is finished, else None.

        Raises:
            Failure: 400, 412, 503.
        """
        if session.done is not None:
            return session.done
        first, last, total = _parsed(content_range, len(body))
        if not whole:
            self._persist(session, first or 0, body[: len(body) // _QUANTUM * _QUANTUM])
            return None
        if first is None:  # "bytes */N" finishes a session whose bytes are all there; "bytes */*" only asks
            if body:
                raise Failure(400, "invalid", "a question has no body")
            return self._finish(session, total, added) if total is not None and total == len(session.data) else None
        if last is None or len(body) != last - first + 1:
            raise Failure(400, "invalid", "Content-Range does not match the length of the body")
        if total is not None and last >= total:
            raise Failure(400, "invalid", "Content-Range reaches past the total size")
        declared = session.start.size
        if self._checks.session_size and declared is not None and (last >= declared or total not in (None, declared)):
            raise Failure(400, "invalid", f"the session was started for {declared} bytes")
        final = total is not None and last + 1 == total
        if not final and len(body) % _QUANTUM and self._checks.session_alignment:
            raise Failure(400, "invalid", "all chunks but the last are multiples of 256 KiB")
        self._persist(session, first, body)
        if final and len(session.data) == total:
            return self._finish(session, total, added)
        return None

    def _persist(self, session: Session, first: int, body: bytes) -> None:
        held = len(session.data)
        if first > held and self._checks.session_gap:
            raise Failure(503, "backendError", "Invalid request. There were holes between the bytes received.")
        session.data += body[max(0, held - first) :]

    def _finish(self, session: Session, total: int | None, added: Mapping[str, str]) -> Stored:
        start, data = session.start, bytes(session.data)
        if self._checks.session_size and start.size is not None and total != start.size:
            raise Failure(400, "invalid", f"the session was started for {start.size} bytes")
        if self._checks.content_length_range and start.bounds and not start.bounds[0] <= len(data) <= start.bounds[1]:
            raise Failure(400, "invalid", "Your proposed upload is of another size.", xml_code="EntityTooLarge")
        md5, crc32c = md5_of(data), crc32c_of(data)
        if self._checks.md5 and start.md5 not in (None, md5):
            raise Failure(400, "invalid", "Provided MD5 hash does not match", xml_code="BadDigest")
        if self._checks.crc32c and start.crc32c not in (None, crc32c):
            raise Failure(400, "invalid", "Provided CRC32C hash does not match", xml_code="BadDigest")
        properties = replace(start.properties, metadata={**start.properties.metadata, **added})
        conditions = start.conditions if self._checks.session_preconditions else Preconditions()
        sums = md5, crc32c
        session.done = self._engine.put(start.bucket, start.key, data, properties, conditions, sums=sums)
        session.data.clear()
        return session.done


def _parsed(content_range: str | None, length: int) -> tuple[int | None, int | None, int | None]:
    """First and last byte (None for a question), and the total (None when it is not known yet)."""
    if content_range is None:
        return 0, length - 1, length
    found = _RANGE.match(content_range.strip())
    if found is None:
        raise Failure(400, "invalid", f"Failed to parse Content-Range header: {content_range[:80]}")
    total = None if found[3] == "*" else int(found[3])
    if found[1] is None:
        return None, None, total
    return int(found[1]), int(found[2]), total
