"""``blobkit get``: objects to this machine."""

from __future__ import annotations

import fnmatch
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Final

import typer

from blobkit.cli.moving import Concurrency, Job, LimitRate, Parallel, all_of, ways
from blobkit.cli.running import Run, command
from blobkit.cli.targets import Target, take_target
from blobkit.errors import (
    ChecksumMismatch,
    InvalidArgument,
    InvalidExpiry,
    InvalidKey,
    PluginMissing,
    SigningUnavailable,
    SourceChanged,
)

if TYPE_CHECKING:
    from blobkit.blobs import BlobInfo, Checksum
    from blobkit.hashing import Hasher
    from blobkit.signed import SignedRequest
    from blobkit.store import Store
    from blobkit.transfer.upload import Options

__all__ = ["get"]

_BLOCK: Final = 8 << 20
_LIFE: Final = timedelta(hours=12)
_STRONGEST_FIRST: Final = ("sha256", "crc64nvme", "crc32c", "sha1", "md5", "crc32")
_WILD: Final = re.compile(r"[*?\[]")
Progress = Callable[[int], None]


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
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Every object whose key starts so; FILE is a directory.")
    ] = False,
    concurrency: Concurrency = None,
    parallel: Parallel = 4,
    limit_rate: LimitRate = None,
) -> None:
    """Fetch an object. The file appears only when it is whole and its checksum is right; a large one can be resumed.

    A key with * or ? stands for every object that it matches. What an interrupted fetch left beside the file is gone on with
    when the same command is given again, as long as the object is the same.
    """
    wanted, rest = take_target(words, key_optional=recursive)
    if len(rest) > 1:
        raise InvalidArgument(f"one word too many: {rest[1]!r}", hint="TARGET [FILE]")
    to = rest[0] if rest else ""
    options = ways(concurrency, limit_rate)
    store = run.store(wanted.store)
    if recursive or (_WILD.search(wanted.key) and not store.exists(wanted.key)):
        _get_many(run, store, wanted, to, options, parallel, recursive=recursive)
        return
    if to == "-" and run.out.json:
        raise InvalidArgument("--json and the object cannot both go to standard output")
    info = store.stat(wanted.key)
    if to == "-":
        with run.out.progress(wanted.key, info.size) as progress:
            _stream(store, info, options, progress)
        return
    path = _destination(to, wanted.key)
    with run.out.progress(wanted.key, info.size) as progress:
        _get_one(run, store, info, path, options, progress)
    if run.out.json:
        from blobkit.cli import shapes

        run.out.value({"file": str(path), **shapes.blob(info)})
    else:
        run.out.line(str(path))


def _get_one(run: Run, store: Store, info: BlobInfo, path: Path, options: Options, progress: Progress) -> None:
    request = _signed(store, info)
    if request is None:
        with _appearing(path) as partial, partial.open("xb") as file:
            _fetch(store, info, file, progress)
            os.fsync(file.fileno())
        return
    from blobkit.transfer import download

    done = download(
        request,
        path,
        size=info.size,
        etag=info.etag,
        checksum=_digest(info)[1],
        resume=True,
        source_id=f"{sorted(store.config.location.items())} {store.prefix}{info.key}",
        on_progress=lambda event: progress(event.bytes_done),
        concurrency=options.concurrency,
        bandwidth=options.bandwidth,
        stop=options.stop,
    )
    if done.content_encoding is not None:
        run.out.note(f"{path}: the bytes are {done.content_encoding}-encoded, as they are stored")


def _get_many(
    run: Run, store: Store, wanted: Target, to: str, options: Options, parallel: int, *, recursive: bool
) -> None:
    """Every object below a prefix, or that a pattern matches, into a directory."""
    if to == "-":
        raise InvalidArgument("several objects cannot go to standard output")
    pattern = None if recursive else wanted.key
    prefix = wanted.key if pattern is None else pattern[: re.search(_WILD, pattern).start()]  # type: ignore[union-attr]
    base = prefix if recursive else prefix[: prefix.rfind("/") + 1]
    folder = Path(to or ".")

    def job(info: BlobInfo) -> Job:
        path = _below(folder, info.key.removeprefix(base))

        def move(progress: Progress) -> dict[str, object]:
            path.parent.mkdir(parents=True, exist_ok=True)
            _get_one(run, store, info, path, options, progress)
            return {"file": str(path), "key": info.key, "size": info.size}

        return Job(info.key, info.size, move)

    found = (info for info in store.list(prefix) if pattern is None or fnmatch.fnmatchcase(info.key, pattern))
    all_of(run, [job(info) for info in found], parallel, options)


def _below(folder: Path, name: str) -> Path:
    """A key's file in a directory: never outside of it, whatever the key says. Raises InvalidKey."""
    segments = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in segments):
        raise InvalidKey(f"the key {name!r} is no path below a directory", hint="fetch it alone, and name the FILE")
    return folder.joinpath(*segments)


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


def _signed(store: Store, info: BlobInfo) -> SignedRequest | None:
    """A signed URL for an object that is worth parallel ranges; None where that cannot be, or would not help."""
    from blobkit.backend import Feature

    if store.capabilities.has(Feature.DATA_PLANE) or not store.capabilities.has(Feature.SIGN_DOWNLOAD):
        return None  # an embedded store is read without a server
    if info.size <= 2 * _BLOCK:
        return None
    for life in (_LIFE, timedelta(minutes=15)):
        try:
            return store.sign_download(info.key, expires_in=life)
        except (InvalidExpiry, SigningUnavailable):
            continue  # credentials that may read, and cannot sign (for so long)
    return None


def _stream(store: Store, info: BlobInfo, options: Options, progress: Progress) -> None:
    """An object to standard output, in order."""
    request = _signed(store, info)
    if request is None:
        _fetch(store, info, sys.stdout.buffer, progress)
        sys.stdout.buffer.flush()
        return
    from blobkit.transfer import stream

    stream(
        request,
        sys.stdout.buffer,
        size=info.size,
        etag=info.etag,
        checksum=_digest(info)[1],
        bandwidth=options.bandwidth,
        on_progress=lambda event: progress(event.bytes_done),
    )


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
