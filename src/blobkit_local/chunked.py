"""Chunked sessions of an engine: begin, receive, assemble.

The chunks of a session share one file, each at its offset, so that committing four gigabytes is one row and moves no byte.
Only a chunk that is sent again, or by two senders at once, has a file of its own; an object then consists of a few files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from blobkit.backend import HeldChunk, SessionState
from blobkit.blobs import BlobInfo, Checksum, PendingUpload
from blobkit.errors import ChunkMismatch, InvalidChunk, SessionMismatch, SessionNotFound, Unavailable
from blobkit.hashing import hasher
from blobkit_local import crc
from blobkit_local.engine import Attributes, IncomingChunk, Wanted
from blobkit_local.extents import new_name
from blobkit_local.incoming import ChunkWriter, check_checksum, check_size, crc32c_checksum
from blobkit_local.rows import ChunkRow, Piece, SessionRow, from_micros, micros

if TYPE_CHECKING:
    from blobkit_local.indexed import IndexedEngine
    from blobkit_local.rows import Rows

__all__ = [
    "begin",
    "commit",
    "discard",
    "held",
    "incoming_chunk",
    "joined",
    "pending",
    "publish_if_complete",
    "state_of",
]

_BLOCK: Final = 1 << 20
_PAGE: Final = 500


def begin(engine: IndexedEngine, state: SessionState, attributes: Attributes) -> None:
    """See :meth:`Engine.open_session`."""
    extent = new_name()
    engine.extents.allocate(extent)
    with engine.guarding(extent), engine.index.write() as rows:
        if rows.session(state.upload_id) is not None:
            raise SessionMismatch("there is a session with this id already")
        if not engine.extents.exists(extent):
            raise Unavailable("the session's file was swept before it began", hint="begin again")
        rows.add_session(SessionRow(state, attributes, extent), micros(engine.now()))


def state_of(engine: IndexedEngine, upload_id: str) -> SessionState:
    """See :meth:`Engine.session`."""
    with engine.index.read() as rows:
        return _session(rows, upload_id).state


def held(engine: IndexedEngine, upload_id: str) -> list[HeldChunk]:
    """See :meth:`Engine.held`."""
    with engine.index.read() as rows:
        _session(rows, upload_id)
        return [row.held for row in rows.chunks(upload_id)]


def discard(engine: IndexedEngine, upload_id: str) -> bool:
    """See :meth:`Engine.discard_session`."""
    with engine.index.write() as rows:
        dead = rows.remove_session(upload_id)
    engine.remove_files(dead or [])
    return dead is not None


def pending(engine: IndexedEngine, prefix: str) -> Iterator[PendingUpload]:
    """See :meth:`Engine.sessions`."""
    after = ("", "")
    while True:
        with engine.index.read() as rows:
            page = rows.sessions(prefix, after, _PAGE)
        for key, upload_id, started, received in page:
            yield PendingUpload(key, upload_id, from_micros(started), received)
            after = (key, upload_id)
        if len(page) < _PAGE:
            return


def incoming_chunk(
    engine: IndexedEngine, upload_id: str, number: int, size: int, checksum: Checksum | None
) -> IncomingChunk:
    """See :meth:`Engine.incoming_chunk`."""
    with engine.index.write(durable=False) as rows:
        session = _session(rows, upload_id)
        chunk = session.state.plan.chunk(number)
        if not 0 <= size <= chunk.size:
            raise InvalidChunk(f"chunk {number} has at most {chunk.size} bytes, not {size}")
        if engine.manners.sequential and rows.count_chunks(upload_id, number) < number - 1:
            raise ChunkMismatch(f"the chunks before {number} come first: this session is sequential", wrong=[number])
        claimed = engine.extents.has_regions and rows.claim(upload_id, number)
    return ChunkWriter(
        engine,
        upload_id,
        number,
        size,
        checksum=checksum,
        session_extent=session.extent,
        offset=chunk.offset,
        claimed=claimed,
    )


def commit(engine: IndexedEngine, upload_id: str, chunks: Sequence[HeldChunk], wanted: Wanted) -> BlobInfo:
    """See :meth:`Engine.commit_session`."""
    with engine.index.read() as rows:
        session = _session(rows, upload_id)
        chosen = _chosen(rows.chunks(upload_id), chunks)
    key = session.state.key
    pieces = joined(row.piece for row in chosen)
    check_size(key, sum(row.held.size for row in chosen), wanted)
    whole = crc32c_checksum(crc.combine_all((row.crc32c, row.held.size) for row in chosen))
    checksums = {"crc32c": whole}
    if wanted.checksum is not None and wanted.checksum.algorithm != "crc32c":
        checksums[wanted.checksum.algorithm] = _digest(engine, pieces, wanted.checksum.algorithm)
    if wanted.checksum is not None:
        check_checksum(key, wanted.checksum, checksums[wanted.checksum.algorithm])
    merged = _merged(engine, pieces)
    with engine.guarding(*([] if merged is pieces else [merged[0].extent])), engine.index.write() as rows:
        _session(rows, upload_id)
        _chosen(rows.chunks(upload_id), [row.held for row in chosen])  # nothing was sent again while we looked
        if any(not engine.extents.exists(piece.extent) for piece in merged):
            raise Unavailable("a file of the session is not there", retryable=False, hint="the directory was damaged")
        published = engine.publish(rows, key, session.attributes, merged, checksums, wanted)
        gone = rows.remove_session(upload_id) or []
        published.dead = [name for name in {*published.dead, *gone} if not rows.has_extent(name)]
    engine.follow(published)
    return published.info


def publish_if_complete(engine: IndexedEngine, upload_id: str) -> None:
    """Publish the session's object if its size is known and every planned chunk is held. Raises what the commit raises."""
    with engine.index.read() as rows:
        session = rows.session(upload_id)
        if session is None or session.state.plan.size is None:
            return
        plan = session.state.plan
        if rows.count_chunks(upload_id, len(plan) + 1) < len(plan):
            return
        chunks = [row.held for row in rows.chunks(upload_id)]
    if [chunk.size for chunk in chunks] != [chunk.size for chunk in plan]:
        return
    with suppress(SessionNotFound, ChunkMismatch):  # another chunk's arrival published it, or will
        commit(engine, upload_id, chunks, Wanted.of(session.state.spec, size=plan.size))


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """The same bytes in as few pieces as possible."""
    out: list[Piece] = []
    for piece in pieces:
        if not piece.size:
            continue
        last = out[-1] if out else None
        if last is not None and last.extent == piece.extent and last.start + last.size == piece.start:
            out[-1] = Piece(last.extent, last.start, last.size + piece.size)
        else:
            out.append(piece)
    return out


