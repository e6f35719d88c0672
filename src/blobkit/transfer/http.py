"""HTTP by urllib3: one pool for a transfer, no redirects, no retries of its own, and no URL in errors or logs."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, cast

from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    BlobNotFound,
    ChecksumMismatch,
    ClockSkew,
    ConnectionFailed,
    PermissionDenied,
    PluginMissing,
    PreconditionFailed,
    SessionExpired,
    SessionMismatch,
    SessionNotFound,
    Throttled,
    Unavailable,
)
from blobkit.redaction import redact
from blobkit.transfer.retry import retry_after
from blobkit.transfer.source import BLOCK

if TYPE_CHECKING:
    import urllib3

__all__ = ["Answer", "Http", "failure"]

_ERROR_BODY: Final = 64 * 1024
_CODE: Final = re.compile(r"<Code>([A-Za-z0-9_.]{1,64})</Code>|\"error\"\s*:\s*\"([a-z_]{1,64})\"")
_CLASSES: Final[Mapping[int, type[BlobkitError]]] = {
    401: PermissionDenied,
    403: PermissionDenied,
    404: BlobNotFound,
    409: SessionMismatch,
    410: SessionExpired,
    412: PreconditionFailed,
    408: Unavailable,
    429: Throttled,
}
_FINAL: Final = frozenset({501, 505})  # the server cannot do it, now or later
# Codes that say more than their status; each is one vendor's own word, so no two of them can be confused.
_CODES: Final[Mapping[str, type[BlobkitError]]] = {
    "BlobAlreadyExists": AlreadyExists,
    "UnauthorizedBlobOverwrite": AlreadyExists,
    "already_exists": AlreadyExists,
    "BadDigest": ChecksumMismatch,
    "checksum": ChecksumMismatch,
    "Md5Mismatch": ChecksumMismatch,
    "Crc64Mismatch": ChecksumMismatch,
    "XAmzContentChecksumMismatch": ChecksumMismatch,
    "NoSuchUpload": SessionNotFound,
    "RequestTimeTooSkewed": ClockSkew,
    "RequestTimeout": Unavailable,
    "SlowDown": Throttled,
    "ServerBusy": Throttled,
}
_CHATTY: Final = ("urllib3.connection", "urllib3.connectionpool", "urllib3.poolmanager", "urllib3.response")
_QUERY: Final = re.compile(r"\?[^\s\"'<>)]*")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, headers with lower-case names, and the start of the body when it was an error."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def asked_to_wait(self) -> float | None:
        """The seconds of Retry-After."""
        return retry_after(self.headers.get("retry-after"))


def failure(answer: Answer) -> BlobkitError:
    """The error that a refusing answer means. Its code is the provider's own; nothing of the URL is in it."""
    found = _CODE.search(answer.body.decode("utf-8", "replace"))
    code = answer.headers.get("x-ms-error-code") or (found and (found[1] or found[2])) or None
    kind = _CODES.get(code or "") or _CLASSES.get(answer.status, Unavailable if answer.status >= 500 else BlobkitError)
    request_id = answer.headers.get("x-amz-request-id") or answer.headers.get("x-ms-request-id")
    hint = "the URL may have expired" if answer.status == 403 else None
    return kind(
        f"the storage answered {answer.status}",
        code=code,
        http_status=answer.status,
        request_id=request_id,
        retryable=False if answer.status in _FINAL else None,
        hint=hint,
    )


class _Discreet(logging.Filter):
    """urllib3 logs the URLs that it requests, signature included: their queries are cut off while a request is ours.

    A filter on its loggers sees every record of the process, so it must know which threads are ours, and leave alone
    what the program around us asks of urllib3 by itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.local()

    @contextmanager
    def ours(self) -> Iterator[None]:
        """What this thread logs inside is about a signed URL."""
        self._thread.ours = True
        try:
            yield
        finally:
            self._thread.ours = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a record of ours; let every record through."""
        if getattr(self._thread, "ours", False):
            record.msg, record.args = _QUERY.sub("?***", redact(record.getMessage())), None
            record.exc_info = record.exc_text = None
        return True


_discreet: Final = _Discreet()


class Http:
    """A pool of connections. A context manager.

    Args:
        connections: As many as threads will use at once.
        timeout: Seconds without a byte before a connection counts as dead.

    Raises:
        PluginMissing: urllib3 is not installed.
    """

    def __init__(self, connections: int, timeout: float) -> None:
        try:
            import urllib3
        except ImportError as error:
            raise PluginMissing("moving bytes needs urllib3", hint='pip install "blobkit[transfer]"') from error
        for name in _CHATTY:
            logging.getLogger(name).addFilter(_discreet)  # the same filter is added only once
        self._errors = urllib3.exceptions
        self._pool = urllib3.PoolManager(
            num_pools=4,
            maxsize=connections,
            retries=urllib3.Retry(0, redirect=False, raise_on_status=False),
            timeout=urllib3.Timeout(connect=min(timeout, 20.0), read=timeout),
            blocksize=BLOCK,
        )

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Iterable[memoryview] | bytes | None, size: int
    ) -> Answer:
        """One request with a body of ``size`` bytes; the answer's body is read only if it is small.

        Raises:
            ConnectionFailed: No connection, no answer in time, or one that broke off.
        """
        sent = {**headers, "content-length": str(size)}
        try:
            with _discreet.ours():
                response = self._pool.request(
                    method,
                    url,
                    headers=sent,
                    body=cast("Iterable[bytes]", body),  # http.client sends any buffer as it is
                    preload_content=False,
                    redirect=False,
                    retries=False,
                )
                try:
                    data = response.read(_ERROR_BODY)
                    if not response.closed:  # a connection with bytes left in it is of no use to the next request
                        response.close()
                finally:
                    response.release_conn()
        except (self._errors.HTTPError, OSError) as error:
            raise _connection_failed(error) from None
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, data)

    def open(self, url: str, headers: Mapping[str, str]) -> Incoming:
        """A GET whose body is read piece by piece. Raises ConnectionFailed."""
        try:
            with _discreet.ours():
                response = self._pool.request(
                    "GET",
                    url,
                    headers={"accept-encoding": "identity", **headers},
                    preload_content=False,
                    decode_content=False,
                    redirect=False,
                    retries=False,
                )
        except (self._errors.HTTPError, OSError) as error:
            raise _connection_failed(error) from None
        return Incoming(response, (self._errors.HTTPError, OSError))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.clear()


class Incoming:
    """An answer whose body is being read. A context manager."""

    def __init__(self, response: urllib3.BaseHTTPResponse, errors: tuple[type[Exception], ...]) -> None:
        self._response = response
        self._errors = errors
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none at the end. Raises ConnectionFailed when it breaks off."""
        try:
            return self._response.read(size)
        except self._errors as error:
            raise _connection_failed(error) from None

    def refused(self) -> Answer:
        """The answer as one that carries an error."""
        return Answer(self.status, self.headers, self.read(_ERROR_BODY))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._response.closed:
            self._response.close()
        self._response.release_conn()


def _connection_failed(error: Exception) -> ConnectionFailed:
    """urllib3 puts the whole URL into its messages, so only the kind of failure goes on, and no cause."""
    names = [type(error).__name__]
    reason = getattr(error, "reason", None)
    if isinstance(reason, Exception):
        names.append(type(reason).__name__)
    certificate = "Certificate" in repr(reason) or "CERTIFICATE" in str(error)
    hint = "the server's certificate is not trusted here" if certificate else None
    return ConnectionFailed(redact(f"the connection failed: {', '.join(names)}"), hint=hint, retryable=not certificate)
