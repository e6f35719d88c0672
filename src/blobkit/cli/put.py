"""``blobkit put``: files of this machine to a store."""

from __future__ import annotations

import glob
import io
import mimetypes
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Final

import typer

from blobkit.cli import shapes
from blobkit.cli.moving import Concurrency, Job, LimitRate, Parallel, all_of, ways
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
    spec_of,
)
from blobkit.cli.resuming import noted, target_of
from blobkit.cli.running import Run, command
from blobkit.cli.targets import Target, is_url, several_targets
from blobkit.errors import InvalidArgument

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from blobkit.blobs import BlobInfo
    from blobkit.spec import UploadSpec
    from blobkit.store import Store
    from blobkit.transfer.upload import Options

__all__ = ["put"]

_BLOCK: Final = 8 << 20
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class _Source:
    """A file, and the key's end that it gets where the key is a folder."""

    path: Path
    name: str


@command
def put(
    run: Run,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE… TARGET",
            help="What to store (- for standard input; patterns; directories with --recursive), then where: NAME:KEY, or "
            "STORE-URL KEY.",
            show_default=False,
        ),
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Directories: every file below them, by its path from there.")
    ] = False,
    content_type: ContentType = None,
    checksum: ChecksumText = None,
    metadata: Metadata = None,
    cache_control: CacheControl = None,
    content_disposition: Disposition = None,
    content_encoding: Encoding = None,
    storage_class: StorageClass = None,
    if_absent: IfAbsent = False,
    concurrency: Concurrency = None,
    parallel: Parallel = 4,
    limit_rate: LimitRate = None,
) -> None:
    """Store files. A key that is missing or ends in / gets the file's name; the media type is guessed from it.

    A large file goes in chunks: when it is interrupted, the same command, or `blobkit resume`, goes on where it was.
    """
    names, wanted = _split(words)

    def spec(name: str) -> UploadSpec:
        return spec_of(
            content_type=content_type or mimetypes.guess_type(name)[0],
            checksum=checksum,
            metadata=metadata,
            cache_control=cache_control,
            content_disposition=content_disposition,
            content_encoding=content_encoding,
            storage_class=storage_class,
            if_absent=if_absent,
        )

    options = ways(concurrency, limit_rate)
    if names == ["-"]:
        wanted = wanted.named("")
        show_blob(run, _standard_input(run, wanted, spec(wanted.key), options))
        return
    sources = list(_sources(names, recursive=recursive))
    if len(sources) == 1 and not recursive:
        path = sources[0].path
        wanted = wanted.named(path.name)
        with run.out.progress(path.name, path.stat().st_size) as progress:
            show_blob(run, _stored(run, wanted, path, spec(path.name), options, progress))
        return
    if wanted.key and not wanted.key.endswith("/"):
        raise InvalidArgument("several files need a key that ends in /", hint=f"{wanted.key}/")
    if checksum is not None:
        raise InvalidArgument("--checksum is for one file")

    def job(source: _Source) -> Job:
        there = Target(wanted.store, wanted.key + source.name)

        def move(progress: Progress) -> dict[str, object]:
            info = _stored(run, there, source.path, spec(source.name), options, progress)
            return {"file": str(source.path), **shapes.blob(info)}

        return Job(source.name, source.path.stat().st_size, move)

    run.store(wanted.store)  # opened once, before the threads want it
    all_of(run, [job(source) for source in sources], parallel, options)


# --- what, and where to -----------------------------------------------------------------------------------------------


def _split(words: Sequence[str]) -> tuple[list[str], Target]:
    """The files, and the target: from the first URL on, or the last word."""
    at = next((place for place, word in enumerate(words) if place and is_url(word)), len(words) - 1)
    files = list(words[:at])
    if not files:
        raise InvalidArgument("a file and a target are needed", hint="blobkit put FILE… TARGET")
    if "-" in files and len(files) > 1:
        raise InvalidArgument("standard input goes alone")
    (target,) = several_targets(words[at:], exactly=1, last_key_optional=True)
    return files, target


