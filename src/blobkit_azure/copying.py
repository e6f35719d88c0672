"""Server-side copies: pinned to the source's etag, with everything that the source has.

Up to 256 MiB Copy Blob From URL answers when the copy is there; above, Copy Blob may go on by itself, and is polled with a
limit and called off when something fails. https://learn.microsoft.com/rest/api/storageservices/copy-blob
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError

from blobkit.blobs import BlobInfo, Pin
from blobkit.errors import AlreadyExists, PreconditionFailed, Unavailable
from blobkit.spec import MiB
from blobkit_azure.errors import code_of, status_of
from blobkit_azure.shaping import blob_info, if_etag, if_missing, quoted, replaced, tier

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, BlobProperties

__all__ = ["PATIENCE", "SYNCHRONOUS", "copy"]

SYNCHRONOUS: Final = 256 * MiB
"""The largest blob of Copy Blob From URL, bytes."""

PATIENCE: Final = 3600.0
"""How long a copy may go on by itself, seconds."""

_FIRST: Final = 0.1
_LONGEST: Final = 5.0


def copy(
    source: BlobClient,
    target: BlobClient,
    *,
    source_url: Callable[[], str],
    pin: Pin | None,
    if_absent: bool,
    synchronous: int = SYNCHRONOUS,
    patience: float = PATIENCE,
    wait: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> BlobInfo:
    """Copy a blob.

    Args:
        source: Which one.
        target: Where to.
        source_url: Gives a URL at which the service can read the source; called when the source is known to be there.
        pin: The source must be this content.
        if_absent: The target must not exist.
        synchronous: Up to this size the copy is there when the service answers, bytes.
        patience: How long else it may take, seconds.
        wait, clock: Between two looks.

    Raises:
        AlreadyExists: ``if_absent``, and there is a blob.
        PreconditionFailed: The source is another content by now.
        Unavailable: The copy failed, or took too long, and was called off.
    """
    found = source.get_blob_properties()
    etag = str(found.etag).strip('"')
    if pin is not None and pin.etag is not None and pin.etag != etag:
        raise PreconditionFailed("the source was replaced meanwhile")
    how: dict[str, Any] = {
        "source_etag": quoted(etag),
        "source_match_condition": MatchConditions.IfNotModified,
        **if_missing(if_absent),
    }
    if found.blob_tier is not None and not found.blob_tier_inferred:
        how["standard_blob_tier"] = tier(str(found.blob_tier))
    if int(found.size or 0) <= synchronous:
        how["requires_sync"] = True
    try:
        answer = target.start_copy_from_url(source_url(), **how)
    except HttpResponseError as error:
        raise _explained(error, target, if_absent) from error
    name = str(target.blob_name)
    if answer["copy_status"] != "success":
        return blob_info(name, _waited(target, str(answer["copy_id"]), patience, wait, clock))
    return replaced(blob_info(name, found), answer)  # it has what the source has; by now another may be at the target


def _explained(error: HttpResponseError, target: BlobClient, if_absent: bool) -> Exception:
    """Which of the two conditions did not hold."""
    code, status = code_of(error), status_of(error)
    if code in ("BlobAlreadyExists", "UnauthorizedBlobOverwrite", "TargetConditionNotMet"):
        return AlreadyExists("there is a blob at the target already", code=code, http_status=status)
    if status == 412:
        if if_absent and code != "SourceConditionNotMet" and target.exists():
            return AlreadyExists("there is a blob at the target already", code=code, http_status=status)
        return PreconditionFailed("the source was replaced meanwhile", code=code, http_status=status)
    return error


def _waited(
    target: BlobClient, copy_id: str, patience: float, wait: Callable[[float], None], clock: Callable[[], float]
) -> BlobProperties:
    """Look until the copy is there. Calls it off, and removes what it left, when it is not to be had."""
    end, pause = clock() + patience, _FIRST
    try:
        while True:
            found = target.get_blob_properties()
            if found.copy.id != copy_id:
                raise PreconditionFailed("the target was written by somebody else while it was copied to")
            if found.copy.status == "success":
                return found
            if found.copy.status != "pending":
                raise Unavailable(f"the copy {found.copy.status}: {found.copy.status_description}")
            if clock() >= end:
                raise Unavailable(f"the copy did not end in {patience:.0f} s")
            wait(pause)
            pause = min(pause * 2, _LONGEST)
    except BaseException:
        _called_off(target, copy_id)
        raise


def _called_off(target: BlobClient, copy_id: str) -> None:
    """Abort the copy and delete the empty blob that it leaves, if that is still what is there."""
    with suppress(HttpResponseError):
        with suppress(HttpResponseError):  # it may have ended meanwhile
            target.abort_copy(copy_id)
        left = target.get_blob_properties()
        if left.copy.id == copy_id and left.copy.status != "success":
            target.delete_blob(**if_etag(str(left.etag)))
