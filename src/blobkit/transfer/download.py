"""Download by ranges, in parallel, into a temporary file that becomes the target only when it is whole."""

from __future__ import annotations

import errno
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from blobkit.blobs import Checksum
from blobkit.errors import ChecksumMismatch, InvalidArgument
from blobkit.hashing import hasher
from blobkit.redaction import Secret
from blobkit.signed import SignedRequest
from blobkit.transfer.fetching import Fetching, Pinned
from blobkit.transfer.http import Http
from blobkit.transfer.progress import Meter, OnProgress
from blobkit.transfer.retry import Patience
from blobkit.transfer.source import BLOCK
from blobkit.transfer.workers import Sleep

__all__ = ["DownloadResult", "download"]

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
    """

    path: Path
    size: int
    etag: str | None
    seconds: float
    checksum: Checksum | None = None


def download(
    request: SignedRequest | Secret | str,
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    etag: str | None = None,
    checksum: Checksum | str | None = None,
    on_progress: OnProgress | None = None,
    concurrency: int = 4,
    range_size: int = _RANGE_SIZE,
    timeout: timedelta = timedelta(seconds=60),
    patience: Patience | None = None,
    sleep: Sleep | None = None,
) -> DownloadResult:
    """Fetch an object to ``path``. A file that is there is replaced at the very end, or not at all.

    Args:
        request: A signed GET, or its URL.
        path: Where to.
        size: How many bytes the object must have; None takes what is there.
        etag: Which content is wanted, with or without quotes; None takes what is there first, and stays with it.
        checksum: What the bytes must have, compared before the file appears; or an algorithm, to be told what they have.
        on_progress: Called as bytes arrive, from any thread, never twice at once.
        concurrency: Ranges at a time.
        range_size: Bytes of a range.
        timeout: Without a byte moving.
        patience: How often failures are tried again; each goes on where it broke off.
        sleep: How to wait, given seconds; None waits, and wakes when the download has failed elsewhere.

    Raises:
        SourceChanged: The object was replaced while it was read, or is not the one that was asked for.
        ChecksumMismatch: The bytes are not those that were promised.
        BlobNotFound, PermissionDenied: The storage refused, for good.
        TransientError: It kept failing.
        Unsupported: The storage does not say where the object ends.
        InvalidArgument: Something that cannot be downloaded, or a target that is a directory.
        OSError: The target cannot be written (a full disk); nothing is left behind.
        PluginMissing: urllib3, or what the checksum needs, is not installed.
    """
    if concurrency < 1 or range_size < 1:
        raise InvalidArgument("concurrency and range_size are at least 1")
    if isinstance(request, SignedRequest) and request.method != "GET":
        raise InvalidArgument(f"a signed {request.method} cannot be downloaded")
    algorithm = checksum.algorithm if isinstance(checksum, Checksum) else checksum
    if algorithm is not None:
        hasher(algorithm)  # what cannot be computed is said before anything moves
    target = Path(path)
    if target.is_dir():
        raise InvalidArgument(f"{str(target)!r} is a directory")
    url, headers = _opened(request)
    start = time.monotonic()
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}.part")  # a name has 255 bytes at most
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with Http(concurrency, timeout.total_seconds()) as http:
            meter = Meter(on_progress, size, None)
            run = Fetching(http, url, headers, fd, Pinned(size, etag), meter, patience or Patience(), sleep)
            run.fetch(range_size, concurrency)
        digest = None if algorithm is None else _digest(fd, algorithm)
        if isinstance(checksum, Checksum) and digest is not None and not checksum.same_as(digest):
            raise ChecksumMismatch("the bytes that arrived are not those that were promised")
        os.fsync(fd)
        os.replace(temporary, target)  # noqa: PTH105 - the system call by its name
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    finally:
        os.close(fd)
    _sync_folder(target.parent)
    return DownloadResult(target, run.size, run.etag, time.monotonic() - start, digest)


def _opened(request: SignedRequest | Secret | str) -> tuple[str, dict[str, str]]:
    """The URL in clear, and the headers that were signed with it."""
    if isinstance(request, SignedRequest):
        return request.url.reveal(), dict(request.headers)
    return (request.reveal() if isinstance(request, Secret) else request), {}


def _digest(fd: int, algorithm: str) -> Checksum:
    digest, at = hasher(algorithm), 0
    while block := os.pread(fd, BLOCK, at):
        digest.update(block)
        at += len(block)
    return Checksum(algorithm, digest.digest())


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
