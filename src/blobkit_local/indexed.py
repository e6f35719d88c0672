"""What both engines are: an index that decides, and extents that hold the bytes.

The order of every change is the same: bytes first, made durable; then one transaction that checks the conditions and
publishes; then the files that nothing has any more are removed. Whatever stops it before the commit changed nothing.
"""

from __future__ import annotations

import builtins
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Final, Literal, cast

from blobkit.backend import HeldChunk, SessionState
from blobkit.blobs import BlobInfo, Checksum, PendingUpload, Pin, Prefix
from blobkit.errors import AlreadyExists, BlobNotFound, InvalidArgument, PreconditionFailed, Unavailable
from blobkit_local import chunked
from blobkit_local.changes import Change
from blobkit_local.engine import Attributes, Engine, ExpiryRule, Incoming, IncomingChunk, Wanted
from blobkit_local.expiry import sweep
from blobkit_local.extents import Extents, PieceReader, Source, new_name
from blobkit_local.incoming import BlockWriter
from blobkit_local.notify import Listeners, Notifier, Webhook
from blobkit_local.rows import BlobRow, Piece, Rows, after_prefix

if TYPE_CHECKING:
    from blobkit.events.model import BlobEvent
    from blobkit_local.index import Index

__all__ = ["IndexedEngine", "Manners", "Outcome"]

_PAGE: Final = 1000
_BLOCK: Final = 1 << 20
_TRIES: Final = 8
_log = logging.getLogger("blobkit.local")


@dataclass(frozen=True, slots=True)
class Manners:
    """How an engine behaves.

    Attributes:
        versioning: Overwritten and deleted objects stay readable by their version id.
        publish_last_chunk: The chunk that completes a session of known size publishes the object.
        sequential: A chunk is taken only when all before it are held.
    """

    versioning: bool = False
    publish_last_chunk: bool = False
    sequential: bool = False


_NOTHING: Final = BlobInfo(key="", size=0, etag="", modified=datetime(1970, 1, 1, tzinfo=UTC))


@dataclass(slots=True)
class Outcome:
    """What a transaction did.

    Attributes:
        info: The object that it published, where it did.
        dead: Files that nothing has any more, to be removed after the commit.
        changes: To be told after the commit.
    """

    info: BlobInfo = _NOTHING
    dead: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


