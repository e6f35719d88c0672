"""Download by ranges, in parallel, into a temporary file that becomes the target only when it is whole."""

from __future__ import annotations

import errno
import os
import ssl
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from blobkit.blobs import Checksum
from blobkit.errors import ChecksumMismatch, InvalidArgument, SourceChanged, TransientError
from blobkit.hashing import hasher
from blobkit.redaction import Secret
from blobkit.signed import SignedRequest
from blobkit.transfer.crc import COMBINABLE
from blobkit.transfer.digests import Combined, Digest
from blobkit.transfer.fetching import Fetching, Pinned
from blobkit.transfer.pace import Bandwidth
from blobkit.transfer.parts import Part
from blobkit.transfer.progress import OnProgress
from blobkit.transfer.retry import Patience
from blobkit.transfer.sinks import PipeSink
from blobkit.transfer.source import BLOCK, FileSource
from blobkit.transfer.upload import Options
from blobkit.transfer.workers import Sleep, Stop

__all__ = ["DownloadResult", "download", "stream"]

_RANGE_SIZE: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """What arrived.

    Attributes:
        path: Where it is.
        size: Bytes.
        etag: What pinned them, as it was sent, with quotes; None when the storage gave none.
        seconds: Wall time.
        checksum: The digest of the file, when one was asked for.
        content_encoding: What the bytes are encoded with (``gzip``), when they are: they are written as they are stored.
        resumed: Bytes that an earlier run had brought.
    """

    path: Path
    size: int
    etag: str | None
    seconds: float
    checksum: Checksum | None = None
    content_encoding: str | None = None
    resumed: int = 0


def download(
    request: SignedRequest | Secret | str,
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    etag: str | None = None,
    checksum: Checksum | str | None = None,
    resume: bool = False,
    source_id: str | None = None,
    range_size: int = _RANGE_SIZE,
    on_progress: OnProgress | None = None,
    concurrency: int | None = None,
    bandwidth: Bandwidth | float | None = None,
    timeout: timedelta = timedelta(seconds=60),
    patience: Patience | None = None,
    tls: ssl.SSLContext | None = None,
    stop: Stop | None = None,
    sleep: Sleep | None = None,
) -> DownloadResult:
    """Fetch an object to ``path``. A file that is there is replaced at the very end, or not at all.

    The bytes are those that are stored: an object that is kept compressed arrives compressed, and the result says so.

    Args:
        request: A signed GET, or its URL.
        path: Where to.
        size: How many bytes the object must have; None takes what is there.
        etag: Which content is wanted, with or without quotes; None takes what is there first, and stays with it.
        checksum: What the bytes must have, compared before the file appears; or an algorithm, to be told what they have.
        resume: Leave what has arrived when it cannot go on now, and go on with what an earlier run left, if the object is still
            the same. Needs a strong etag; one run at a time (another one at once fetches its own copy).
        source_id: What names the object across runs, without secrets; the URL without its query when None.
        range_size: Bytes of a range.
        on_progress, concurrency, bandwidth, timeout, patience, tls, stop, sleep: See
            :class:`~blobkit.transfer.upload.Options`.

    Raises:
        SourceChanged: The object was replaced while it was read, or is not the one that was asked for.
        ChecksumMismatch: The bytes are not those that were promised.
        BlobNotFound, PermissionDenied: The storage refused, for good.
        TransientError: It kept failing; with ``resume`` the same call goes on later.
        Unsupported: The storage does not say where the object ends, or sends the client elsewhere.
        InvalidArgument: Something that cannot be downloaded, or a target that is a directory.
        OSError: The target cannot be written (a full disk); nothing is left behind.
        PluginMissing: What the checksum needs is not installed.
    """
    if range_size < 1:
        raise InvalidArgument("range_size is at least 1")
    options = Options(
        on_progress=on_progress,
        concurrency=concurrency,
        bandwidth=bandwidth,
        timeout=timeout,
        patience=patience,
        tls=tls,
        stop=stop,
        sleep=sleep,
    )
    algorithm = _algorithm(checksum)
    target = Path(path)
    if target.is_dir():
        raise InvalidArgument(f"{str(target)!r} is a directory")
    url, headers = _opened(request)
    start = time.monotonic()
    part = Part(target, (source_id or _without_query(url)) if resume else None)
    try:
        kept = 0 if part.size is None else part.size - sum(end - begin for begin, end in part.gaps)
        try:
            run, computed = _fetched(options, url, headers, part, Pinned(size, etag), range_size, kept, algorithm)
        except SourceChanged:
            if not kept:
                raise
            part.start_over()  # what an earlier run left is of an object that is no more
            kept = 0
            run, computed = _fetched(options, url, headers, part, Pinned(size, etag), range_size, kept, algorithm)
        digest = _digest(part.fd, algorithm, computed)
        if isinstance(checksum, Checksum) and digest is not None and not checksum.same_as(digest):
            raise ChecksumMismatch("the bytes that arrived are not those that were promised")
        part.publish()
    except BaseException as error:
        if part.resumable and (isinstance(error, TransientError) or not isinstance(error, Exception)):
            part.keep()
        else:
            part.discard()
        raise
    _sync_folder(target.parent)
    return DownloadResult(target, run.size, run.etag, time.monotonic() - start, digest, run.content_encoding, kept)


