"""Send all in one request: a PUT, or a form with the file last."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Final

from blobkit.errors import AlreadyExists, BlobkitError, PreconditionFailed, TransientError
from blobkit.plans import PlanRequest
from blobkit.transfer.http import Outgoing
from blobkit.transfer.outgoing import Body, Means
from blobkit.transfer.refusals import failure
from blobkit.transfer.source import Slice, Source

__all__ = ["send_single"]

_NAME: Final = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})  # WHATWG HTML, multipart/form-data


def send_single(means: Means, data: Source, request: PlanRequest, *, deny: bool) -> None:
    """Send all of a source. ``deny``: an object that is there already is an error of its own.

    Raises:
        AlreadyExists: It is there; when an earlier attempt's reply was lost, it may be this upload's own.
    """
    attempt = 1
    while True:
        body, asked = means.body(data, 0, data.size), None
        headers, size = dict(request.headers), data.size
        content: Outgoing | bytes = body.content
        if request.fields is not None:
            form = _Form(request.fields, body)
            headers, size, content = form.headers(headers), form.size(size), form
        try:
            answer = means.http.send(request.method, request.url, headers, content, size)
            if answer.status in request.ok:
                body.arrived()
                means.meter.done()
                return
            error, asked = failure(answer), answer.asked_to_wait
        except TransientError as broken:
            error = broken
        body.lost()
        if isinstance(error, AlreadyExists) or (deny and isinstance(error, PreconditionFailed)):
            raise _exists(error, attempt)
        means.wait_or_raise(attempt, error, asked)
        attempt += 1


class _Form:
    """A multipart/form-data body (RFC 7578): the fields in order, the file last."""

    def __init__(self, fields: Mapping[str, str], body: Body) -> None:
        self._boundary = secrets.token_hex(16)
        head = "".join(
            f'--{self._boundary}\r\nContent-Disposition: form-data; name="{name.translate(_NAME)}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        head += f'--{self._boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'
        self._first, self._last = head.encode(), f"\r\n--{self._boundary}--\r\n".encode()
        self._body = body
        self._frame = len(self._first)  # bytes of the frame that are not counted: they are none of the file's

    def headers(self, given: Mapping[str, str]) -> dict[str, str]:
        """The request's headers: the boundary is ours."""
        kept = {name: value for name, value in given.items() if name.lower() != "content-type"}
        return {**kept, "content-type": f"multipart/form-data; boundary={self._boundary}"}

    def size(self, content: int) -> int:
        """Bytes in all."""
        return len(self._first) + content + len(self._last)

    def __iter__(self) -> Iterator[memoryview | Slice]:
        yield memoryview(self._first)
        yield from self._body
        self._frame = len(self._last)
        yield memoryview(self._last)

    def sent(self, size: int) -> None:
        """So many bytes more have left, of the frame first."""
        frame = min(size, self._frame)
        self._frame -= frame
        if size > frame:
            self._body.sent(size - frame)


def _exists(error: BlobkitError, attempt: int) -> AlreadyExists:
    hint = "the first attempt's reply was lost, so it may be this very upload: ask the service" if attempt > 1 else None
    return AlreadyExists(
        "an object is at this key already",
        code=error.code,
        http_status=error.http_status,
        request_id=error.request_id,
        hint=hint,
    )