class IndexedEngine(Engine):
    """The engine. :class:`FileEngine` and :class:`MemoryEngine` only choose where index and bytes are."""

    def __init__(
        self,
        index: Index,
        extents: Extents,
        *,
        clock: Callable[[], datetime],
        bucket: str,
        provider: Literal["local", "memory"],
        manners: Manners | None,
        webhook: Webhook | None,
        listeners: Listeners,
        owns_index: bool = True,
    ) -> None:
        self.index = index
        self.extents = extents
        self.manners = manners or Manners()
        self.notifier = Notifier(index, webhook, listeners)
        self.now = clock
        self._bucket = bucket
        self._provider: Literal["local", "memory"] = provider
        self._owns_index = owns_index

    def same_place(self, other: IndexedEngine) -> bool:
        """Whether both share their index and bytes."""
        return other is self

    # --- reading ---

    def head(self, key: str, *, version: str | None = None) -> BlobInfo:
        """See :class:`Engine`."""
        with self.index.read() as rows:
            return _found(rows, key, version).info

    def open(self, key: str, *, version: str | None = None, pin: Pin | None = None) -> tuple[BlobInfo, IO[bytes]]:
        """See :class:`Engine`."""
        for _ in range(_TRIES):
            with self.index.read() as rows:
                row = _found(rows, key, version, pin)
                pieces = rows.pieces(row.id)
            reader = self.reader(pieces)
            if reader is not None:
                return row.info, cast("IO[bytes]", reader)
        raise Unavailable(
            "the index names a file that is not there",
            key=key,
            retryable=False,
            hint="the directory was damaged: restore it",
        )

    def reader(self, pieces: Sequence[Piece]) -> PieceReader | None:
        """The bytes of these pieces; None when a file was removed meanwhile, because the object was replaced."""
        sources: dict[str, Source] = {}
        try:
            for name in dict.fromkeys(piece.extent for piece in pieces):
                sources[name] = self.extents.open(name)
        except BaseException as error:
            for source in sources.values():
                source.close()
            if isinstance(error, FileNotFoundError):
                return None
            raise
        return PieceReader(pieces, sources)

    def list(
        self, prefix: str, *, start_after: str | None = None, delimiter: str | None = None
    ) -> Iterator[BlobInfo | Prefix]:
        """See :class:`Engine`."""
        after, least = start_after, ""
        while True:
            with self.index.read() as rows:
                page = rows.page(prefix, after=after, least=least, count=_PAGE)
            group: str | None = None
            for info in page:
                after = info.key
                if group is not None and info.key.startswith(group):
                    continue
                group = None
                end = info.key.find(delimiter, len(prefix)) if delimiter else -1
                if delimiter and end >= 0:
                    group = info.key[: end + len(delimiter)]
                    yield Prefix(group)
                else:
                    yield info
            if len(page) < _PAGE:
                return
            if group is not None:  # the page ended inside a group: go on behind it, however large it is
                beyond = after_prefix(group)
                if beyond is None:
                    return
                least = beyond

    # --- writing ---

    def incoming(self, key: str, attributes: Attributes, wanted: Wanted) -> Incoming:
        """See :class:`Engine`."""
        if wanted.if_absent or wanted.if_match is not None:
            with self.index.read() as rows:
                _allowed(_live(rows.current(key)), key, wanted)
        return BlockWriter(self, key, attributes, wanted)

    def copy(
        self, source: str, target: str, *, pin: Pin | None = None, if_absent: bool = False, to: Engine | None = None
    ) -> BlobInfo:
        """See :class:`Engine`."""
        wanted = Wanted(if_absent=if_absent)
        if to is not None and not (isinstance(to, IndexedEngine) and self.same_place(to)):
            return self._copy_bytes(source, target, pin, wanted, to)
        with self.index.write() as rows:
            row = _found(rows, source, None, pin)
            info = row.info
            published = self.publish(rows, target, _attributes(info), rows.pieces(row.id), info.checksums, wanted)
        self.follow(published)
        return published.info

    def _copy_bytes(self, source: str, target: str, pin: Pin | None, wanted: Wanted, to: Engine) -> BlobInfo:
        info, stream = self.open(source, pin=pin)
        known = next(
            (value for name, value in info.checksums.items() if name != "crc32c"), info.checksums.get("crc32c")
        )
        wanted = replace(wanted, size=info.size, checksum=known)
        with stream, to.incoming(target, _attributes(info), wanted) as incoming:
            while block := stream.read(_BLOCK):
                incoming.write(block)
            return incoming.commit()

    def delete(
        self, key: str, *, pin: Pin | None = None, version: str | None = None, purge_versions: bool = False
    ) -> tuple[bool, int]:
        """See :class:`Engine`."""
        done = Outcome()
        with self.index.write() as rows:
            if purge_versions:
                self._purge(rows, key, pin, done)
            elif version is not None:
                self._delete_version(rows, key, version, pin, done)
            else:
                self._delete_current(rows, key, pin, done)
            done.dead = [name for name in done.dead if not rows.has_extent(name)]
            current = rows.current(key)
            left = sum(not row.marker for row in rows.versions(key))
        self.follow(done)
        return current is not None and current.marker, left

    def _purge(self, rows: Rows, key: str, pin: Pin | None, done: Outcome) -> None:
        versions = rows.versions(key)
        live = next((row for row in versions if row.current and not row.marker), None)
        _unchanged(live, key, pin)
        for row in versions:
            done.dead += rows.remove(row)
        kept = [row for row in versions if not row.marker]
        if kept:
            done.changes.append(self.change(rows, "deleted", (live or kept[-1]).info, "permanent"))

    def _delete_version(self, rows: Rows, key: str, version: str, pin: Pin | None, done: Outcome) -> None:
        row = rows.version(key, version)
        if row is None:
            return
        _unchanged(row, key, pin)
        done.dead += rows.remove(row)
        newest = rows.promote_newest(key) if row.current else None
        gone = row.current and not row.marker and newest is None
        done.changes.append(self.change(rows, "deleted", row.info, "permanent" if gone else "version"))

    def _delete_current(self, rows: Rows, key: str, pin: Pin | None, done: Outcome) -> None:
        live = _live(rows.current(key))
        if live is None:
            return
        _unchanged(live, key, pin)
        if not self.manners.versioning and (old := rows.unversioned(key)) is not None:
            done.dead += rows.remove(old)
        hidden = bool(rows.versions(key))
        if hidden:
            rows.hide(key)
            version = new_name() if self.manners.versioning else None
            marker = BlobInfo(key=key, size=0, etag="", modified=self.now(), version=version)
            rows.add(rows.next_id(), marker, (), marker=True)
        done.changes.append(self.change(rows, "deleted", live.info, "marker" if hidden else "permanent"))

    # --- chunked sessions ---

    def open_session(self, state: SessionState, attributes: Attributes) -> None:
        """See :class:`Engine`."""
        chunked.begin(self, state, attributes)

    def session(self, upload_id: str) -> SessionState:
        """See :class:`Engine`."""
        return chunked.state_of(self, upload_id)

    def incoming_chunk(
        self, upload_id: str, number: int, size: int, *, checksum: Checksum | None = None
    ) -> IncomingChunk:
        """See :class:`Engine`."""
        return chunked.incoming_chunk(self, upload_id, number, size, checksum)

    def chunk_arrived(self, upload_id: str) -> None:
        """A chunk is held now."""
        if self.manners.publish_last_chunk:
            chunked.publish_if_complete(self, upload_id)

    def held(self, upload_id: str) -> builtins.list[HeldChunk]:
        """See :class:`Engine`."""
        return chunked.held(self, upload_id)

    def commit_session(self, upload_id: str, chunks: builtins.list[HeldChunk], wanted: Wanted) -> BlobInfo:
        """See :class:`Engine`."""
        return chunked.commit(self, upload_id, chunks, wanted)

    def discard_session(self, upload_id: str) -> bool:
        """See :class:`Engine`."""
        return chunked.discard(self, upload_id)

    def sessions(self, prefix: str) -> Iterator[PendingUpload]:
        """See :class:`Engine`."""
        return chunked.pending(self, prefix)

    # --- what goes by itself, and who hears of it ---

    def expiry_rules(self) -> Sequence[ExpiryRule]:
        """See :class:`Engine`."""
        with self.index.read() as rows:
            return rows.rules()

    def set_expiry_rules(self, rules: Sequence[ExpiryRule]) -> None:
        """See :class:`Engine`."""
        if len({rule.prefix for rule in rules}) < len(rules):
            raise InvalidArgument("two expiry rules have the same prefix")
        with self.index.write() as rows:
            rows.set_rules(rules)

    def sweep(self, *, now: datetime, sessions_older_than: datetime, temps_older_than: datetime) -> Mapping[str, int]:
        """See :class:`Engine`."""
        return sweep(self, now=now, sessions_older_than=sessions_older_than, temps_older_than=temps_older_than)

    def subscribe(self, listener: Callable[[BlobEvent], None]) -> Callable[[], None]:
        """See :class:`Engine`."""
        return self.notifier.subscribe(listener)

    def close(self) -> None:
        """See :class:`Engine`."""
        self.notifier.close()
        if self._owns_index:
            self.index.close()

    # --- shared by the writers ---

    def publish(
        self,
        rows: Rows,
        key: str,
        attributes: Attributes,
        pieces: Sequence[Piece],
        checksums: Mapping[str, Checksum],
        wanted: Wanted,
    ) -> Outcome:
        """Inside a transaction: check the conditions, and make these bytes the current object."""
        _allowed(_live(rows.current(key)), key, wanted)
        done = Outcome()
        if not self.manners.versioning and (old := rows.unversioned(key)) is not None:
            done.dead += rows.remove(old)
        rows.hide(key)
        done.info = BlobInfo(
            key=key,
            size=sum(piece.size for piece in pieces),
            etag=new_name(),
            modified=self.now(),
            version=new_name() if self.manners.versioning else None,
            checksums=MappingProxyType(dict(checksums)),
            content_type=attributes.content_type,
            metadata=MappingProxyType(dict(attributes.metadata)),
            cache_control=attributes.cache_control,
            content_disposition=attributes.content_disposition,
            content_encoding=attributes.content_encoding,
            storage_class=attributes.storage_class,
            upload_id=attributes.upload_id,
        )
        change = self.change(rows, "created", done.info, None)
        rows.add(change.sequence, done.info, pieces)
        done.changes.append(change)
        done.dead = [name for name in done.dead if not rows.has_extent(name)]
        return done

    def change(
        self,
        rows: Rows,
        kind: Literal["created", "deleted", "expired"],
        info: BlobInfo,
        deletion: Literal["permanent", "marker", "version"] | None,
    ) -> Change:
        """Inside a transaction: note a change, for the webhook too."""
        change = Change(kind, self._provider, self._bucket, info, self.now(), rows.next_id(), new_name(), deletion)
        self.notifier.record(rows, change)
        return change

    def follow(self, done: Outcome) -> None:
        """After a commit: remove what nothing has any more, and tell."""
        self.remove_files(done.dead)
        for change in done.changes:
            self.notifier.published(change)

    def remove_files(self, names: Iterable[str]) -> int:
        """Remove files; returns their bytes. One that cannot be removed is left for a sweep, which the log says."""
        total = 0
        for name in names:
            try:
                total += self.extents.remove(name)
            except OSError as error:
                _log.warning("left behind for a sweep: %s: %s", name, error.strerror)
        return total

    @contextmanager
    def guarding(self, *names: str) -> Iterator[None]:
        """Remove these files if what follows fails, unless the index names them all the same (a commit may fail late)."""
        try:
            yield
        except BaseException:
            with suppress(Exception):  # what cannot be decided now is left for a sweep
                with self.index.read() as rows:
                    unnamed = [name for name in names if not rows.has_extent(name)]
                self.remove_files(unnamed)
            raise


