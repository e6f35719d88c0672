"""Download by ranges, in parallel, into a temporary file that becomes the target only when it is whole."""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from blobkit.blobs import Checksum
from blobkit.errors import (
    BlobkitError,
    ChecksumMismatch,
    ConnectionFailed,
    InvalidArgument,
    PreconditionFailed,
    SourceChanged,
)
from blobkit.hashing import hasher
from blobkit.redaction import Secret
from blobkit.signed import SignedRequest
from blobkit.transfer.http import Http, Incoming, failure
from blobkit.transfer.progress import Meter, OnProgress
from blobkit.transfer.retry import Patience
from blobkit.transfer.source import BLOCK

__all__ = ["DownloadResult", "download"]

_CONTENT_RANGE: Final = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19})\Z")
_RANGE_SIZE: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """What arrived: where, how many bytes, the etag (as sent, with quotes) that pinned them, and the wall time."""

    path: Path
    size: int
    etag: str | None
    seconds: float


def download(
    request: SignedRequest | Secret | str,
    path: str | os.PathLike[str],
    *,
    checksum: Checksum | None = None,
    on_progress: OnProgress | None = None,
    concurrency: int = 4,
    range_size: int = _RANGE_SIZE,
    timeout: timedelta = timedelta(seconds=60),
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> DownloadResult:
    """Fetch an object to ``path``. A file that is there is replaced at the very end, or not at all.

    Args:
        request: A signed GET, or its URL.
        path: Where to.
        checksum: What the bytes must have; compared before the file appears.
        on_progress: Called as bytes arrive, from any thread, never twice at once.
        concurrency: Ranges at a time.
        range_size: Bytes of a range.
        timeout: Without a byte moving.
        patience: How often failures are tried again; each goes on where it broke off.
        sleep: How to wait.

    Raises:
        SourceChanged: The object was replaced while it was read.
        ChecksumMismatch: The bytes are not those that were promised.
        BlobNotFound, PermissionDenied, TransientError.
        OSError: The target cannot be written (a full disk); nothing is left behind.
    """
    if concurrency < 1 or range_size < 1:
        raise InvalidArgument("concurrency and range_size are at least 1")
    if isinstance(request, SignedRequest) and request.method != "GET":
        raise InvalidArgument(f"a signed {request.method} cannot be downloaded")
    url = (
        request.url.reveal()
        if isinstance(request, SignedRequest)
        else request.reveal()
        if isinstance(request, Secret)
        else request
    )
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    start = time.monotonic()
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with Http(concurrency, timeout.total_seconds()) as http:
            run = _Run(http, url, fd, Meter(on_progress, None, None), patience or Patience(), sleep)
            run.fetch(range_size, concurrency)
        if checksum is not None:
            _verify(fd, checksum)
        os.fsync(fd)
        os.replace(temporary, target)  # noqa: PTH105 - the system call by its name
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    finally:
        os.close(fd)
    return DownloadResult(target, run.size, run.etag, time.monotonic() - start)


class _Run:
    """One download: what the first answer said, and the ranges after it."""

    def __init__(
        self, http: Http, url: str, fd: int, meter: Meter, patience: Patience, sleep: Callable[[float], None]
    ) -> None:
        self._http = http
        self._url = url
        self._fd = fd
        self._meter = meter
        self._patience = patience
        self._sleep = sleep
        self._stop = threading.Event()
        self.size = 0
        self.etag: str | None = None
        self._known = False

    def fetch(self, range_size: int, concurrency: int) -> None:
        """The first range tells size and etag; the others follow in parallel, pinned to that etag."""
        reached = self._range(0, range_size)
        rest = range(reached, self.size, range_size)
        if not rest:
            return
        queue: Iterator[int] = iter(rest)
        lock = threading.Lock()
        first: list[BaseException] = []  # what failed; what follows it are only the ranges that were stopped

        def work() -> None:
            while not self._stop.is_set():
                with lock:
                    begin = next(queue, None)
                if begin is None:
                    return
                try:
                    self._range(begin, min(begin + range_size, self.size))
                except BaseException as error:
                    with lock:
                        first.append(error)
                    self._stop.set()
                    return

        workers = min(concurrency, len(rest))
        with ThreadPoolExecutor(workers, thread_name_prefix="blobkit-download") as pool:
            futures = [pool.submit(work) for _ in range(workers)]
            try:
                wait(futures)
            except BaseException:  # Ctrl-C: the threads must end before this one may
                self._stop.set()
                raise
        if first:
            raise first[0]

    def _range(self, begin: int, end: int) -> int:
        """Fetch ``[begin, end)``, after a failure go on where it broke off; returns how far the bytes are now.

        That is the whole object's size where the storage sends no ranges.
        """
        at, attempt = begin, 1
        while True:
            reached, error, asked = self._once(at, end)
            if error is None:
                self._meter.done()
                return reached
            attempt = 1 if reached > at else attempt
            at = reached
            seconds = self._patience.wait(attempt, error, asked)
            if seconds is None:
                raise error
            self._sleep(seconds)
            attempt += 1

    def _once(self, begin: int, end: int) -> tuple[int, BlobkitError | None, float | None]:
        headers = {"range": f"bytes={begin}-{end - 1}"}
        if self.etag is not None and not self.etag.startswith("W/"):
            headers["if-match"] = self.etag
        at = begin
        try:
            with self._http.open(self._url, headers) as incoming:
                stop = self._accept(incoming, begin, end)
                if stop is None:
                    answer = incoming.refused()
                    error = failure(answer)
                    if isinstance(error, PreconditionFailed):
                        error = SourceChanged("the object was replaced while it was read", http_status=412)
                    return at, error, answer.asked_to_wait
                while at < stop:
                    if self._stop.is_set():
                        return at, ConnectionFailed("stopped because another range failed", retryable=False), None
                    block = incoming.read(min(BLOCK, stop - at))
                    if not block:
                        return at, ConnectionFailed("the answer broke off"), None
                    _write(self._fd, block, at)
                    at += len(block)
                    self._meter.moved(len(block))
        except ConnectionFailed as broken:
            return at, broken, None
        return at, None, None

    def _accept(self, incoming: Incoming, begin: int, end: int) -> int | None:
        """Where the answer's bytes end, when it is what was asked for; None when it is a refusal."""
        found = _CONTENT_RANGE.match(incoming.headers.get("content-range", ""))
        if incoming.status == 416 and found and found[3] == "0":
            return begin  # an empty object has no first byte
        if incoming.status == 200 and begin == 0 and not self._known:
            self._learn(int(incoming.headers.get("content-length", "0")), incoming.headers.get("etag"))
            return self.size
        if incoming.status == 200:
            raise SourceChanged("the storage sent the whole object instead of a range of it")
        if incoming.status != 206:
            return None
        if found is None or found[1] is None or int(found[1]) != begin:
            raise SourceChanged("the storage sent another range than was asked for")
        etag = incoming.headers.get("etag")
        if not self._known:
            self._learn(int(found[3]), etag)
        elif int(found[3]) != self.size or (etag is not None and etag != self.etag):
            raise SourceChanged("the object was replaced while it was read")
        return int(found[2]) + 1

    def _learn(self, size: int, etag: str | None) -> None:
        self.size, self.etag, self._known = size, etag, True
        self._meter.total = size
        if size:
            _allocate(self._fd, size)


def _allocate(fd: int, size: int) -> None:
    """Take the room at once, so that a full disk shows before the first byte, where the system can."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
    else:
        os.ftruncate(fd, size)


def _write(fd: int, block: bytes, at: int) -> None:
    view = memoryview(block)
    while view:
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written


def _verify(fd: int, checksum: Checksum) -> None:
    digest, at = hasher(checksum.algorithm), 0
    while block := os.pread(fd, BLOCK, at):
        digest.update(block)
        at += len(block)
    if not checksum.same_as(Checksum(checksum.algorithm, digest.digest())):
        raise ChecksumMismatch("the bytes that arrived are not those that were promised")
