"""Uploads that survive their process: :func:`put_file` to a store, :func:`put_to_service` to a service, each with a journal.

Called again for the same file and target, each goes on where the last call ended. What the storage holds is asked of the
storage; and what it holds without that the journal has a receipt of it (the process died in between, or somebody else has the
session too) is sent again. At the completion the receipts are compared, so that chunks of another content are never mixed in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    ChecksumMismatch,
    ChunkMismatch,
    ConstraintViolated,
    InvalidToken,
    NotFound,
    PreconditionFailed,
    SealingKeyMissing,
    SessionMismatch,
    SessionNotFound,
    SourceChanged,
)
from blobkit.transfer.completing import complete
from blobkit.transfer.journal import Journal, Record
from blobkit.transfer.service import upload_to_service
from blobkit.transfer.upload import Options, UploadResult, upload

if TYPE_CHECKING:
    from blobkit.blobs import BlobInfo
    from blobkit.session import UploadSession
    from blobkit.spec import UploadSpec
    from blobkit.store import Store

__all__ = ["Stored", "put_file", "put_to_service"]

_FINAL: Final = (
    AlreadyExists,
    ChecksumMismatch,
    ChunkMismatch,
    ConstraintViolated,
    NotFound,
    PreconditionFailed,
    SessionMismatch,
    SessionNotFound,
    SourceChanged,
)
"""After these another attempt would end as this one did: nothing is kept. After all others the upload can be resumed."""


_ORDERED: Final = "crc32c"
"""Bytes that went in order have no receipts: the checksum of the whole, which such storages keep, is compared instead."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An upload that is done.

    Attributes:
        info: The object.
        result: What moved.
        resumed: Whether an earlier run had begun it.
    """

    info: BlobInfo
    result: UploadResult
    resumed: bool


def put_file(
    store: Store,
    key: str,
    path: str | os.PathLike[str],
    *,
    journal: Journal,
    target: Mapping[str, str],
    spec: UploadSpec | None = None,
    chunk_size: int | None = None,
    options: Options | None = None,
    only_resume: bool = False,
) -> Stored:
    """Upload a file in chunks, or go on with it.

    Args:
        store, key: Where to.
        path: The file.
        journal: Where the upload's state is kept.
        target: How another process finds the store again; without secrets.
        spec: The object's properties and constraints.
        chunk_size: Bytes of a chunk; None lets the store choose.
        options: How the bytes move.
        only_resume: Do not begin anew where there is nothing to go on with: ``spec`` is not known here.

    Raises:
        SessionNotFound: ``only_resume``, and the session is gone, or the file has changed since.
        TransientError: It kept failing, or another process is at it; call again later.
        SourceChanged: The file changed while it was read; nothing is kept.
        As ``start_upload``, :func:`~blobkit.transfer.upload.upload` and ``complete``.
    """
    ways = options or Options()
    with journal.record(path, target) as record:
        session, resumed = _session(store, record)
        if session is None and only_resume:
            raise SessionNotFound(
                "there is nothing to go on with: the session is gone, or the file has changed", hint="store it again"
            )
        if session is None:
            size = Path(path).stat().st_size
            session = store.start_upload(key, size=size, spec=spec, chunk_size=chunk_size, allow_session_life=True)
            _remember(record, size, session)
        begun = session

        def discard() -> None:
            begun.abort()

        with _kept(record, discard):
            ours = set(record.receipts)
            foreign = [number for number in _held(begun) if number not in ours] if resumed else []
            result = upload(
                path,
                begun,
                again=foreign,
                checksum=_ORDERED if begun.sequential and begun.staged else None,
                on_receipt=record.receipt if record.known else None,
                on_progress=ways.on_progress,
                concurrency=ways.concurrency,
                bandwidth=ways.bandwidth,
                timeout=ways.timeout,
                patience=ways.patience,
                tls=ways.tls,
                stop=ways.stop,
                sleep=ways.sleep,
            )
            info = complete(path, begun, {**_known(record), **result.receipts}, ways, checksum=result.checksum)
        return Stored(info, result, resumed)


def put_to_service(
    path: str | os.PathLike[str],
    url: str,
    *,
    journal: Journal,
    content_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    checksum: str | None = None,
    options: Options | None = None,
) -> UploadResult:
    """Upload a file as a service plans it, or go on with it. Raises as :func:`put_file`."""
    with journal.record(path, {"service": url}) as record:
        if record.changed:
            record.clear()
        with _kept(record, lambda: None):
            return upload_to_service(
                path,
                url,
                options or Options(),
                content_type=content_type,
                metadata=metadata,
                headers=headers,
                checksum=checksum,
                record=record,
            )


def _held(session: UploadSession) -> tuple[int, ...]:
    """The chunks that the storage holds, where they may be sent again one by one."""
    return () if session.sequential else session.status().received


def _known(record: Record) -> dict[int, str]:
    """The receipts that can be compared: some storages give none."""
    return {number: receipt for number, receipt in record.receipts.items() if receipt}


def _session(store: Store, record: Record) -> tuple[UploadSession | None, bool]:
    """The session of an earlier run, if it can still be gone on with."""
    if not record.known:
        return None, False
    try:
        session = store.resume_upload(str(record.secrets.get("token", "")))
        if record.changed:
            session.abort()  # its chunks are of a content that is no more
        elif session.status().state != "gone":
            return session, True
    except (InvalidToken, NotFound):
        pass
    record.clear()
    return None, False


def _remember(record: Record, size: int, session: UploadSession) -> None:
    """Keep the token; without a key to seal it, the upload lives as long as this process."""
    try:
        record.begin(size, {"token": session.token.reveal()})
    except SealingKeyMissing:
        return
    except BaseException:
        session.abort()
        raise


class _kept:  # noqa: N801 - used as a function, in a with statement
    """Keep the record where the upload can be resumed; forget it where it is done, or never can be."""

    def __init__(self, record: Record, discard: Callable[[], None]) -> None:
        self._record = record
        self._discard = discard

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._record.forget()
        elif isinstance(error, _FINAL) or not self._record.known:
            self._record.forget()
            with suppress(BlobkitError, OSError):
                self._discard()