def _live(row: BlobRow | None) -> BlobRow | None:
    return None if row is None or row.marker else row


def _found(rows: Rows, key: str, version: str | None, pin: Pin | None = None) -> BlobRow:
    """The version asked for. Raises BlobNotFound, or PreconditionFailed when there is a pin and it is not that content."""
    wanted = version or (pin.version if pin is not None else None)
    row = _live(rows.current(key) if wanted is None else rows.version(key, wanted))
    if row is None:
        if pin is not None and _live(rows.current(key)) is not None:
            raise PreconditionFailed("the pinned version is not there any more", key=key)
        raise BlobNotFound("no such version" if wanted else "no such object", key=key)
    _unchanged(row, key, pin)
    return row


def _unchanged(row: BlobRow | None, key: str, pin: Pin | None) -> None:
    if pin is not None and row is not None and not _is(row.info, pin):
        raise PreconditionFailed("the object is not the one that was pinned", key=key)


def _is(info: BlobInfo, pin: Pin) -> bool:
    return pin.version in (None, info.version) and pin.etag in (None, info.etag)


def _allowed(live: BlobRow | None, key: str, wanted: Wanted) -> None:
    if wanted.if_absent and live is not None:
        raise AlreadyExists("there is an object at this key", key=key)
    if wanted.if_match is not None and (live is None or not _is(live.info, wanted.if_match)):
        raise PreconditionFailed("the object is not the one that was to be replaced", key=key)


def _attributes(info: BlobInfo) -> Attributes:
    return Attributes(
        content_type=info.content_type,
        metadata=info.metadata,
        cache_control=info.cache_control,
        content_disposition=info.content_disposition,
        content_encoding=info.content_encoding,
        storage_class=info.storage_class,
        upload_id=info.upload_id,
    )
