"""``blobkit put | get``: bytes between this machine and a store."""

from __future__ import annotations

import io
import mimetypes
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Final

import typer

from blobkit.cli.objects import show_blob
from blobkit.cli.options import (
    CacheControl,
    ChecksumText,
    ContentType,
    Disposition,
    Encoding,
    IfAbsent,
    Metadata,
    StorageClass,
    TargetWords,
    spec_of,
)
from blobkit.cli.running import Run, command
from blobkit.cli.targets import several_targets, take_target
from blobkit.errors import (
    ChecksumMismatch,
    InvalidArgument,
    InvalidExpiry,
    PluginMissing,
    SigningUnavailable,
    SourceChanged,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from blobkit.blobs import BlobInfo, Checksum
    from blobkit.hashing import Hasher
    from blobkit.spec import UploadSpec
    from blobkit.store import Store

__all__ = ["get", "put"]

_BLOCK: Final = 8 << 20
_LIFE: Final = timedelta(hours=1)
_STRONGEST_FIRST: Final = ("sha256", "crc64nvme", "crc32c", "sha1", "md5", "crc32")
Progress = Callable[[int], None]


@command
def put(
    run: Run,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="What to store; - for standard input.", show_default=False)
    ],
    target: TargetWords,
    content_type: ContentType = None,
    checksum: ChecksumText = None,
    metadata: Metadata = None,
    cache_control: CacheControl = None,
    content_disposition: Disposition = None,
    content_encoding: Encoding = None,
    storage_class: StorageClass = None,
    if_absent: IfAbsent = False,
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", min=1, max=64, help="Parallel chunks of a large file.")
    ] = 4,
) -> None:
    """Store a file. A key that is missing or ends in / gets the file's name; the media type is guessed from it."""
    name = "" if file == "-" else Path(file).name
    (wanted,) = several_targets(target, exactly=1, last_key_optional=True)
    wanted = wanted.named(name)
    spec = spec_of(
        content_type=content_type or mimetypes.guess_type(name or wanted.key)[0],
        checksum=checksum,
        metadata=metadata,
        cache_control=cache_control,
        content_disposition=content_disposition,
        content_encoding=content_encoding,
        storage_class=storage_class,
        if_absent=if_absent,
    )
    store = run.store(wanted.store)
    with _local_file(file) as path, run.out.progress(name or wanted.key, path.stat().st_size) as progress:
        info = _stored(store, wanted.key, path, spec, concurrency, progress)
    show_blob(run, info)


@contextmanager
def _local_file(name: str) -> Iterator[Path]:
    """The file to send. Standard input goes to a temporary file first: its size has to be known, and chunks are retried."""
    if name != "-":
        yield Path(name)
        return
    with tempfile.NamedTemporaryFile(prefix="blobkit-put-") as spool:
        shutil.copyfileobj(sys.stdin.buffer, spool, _BLOCK)
        spool.flush()
        yield Path(spool.name)


class _Counted(io.FileIO):
    """A file that tells how far it has been read."""

    def __init__(self, path: Path, progress: Progress) -> None:
        super().__init__(path, "rb")
        self._progress = progress

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size)
        self._progress(self.tell())
        return data or b""

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        count = super().readinto(buffer)
        self._progress(self.tell())
        return count or 0


def _stored(store: Store, key: str, path: Path, spec: UploadSpec, concurrency: int, progress: Progress) -> BlobInfo:
    from blobkit.backend import Feature
    from blobkit.store import SINGLE_REQUEST

    size, largest = path.stat().st_size, store.capabilities.limits.max_put
    if not store.capabilities.has(Feature.DATA_PLANE):  # an embedded store takes any file at once, without a server
        largest = min(largest, SINGLE_REQUEST)
    if size <= largest:
        with _Counted(path, progress) as body:
            return store.write(key, body, spec=spec)
    return _in_chunks(store, key, path, size, spec, concurrency, progress)


def _in_chunks(
    store: Store, key: str, path: Path, size: int, spec: UploadSpec, concurrency: int, progress: Progress
) -> BlobInfo:
    from blobkit.transfer import upload

    session = store.start_upload(key, size=size, spec=spec, allow_session_life=True)
    try:
        upload(path, session, concurrency=concurrency, on_progress=lambda event: progress(event.bytes_done))
        return session.complete()
    except BaseException:
        session.abort()
        raise