def _session(rows: Rows, upload_id: str) -> SessionRow:
    row = rows.session(upload_id)
    if row is None:
        raise SessionNotFound("there is no such session", hint="it was completed, aborted or swept")
    return row


def _chosen(rows: Sequence[ChunkRow], chunks: Sequence[HeldChunk]) -> list[ChunkRow]:
    by_number = {row.held.number: row for row in rows}
    missing = [chunk.number for chunk in chunks if chunk.number not in by_number]
    wrong = [chunk.number for chunk in chunks if (row := by_number.get(chunk.number)) and not _same(row.held, chunk)]
    if missing or wrong:
        raise ChunkMismatch(
            f"{len(missing)} chunks are not held, {len(wrong)} are not the ones named", missing=missing, wrong=wrong
        )
    return [by_number[chunk.number] for chunk in chunks]


def _same(ours: HeldChunk, named: HeldChunk) -> bool:
    return ours.size == named.size and (named.receipt is None or named.receipt.strip('"') == ours.receipt)


def _digest(engine: IndexedEngine, pieces: Sequence[Piece], algorithm: str) -> Checksum:
    reader = engine.reader(pieces)
    if reader is None:
        raise SessionNotFound("the session was completed, aborted or swept meanwhile")
    digest = hasher(algorithm)
    with reader:
        while block := reader.read(_BLOCK):
            digest.update(block)
    return Checksum(algorithm, digest.digest())


def _merged(engine: IndexedEngine, pieces: list[Piece]) -> list[Piece]:
    """The pieces, or one new file with their bytes when they lie in too many files to have all open."""
    most = engine.extents.max_files
    if most is None or len({piece.extent for piece in pieces}) <= most:
        return pieces
    reader = engine.reader(pieces)
    if reader is None:
        raise SessionNotFound("the session was completed, aborted or swept meanwhile")
    name, size = new_name(), 0
    sink = engine.extents.create(name)
    try:
        with reader:
            while block := reader.read(_BLOCK):
                sink.write(block)
                size += len(block)
        sink.keep()
    except BaseException:
        sink.drop()
        raise
    return [Piece(name, 0, size)]
