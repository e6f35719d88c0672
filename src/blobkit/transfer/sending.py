"""Send chunks, each with a request of its own, some at a time and in any order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from blobkit.blobs import Checksum
from blobkit.chunking import Chunk
from blobkit.errors import BlobkitError, ChunkMismatch, TransientError
from blobkit.hashing import hasher
from blobkit.transfer.http import Outgoing
from blobkit.transfer.job import Job
from blobkit.transfer.outgoing import Means
from blobkit.transfer.refusals import Answer, session_failure
from blobkit.transfer.source import Source
from blobkit.transfer.workers import run_all

__all__ = ["DENIED", "OnReceipt", "Sending"]

DENIED = 403
OnReceipt = Callable[[int, str], None]


class Sending:
    """The chunks of one upload on their way.

    Args:
        means: Moves bytes.
        job: Signs, and says what counts as success.
        on_receipt: Told each chunk's receipt once the storage holds it.

    Attributes:
        receipts: What the storage answered for each chunk.
        sent: How many chunks were sent.
    """

    def __init__(self, means: Means, job: Job, on_receipt: OnReceipt | None = None) -> None:
        self._means = means
        self._job = job
        self._on_receipt = on_receipt
        self._lock = threading.Lock()
        self.receipts: dict[int, str] = {}
        self.sent = 0

    def chunks(self, data: Source, chunks: Iterable[Chunk]) -> None:
        """Send these chunks of a source. The first failure stops the others and is raised."""
        self.run(lambda chunk: self.one(chunk, data, chunk.offset), chunks)

    def run(self, work: Callable[[Chunk], int], chunks: Iterable[Chunk]) -> None:
        """Do this for each chunk, as many at a time as the storage bears and allows."""
        most = 1 if self._job.sequential else self._means.most
        run_all(work, chunks, self._means.gate, most, self._means.stop)

    def one(self, chunk: Chunk, data: Source, offset: int) -> int:
        """Send one chunk, whose bytes are at ``offset`` of the source, until the storage holds it; returns its size."""
        attempt, renewed, fresh, job, means = 1, False, False, self._job, self._means
        checksum = self._checksum(data, offset, chunk.size)
        while True:
            body, asked = means.body(data, offset, chunk.size), None
            try:
                request = job.signer.request(chunk.number, fresh=fresh, checksum=checksum)
                fresh = False
                headers = job.with_checksum(request.headers, checksum)
                content: Outgoing | bytes = body.content
                answer = means.http.send(request.method, request.url, headers, content, chunk.size)
                if answer.status in job.ok:
                    self._accept(chunk, answer)
                    body.arrived()
                    return chunk.size
                error, asked = session_failure(answer), answer.asked_to_wait
            except TransientError as broken:  # of the connection, or of whoever signs
                error = broken
            body.lost()
            if error.http_status == DENIED and job.signer.can_renew and not renewed:
                renewed = fresh = True  # it may only have expired on the way
                continue
            means.wait_or_raise(attempt, error, asked)
            attempt += 1

    def _checksum(self, data: Source, offset: int, size: int) -> Checksum | None:
        """The chunk's own checksum, where it must be known before the chunk leaves: that costs a reading of it."""
        if self._job.chunk_checksum is None:
            return None
        digest = hasher(self._job.chunk_checksum)
        for block in data.blocks(offset, size):
            digest.update(block)
        return Checksum(self._job.chunk_checksum, digest.digest())

    def _accept(self, chunk: Chunk, answer: Answer) -> None:
        receipt, value = self._job.receipt, None
        if receipt.kind == "header" and receipt.name is not None:
            value = answer.headers.get(receipt.name.lower())
            if value is None and receipt.required:
                raise _no_receipt(receipt.name, chunk)
        self._job.signer.forget(chunk.number)
        with self._lock:
            self.sent += 1
            if value is not None:
                self.receipts[chunk.number] = value.strip('"')
            if self._on_receipt is not None:
                self._on_receipt(chunk.number, (value or "").strip('"'))
        self._means.meter.done()


def _no_receipt(name: str, chunk: Chunk) -> BlobkitError:
    return ChunkMismatch(f"the storage gave no {name} for chunk {chunk.number}", wrong=[chunk.number])
