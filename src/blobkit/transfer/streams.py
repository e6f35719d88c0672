"""Upload what has no known end: each chunk is spooled to an unnamed file, so that it can be sent again, and sent from there."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Final

from blobkit.blobs import Checksum
from blobkit.chunking import Chunk, ChunkPlan
from blobkit.errors import InvalidArgument, SourceChanged
from blobkit.hashing import hasher
from blobkit.transfer.job import Job
from blobkit.transfer.ordered import InOrder, Position
from blobkit.transfer.outgoing import Means
from blobkit.transfer.sending import Sending
from blobkit.transfer.source import BLOCK, FileSource

__all__ = ["Stream", "send_stream"]

_NONE: Final = b""


class Stream:
    """A stream, taken chunk by chunk; by one thread at a time.

    Args:
        file: Open for reading in binary; reading may block.
        algorithm: The checksum to compute on the way; None for none.

    Attributes:
        size: Bytes taken so far.
    """

    def __init__(self, file: IO[bytes] | io.BufferedIOBase, algorithm: str | None) -> None:
        if isinstance(file, io.TextIOBase):
            raise InvalidArgument("the file is open as text", hint='open(path, "rb")')
        self._file = file
        self._digest = None if algorithm is None else hasher(algorithm)
        self._algorithm = algorithm
        self._ahead = _NONE
        self.size = 0
        self.ended = False

    def take(self, size: int, into: IO[bytes]) -> int:
        """Spool up to ``size`` bytes; fewer only at the end. Raises SourceChanged when the stream breaks."""
        taken = 0
        while taken < size and (block := self._read(min(BLOCK, size - taken))):
            into.write(block)
            taken += len(block)
        into.flush()
        self.size += taken
        return taken

    def more(self) -> bool:
        """Whether anything is left; waits for it."""
        if not self._ahead:
            self._ahead = self._fetch(1)
        return bool(self._ahead)

    def checksum(self) -> Checksum | None:
        """The checksum of what was taken."""
        if self._digest is None or self._algorithm is None:
            return None
        return Checksum(self._algorithm, self._digest.digest())

    def _read(self, size: int) -> bytes:
        block, self._ahead = self._ahead, _NONE
        return block or self._fetch(size)

    def _fetch(self, size: int) -> bytes:
        if self.ended:
            return _NONE
        try:
            block: bytes | None = self._file.read(size)
        except OSError as error:
            raise SourceChanged(f"the stream cannot be read any more: {error.strerror}") from error
        if block is None:
            raise InvalidArgument("the stream is non-blocking, and has nothing to read now")
        self.ended = not block
        if self._digest is not None:
            self._digest.update(block)
        return block


def send_stream(means: Means, job: Job, sending: Sending, stream: Stream, plan: ChunkPlan) -> None:
    """Send all of a stream as the session's chunks. Raises InvalidArgument when it is longer than the plan can hold."""
    if job.content_range:
        _ordered(means, job, stream, plan)
        return
    spools: dict[int, tuple[ExitStack, FileSource]] = {}

    def chunks() -> Iterator[Chunk]:
        for chunk in _cut(stream, plan):
            closing = ExitStack()
            spool = closing.enter_context(_spool())
            taken = stream.take(chunk.size, spool)
            if not taken and chunk.number > 1:
                closing.close()
                return
            spools[chunk.number] = closing, FileSource(spool.fileno())
            yield Chunk(chunk.number, chunk.offset, taken)

    def send(chunk: Chunk) -> int:
        closing, data = spools.pop(chunk.number)
        with closing:
            return sending.one(chunk, data, 0)

    try:
        sending.run(send, chunks())
    finally:
        for closing, _ in spools.values():
            closing.close()


def _ordered(means: Means, job: Job, stream: Stream, plan: ChunkPlan) -> None:
    """To one bearer URL: the last chunk must say that it is the last, so one byte is read ahead."""
    line = InOrder(means, job)
    for chunk in _cut(stream, plan):
        with _spool() as spool:
            taken = stream.take(chunk.size, spool)
            total = None if stream.more() else chunk.offset + taken
            part = Chunk(chunk.number, chunk.offset, taken)
            position = Position(means.meter, [part], max(taken, 1), chunk.offset)
            line.part(FileSource(spool.fileno()), chunk.offset, position, total)
        if total is not None:
            return


@contextmanager
def _spool() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile(prefix="blobkit-") as file:
        yield file


def _cut(stream: Stream, plan: ChunkPlan) -> Iterator[Chunk]:
    """The plan's chunks until the stream ends; an empty stream has one, where the provider wants one."""
    for chunk in plan:
        if chunk.number == 1 and not plan.empty_chunk and not stream.more():
            return
        if stream.ended and chunk.number > 1:
            return
        yield chunk
    if stream.more():
        raise InvalidArgument(f"the stream is longer than the session can hold: {plan.capacity} bytes")
