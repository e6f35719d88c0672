"""What every way of sending shares: the means, a body that is counted as it leaves, and waiting before another attempt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from blobkit.blobs import Checksum
from blobkit.errors import BlobkitError, ChecksumMismatch, ConnectionFailed
from blobkit.hashing import Hasher
from blobkit.transfer.digests import Digest
from blobkit.transfer.http import Http
from blobkit.transfer.pace import Bandwidth, Climb
from blobkit.transfer.progress import Meter
from blobkit.transfer.retry import Patience
from blobkit.transfer.source import Slice, Source
from blobkit.transfer.workers import Gate, Sleep, Stop, sleeper

__all__ = ["Body", "Means"]


@dataclass(slots=True)
class Means:
    """How one transfer moves bytes.

    Attributes:
        http: Moves them.
        meter: Counts them.
        patience: How often failures are tried again.
        stop: Ends it all.
        asked_sleep: How waits are spent; None: until another fails.
        climb: How many chunks at once.
        most: How many there may ever be at once.
        bandwidth: The most bytes a second; None for as many as there are.
        digest: The checksum that is computed on the way; None for none.
        expected: What it must be; None where nobody promised anything.
    """

    http: Http
    meter: Meter
    patience: Patience
    stop: Stop
    asked_sleep: Sleep | None
    climb: Climb
    most: int
    bandwidth: Bandwidth | None = None
    digest: Digest | None = None
    expected: Checksum | None = None
    sleep: Sleep = field(init=False)
    gate: Gate = field(init=False)

    def __post_init__(self) -> None:
        self.sleep = sleeper(self.asked_sleep, self.stop)
        self.gate = Gate(self.climb, self.stop)
        self.stop.also(self.http.abort)

    def wait_or_raise(self, attempt: int, error: BlobkitError, asked: float | None) -> None:
        """Wait before another attempt; raise the error where there is to be none."""
        seconds = self.patience.wait(attempt, error, asked)
        if seconds is None:
            raise error
        self.gate.aside(self.sleep, seconds)
        if self.stop.is_set():
            raise error

    def body(self, data: Source, offset: int, size: int) -> Body:
        """The bytes ``[offset, offset + size)`` of a source, once."""
        return Body(self, data, offset, size)


class Body:
    """Bytes on their way out, once: counted as they leave, digested if wanted, no faster than allowed.

    Attributes:
        size: Bytes that have left.
        digest: What saw them all; None where nobody wants it.
    """

    def __init__(self, means: Means, data: Source, offset: int, size: int) -> None:
        self._means = means
        self._data = data
        self._offset = offset
        self._planned = size
        self.size = 0
        self._seen_size = 0
        self.digest: Hasher | None = None if means.digest is None else means.digest.piece()

    @property
    def content(self) -> Body | bytes:
        """What to send: these bytes, or nothing at all."""
        return self if self._planned else b""

    def __iter__(self) -> Iterator[memoryview | Slice]:
        means = self._means
        if self.digest is None and means.bandwidth is None:
            pieces = self._data.pieces(self._offset, self._planned)
        else:
            pieces = self._seen()
        for piece in pieces:
            if means.stop.is_set():
                raise ConnectionFailed("stopped", retryable=False)
            yield piece

    def _seen(self) -> Iterator[memoryview]:
        """Blocks that pass through this process."""
        bandwidth = self._means.bandwidth
        for block in self._data.blocks(self._offset, self._planned):
            if self.digest is not None:
                self._add(self.digest, block)
            step = len(block) if bandwidth is None else bandwidth.block
            for at in range(0, len(block), step):
                part = block[at : at + step]
                if bandwidth is not None:
                    self._means.stop.wait(bandwidth.due(len(part)))
                yield part

    def _add(self, digest: Hasher, block: memoryview) -> None:
        """A request that is to be refused must lack its last block: what it stored could not be taken back."""
        digest.update(block)
        self._seen_size += len(block)
        expected = self._means.expected
        if expected is None or self._seen_size != self._data.size or self._planned != self._data.size:
            return
        if not expected.same_as(Checksum(expected.algorithm, digest.digest())):
            raise ChecksumMismatch("the source is not what its checksum promises", hint="nothing was stored")

    def sent(self, size: int) -> None:
        """So many bytes more have left."""
        self.size += size
        self._means.meter.moved(size)

    def lost(self) -> None:
        """What left did not arrive: it must leave again."""
        self._means.meter.lost(self.size)

    def arrived(self) -> None:
        """The other side holds all of it."""
        if self._means.digest is not None:
            self._means.digest.moved(self._offset, self._planned, self.digest)
