"""Keep a claim while its content is being examined, however long that takes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from blobkit.errors import BlobkitError, PreconditionFailed

if TYPE_CHECKING:
    from blobkit.tracking.checking import Checking, Claim

__all__ = ["kept"]

_log = logging.getLogger("blobkit.quarantine")


@contextmanager
def kept(checking: Checking, claim: Claim, lease: timedelta) -> Iterator[None]:
    """Renew the claim in the background, three times within each lease, until the block ends.

    A claim that got lost is not asked for again: whatever its holder does next with it is refused by the records.
    """
    done = threading.Event()

    def renew() -> None:
        while not done.wait(lease.total_seconds() / 3):
            try:
                checking.renew(claim, lease)
            except PreconditionFailed:
                _log.warning("the claim of upload %s is lost", claim.upload.id)
                return
            except BlobkitError as error:
                _log.warning("upload %s: its lease could not be renewed: %s", claim.upload.id, type(error).__name__)

    thread = threading.Thread(target=renew, name="blobkit-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
