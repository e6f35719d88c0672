"""What can be uploaded or written: bytes, paths, open files. Each becomes a seekable stream and its size."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from blobkit.errors import ConstraintViolated, InvalidArgument
from blobkit.spec import MiB

__all__ = ["Uploadable", "opened", "opened_data", "spooled"]

Uploadable = bytes | bytearray | memoryview | str | os.PathLike[str] | IO[bytes]
"""What ``store.upload`` takes: bytes, a path, or an open seekable file."""


@contextmanager
def opened(source: Uploadable) -> Iterator[tuple[IO[bytes], int]]:
    """The source as a stream, and its size in bytes; a path is opened and closed. Raises InvalidArgument, OSError."""
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            yield file, os.fstat(file.fileno()).st_size
    else:
        with opened_data(source) as opened:
            yield opened


@contextmanager
def opened_data(data: bytes | bytearray | memoryview | IO[bytes]) -> Iterator[tuple[IO[bytes], int]]:
    """Bytes or an open file, from where it stands to its end. Raises InvalidArgument when it cannot seek."""
    if isinstance(data, bytes | bytearray | memoryview):
        yield io.BytesIO(data), len(data) if not isinstance(data, memoryview) else data.nbytes
        return
    if not hasattr(data, "read"):
        raise InvalidArgument(f"data is bytes or a binary file, not {type(data).__name__}")
    try:
        here = data.tell()
        end = data.seek(0, os.SEEK_END)
        data.seek(here)
    except (AttributeError, OSError) as error:
        raise InvalidArgument(
            "the file cannot seek, so its size is unknown", hint="start_upload() takes an unknown size"
        ) from error
    yield data, end - here


@contextmanager
def spooled(stream: IO[bytes], size: int) -> Iterator[IO[bytes]]:
    """The stream in a seekable temporary file, in memory while it is small."""
    with tempfile.SpooledTemporaryFile(max_size=8 * MiB) as file:
        shutil.copyfileobj(stream, file, MiB)
        if file.tell() != size:
            raise ConstraintViolated("size", expected=size, actual=file.tell())
        file.seek(0)
        yield file
