"""What the strict server answers when it refuses: the same failure in the words of the JSON API and of the XML API."""

from __future__ import annotations

import json
from typing import Final
from xml.sax.saxutils import escape

__all__ = ["Failure"]

_XML_CODES: Final = {
    400: "InvalidArgument",
    401: "AuthenticationRequired",
    403: "AccessDenied",
    404: "NoSuchKey",
    405: "MethodNotAllowed",
    409: "Conflict",
    411: "MissingContentLength",
    412: "PreconditionFailed",
    416: "InvalidRange",
    429: "SlowDown",
    500: "InternalError",
    503: "ServiceUnavailable",
}


class Failure(Exception):
    """A refusal.

    Args:
        status: HTTP status.
        reason: The JSON API's reason (``conditionNotMet``).
        message: For people.
        xml_code: The XML API's code (``SignatureDoesNotMatch``); by status when not given.
        details: More, for the XML answer's ``Details``.
        headers: Of the answer.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        xml_code: str | None = None,
        details: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {xml_code or reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.xml_code = xml_code or _XML_CODES.get(status, "InternalError")
        self.details = details
        self.headers = headers or {}

    def as_json(self) -> bytes:
        """https://cloud.google.com/storage/docs/json_api/v1/status-codes."""
        error = {"domain": "global", "reason": self.reason, "message": self.message}
        return json.dumps({"error": {"code": self.status, "message": self.message, "errors": [error]}}).encode()

    def as_xml(self) -> bytes:
        """https://cloud.google.com/storage/docs/xml-api/reference-status."""
        details = f"<Details>{escape(self.details)}</Details>" if self.details else ""
        return (
            "<?xml version='1.0' encoding='UTF-8'?>"
            f"<Error><Code>{self.xml_code}</Code><Message>{escape(self.message)}</Message>{details}</Error>"
        ).encode()