def _sources(names: Sequence[str], *, recursive: bool) -> Iterator[_Source]:
    """The files that the words name. Raises InvalidArgument, OSError."""
    for name in names:
        path = Path(name)
        if path.is_dir():
            if not recursive:
                raise InvalidArgument(f"{name!r} is a directory", hint="--recursive")
            for found in sorted(path.rglob("*")):
                if found.is_file():
                    yield _Source(found, found.relative_to(path).as_posix())
        elif not path.exists() and glob.has_magic(name):
            for match in sorted(glob.glob(name, recursive=True)):  # noqa: PTH207 - it may be absolute
                if Path(match).is_file():
                    yield _Source(Path(match), Path(match).name)
        else:
            yield _Source(path, path.name)


# --- how --------------------------------------------------------------------------------------------------------------


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


def _in_one_request(store: Store, size: int) -> bool:
    from blobkit.backend import Feature
    from blobkit.store import SINGLE_REQUEST

    largest = store.capabilities.limits.max_put
    if not store.capabilities.has(Feature.DATA_PLANE):  # an embedded store takes any file at once, without a server
        largest = min(largest, SINGLE_REQUEST)
    return size <= largest


def _stored(run: Run, wanted: Target, path: Path, spec: UploadSpec, options: Options, progress: Progress) -> BlobInfo:
    """Store one file: at once, or in chunks that can be resumed."""
    store = run.store(wanted.store)
    if _in_one_request(store, path.stat().st_size):
        with _Counted(path, progress) as body:
            return store.write(wanted.key, body, spec=spec)
    from dataclasses import replace

    from blobkit.transfer.resumable import put_file

    journal, target = run.journal(), target_of(run, wanted)
    with noted(run, journal, path, target):
        stored = put_file(
            run.resumable_store(wanted.store),
            wanted.key,
            path,
            journal=journal,
            target=target,
            spec=spec,
            options=replace(options, on_progress=lambda event: progress(event.bytes_done)),
        )
    return stored.info


def _standard_input(run: Run, wanted: Target, spec: UploadSpec, options: Options) -> BlobInfo:
    """Store what comes, to an end that nobody knows: in chunks as they come, where it is more than one request's worth."""
    store = run.store(wanted.store)
    with run.out.progress(wanted.key, None) as progress, tempfile.TemporaryFile(prefix="blobkit-put-") as head:
        source = sys.stdin.buffer
        whole = _spooled(source, head, None if _in_one_request(store, 1 << 62) else _BLOCK)
        head.seek(0)
        if whole:
            return store.write(wanted.key, head, spec=spec)
        return _streamed(store, wanted.key, _Joined(head, source), spec, options, progress)


def _spooled(source: IO[bytes], into: IO[bytes], most: int | None) -> bool:
    """Copy the start; whether that was all."""
    if most is None:
        shutil.copyfileobj(source, into, _BLOCK)
        return True
    taken = 0
    while taken <= most:
        block = source.read(most + 1 - taken)
        if not block:
            return True
        into.write(block)
        taken += len(block)
    return False


class _Joined(io.RawIOBase):
    """What was read of a stream already, and then the rest of it."""

    def __init__(self, head: IO[bytes], rest: IO[bytes]) -> None:
        self._head: IO[bytes] | None = head
        self._rest = rest

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1, /) -> bytes:
        if self._head is not None:
            block = self._head.read(size)
            if block:
                return block
            self._head = None
        return self._rest.read(size)


def _streamed(
    store: Store, key: str, stream: _Joined, spec: UploadSpec, options: Options, progress: Progress
) -> BlobInfo:
    from blobkit.transfer import upload

    session = store.start_upload(key, spec=spec, allow_session_life=True)
    try:
        done = upload(
            stream,  # type: ignore[arg-type]  # readable in binary, as IO[bytes] is
            session,
            concurrency=options.concurrency,
            bandwidth=options.bandwidth,
            stop=options.stop,
            on_progress=lambda event: progress(event.bytes_done),
        )
        return session.complete(done.receipts, size=done.size)
    except BaseException:
        session.abort()  # a stream cannot be read again
        raise
