"""Complete a session with the receipts in hand, and mend what a late echo of an earlier attempt has changed.

A chunk whose reply was slow is sent again. When the first attempt then takes effect after the second one, the storage holds the
chunk under another receipt than the one that was answered; so it would if somebody else wrote to the same session. Either way
the storage's chunk is not proven to be ours: it is sent once more, and the completion tried again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from blobkit.errors import ChunkMismatch
from blobkit.transfer.job import Session
from blobkit.transfer.upload import Options, upload

if TYPE_CHECKING:
    from blobkit.blobs import BlobInfo, Checksum
    from blobkit.transfer.source import Readable

__all__ = ["CompletableSession", "complete"]

_TIMES: Final = 3


class CompletableSession(Session, Protocol):
    """A session that can be completed; :class:`blobkit.UploadSession` can."""

    def complete(self, receipts: Mapping[int, str] | None = None, *, checksum: Checksum | None = None) -> BlobInfo:
        """Make the object appear."""
        ...


def complete(
    source: Readable,
    session: CompletableSession,
    receipts: Mapping[int, str],
    options: Options | None = None,
    *,
    checksum: Checksum | None = None,
) -> BlobInfo:
    """Complete a session whose chunks are all there; send again, three times at most, those that are not the answered ones.

    Args:
        source: What was uploaded; it can be read again.
        session: Its size is known.
        receipts: What the storage answered, by chunk number.
        options: How the bytes move.
        checksum: Of the whole object, where the session can check it before the object appears.

    Raises:
        ChunkMismatch: It never came right.
        As ``session.complete`` and :func:`~blobkit.transfer.upload.upload`.
    """
    ways, known = options or Options(), dict(receipts)
    for _ in range(_TIMES):
        try:
            return session.complete(known, checksum=checksum)
        except ChunkMismatch as error:
            if session.sequential or not (error.wrong or error.missing):
                raise
            wrong = error.wrong
        known |= upload(
            source,
            session,
            again=wrong,
            concurrency=ways.concurrency,
            bandwidth=ways.bandwidth,
            timeout=ways.timeout,
            patience=ways.patience,
            tls=ways.tls,
            stop=ways.stop,
            sleep=ways.sleep,
        ).receipts
    return session.complete(known, checksum=checksum)