@command
def get(
    run: Run,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET [FILE]",
            help="NAME:KEY, or STORE-URL KEY; then where to write: a file, a directory, - for standard output "
            "(default: the key's last segment, here).",
            show_default=False,
        ),
    ],
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", min=1, max=64, help="Parallel ranges of a large object.")
    ] = 4,
) -> None:
    """Fetch an object. The file appears only when it is whole and its checksum is right."""
    wanted, rest = take_target(words)
    if len(rest) > 1:
        raise InvalidArgument(f"one word too many: {rest[1]!r}", hint="TARGET [FILE]")
    to = rest[0] if rest else ""
    if to == "-" and run.out.json:
        raise InvalidArgument("--json and the object cannot both go to standard output")
    store = run.store(wanted.store)
    info = store.stat(wanted.key)
    if to == "-":
        with run.out.progress(wanted.key, info.size) as progress:
            _fetch(store, info, sys.stdout.buffer, progress)
        sys.stdout.buffer.flush()
        return
    path = _destination(to, wanted.key)
    with _appearing(path) as partial, run.out.progress(wanted.key, info.size) as progress:
        if not _fetch_by_url(store, info, partial, concurrency, progress):
            with partial.open("xb") as file:
                _fetch(store, info, file, progress)
                os.fsync(file.fileno())
    if run.out.json:
        from blobkit.cli import shapes

        run.out.value({"file": str(path), **shapes.blob(info)})
    else:
        run.out.line(str(path))


def _destination(to: str, key: str) -> Path:
    name = key.rpartition("/")[2]
    path = Path(to) if to else Path(name)
    if to and path.is_dir():
        path /= name
    if path.is_dir() or not path.name:
        raise InvalidArgument("the file is missing: the key ends in /", hint="TARGET FILE")
    return path


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A name beside ``path`` whose file takes its place when the context ends well, and vanishes otherwise."""
    partial = path.with_name(f".blobkit-{uuid.uuid4().hex}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _fetch_by_url(store: Store, info: BlobInfo, partial: Path, concurrency: int, progress: Progress) -> bool:
    """Fetch a large object in parallel ranges through a signed URL; False where that cannot be, or would not help."""
    from blobkit.backend import Feature

    if store.capabilities.has(Feature.DATA_PLANE) or not store.capabilities.has(Feature.SIGN_DOWNLOAD):
        return False  # an embedded store is read without a server
    if info.size <= 2 * _BLOCK:
        return False
    from blobkit.transfer import download

    try:
        request = store.sign_download(info.key, expires_in=_LIFE)
    except (InvalidExpiry, SigningUnavailable):
        return False  # credentials that may read, and cannot sign (for so long)
    _, expected = _digest(info)
    done = download(
        request,
        partial,
        checksum=expected,
        concurrency=concurrency,
        on_progress=lambda event: progress(event.bytes_done),
    )
    if done.size != info.size or (done.etag is not None and done.etag.strip('"') != info.etag):
        raise SourceChanged("the object was replaced meanwhile", key=info.key, hint="try again")
    return True


def _fetch(store: Store, info: BlobInfo, out: IO[bytes], progress: Progress) -> None:
    """The object's bytes, in order, pinned to one content, and compared with the checksum that the store keeps."""
    digest, expected = _digest(info)
    done = 0
    with store.open(info.key) as body:
        while block := body.read(_BLOCK):
            _write_all(out, block)
            if digest is not None:
                digest.update(block)
            done += len(block)
            progress(done)
    if done == info.size and (digest is None or expected is None or digest.digest() == expected.digest):
        return
    if store.stat(info.key).pin != info.pin:
        raise SourceChanged("the object was replaced meanwhile", key=info.key, hint="try again")
    raise ChecksumMismatch(f"the bytes are not those that were stored: {done} of {info.size} read", key=info.key)


def _write_all(out: IO[bytes], block: bytes) -> None:
    """Standard output is a raw file where Python runs unbuffered: it may take a part, and fail on the rest."""
    rest = memoryview(block)
    while rest:
        rest = rest[out.write(rest) :]


def _digest(info: BlobInfo) -> tuple[Hasher | None, Checksum | None]:
    """The strongest checksum that the store keeps and this machine can compute."""
    from blobkit.hashing import hasher

    for name in _STRONGEST_FIRST:
        expected = info.checksums.get(name)
        if expected is not None and not expected.composite:
            try:
                return hasher(name), expected
            except PluginMissing:
                continue
    return None, None