def _fetched(
    options: Options,
    url: str,
    headers: dict[str, str],
    part: Part,
    pinned: Pinned,
    range_size: int,
    kept: int,
    algorithm: str | None,
) -> tuple[Fetching, Digest | None]:
    """Bring what is missing; what was computed on the way."""
    with options.means(pinned.size, None) as means:
        means.digest = None if algorithm not in COMBINABLE else Combined(algorithm)
        if part.size is None or part.etag is None or not kept:
            run = Fetching(means, url, headers, part, pinned)
            run.fetch(range_size)
            return run, means.digest
        if pinned.size not in (None, part.size) or pinned.etag not in (None, part.etag, part.etag.strip('"')):
            raise SourceChanged("the object is not the one that an earlier run began with")
        run = Fetching(means, url, headers, part, Pinned(part.size, part.etag))
        means.meter.held(kept, 0)
        run.go_on(part.size, part.gaps, range_size)
        return run, means.digest


def stream(
    request: SignedRequest | Secret | str,
    out: IO[bytes],
    *,
    size: int | None = None,
    etag: str | None = None,
    checksum: Checksum | str | None = None,
    on_progress: OnProgress | None = None,
    bandwidth: Bandwidth | float | None = None,
    timeout: timedelta = timedelta(seconds=60),
    patience: Patience | None = None,
    tls: ssl.SSLContext | None = None,
    stop: Stop | None = None,
    sleep: Sleep | None = None,
) -> DownloadResult:
    """Fetch an object into a stream: in order, each byte once, from one content. After a failure it goes on where it was.

    Bytes leave as they come, so a wrong checksum shows only when they are all out.

    Args:
        request, size, etag, checksum: As of :func:`download`.
        out: Open for writing in binary; left open.
        on_progress, bandwidth, timeout, patience, tls, stop, sleep: See :class:`~blobkit.transfer.upload.Options`.

    Raises:
        As :func:`download`; OSError (BrokenPipeError) when ``out`` takes no more.
    """
    options = Options(
        on_progress=on_progress,
        concurrency=1,
        bandwidth=bandwidth,
        timeout=timeout,
        patience=patience,
        tls=tls,
        stop=stop,
        sleep=sleep,
    )
    algorithm = _algorithm(checksum)
    url, headers = _opened(request)
    start = time.monotonic()
    with options.means(size, None) as means:
        sink = PipeSink(out, algorithm)
        run = Fetching(means, url, headers, sink, Pinned(size, etag))
        run.in_order()
    out.flush()
    digest = sink.checksum()
    if isinstance(checksum, Checksum) and digest is not None and not checksum.same_as(digest):
        raise ChecksumMismatch("the bytes that were written are not those that were promised")
    return DownloadResult(Path(), run.size, run.etag, time.monotonic() - start, digest, run.content_encoding)


def _algorithm(checksum: Checksum | str | None) -> str | None:
    """What is to be computed; what cannot be is said before anything moves."""
    algorithm = checksum.algorithm if isinstance(checksum, Checksum) else checksum
    if algorithm is not None:
        hasher(algorithm)
    return algorithm


def _without_query(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _opened(request: SignedRequest | Secret | str) -> tuple[str, dict[str, str]]:
    """The URL in clear, and the headers that were signed with it. Raises InvalidArgument for what is no GET."""
    if isinstance(request, SignedRequest) and request.method != "GET":
        raise InvalidArgument(f"a signed {request.method} cannot be downloaded")
    if isinstance(request, SignedRequest):
        return request.url.reveal(), dict(request.headers)
    return (request.reveal() if isinstance(request, Secret) else request), {}


def _digest(fd: int, algorithm: str | None, digest: Digest | None) -> Checksum | None:
    """The file's checksum: from the ranges' own, else by reading what has just been written."""
    if algorithm is None:
        return None
    if digest is not None:
        return digest.result(FileSource(fd))
    found, at = hasher(algorithm), 0
    while block := os.pread(fd, BLOCK, at):
        found.update(block)
        at += len(block)
    return Checksum(algorithm, found.digest())


def _sync_folder(folder: Path) -> None:
    """The new name survives a power cut; where a folder cannot be synced, the system has it so."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EROFS):
            raise
    finally:
        os.close(fd)
