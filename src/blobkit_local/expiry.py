"""What goes by itself: abandoned sessions, left-over files, and objects past an expiry rule.

Every removal is decided in a transaction of its own, so that it is safe beside running uploads, and so that a long sweep
does not keep others from writing.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from blobkit_local.rows import micros

if TYPE_CHECKING:
    from blobkit_local.changes import Change
    from blobkit_local.engine import ExpiryRule
    from blobkit_local.indexed import IndexedEngine

__all__ = ["sweep"]

_BATCH: Final = 200


def sweep(
    engine: IndexedEngine, *, now: datetime, sessions_older_than: datetime, temps_older_than: datetime
) -> dict[str, int]:
    """See :meth:`blobkit_local.engine.Engine.sweep`."""
    counts = {"sessions": 0, "files": 0, "objects": 0, "bytes": 0}
    _sessions(engine, sessions_older_than, counts)
    with engine.index.read() as rows:
        rules = rows.rules()
    for rule in rules:
        _objects(engine, rule, now, counts)
    _files(engine, temps_older_than, counts)
    return counts


def _sessions(engine: IndexedEngine, before: datetime, counts: dict[str, int]) -> None:
    while True:
        with engine.index.write() as rows:
            dead: list[str] = []
            ids = rows.abandoned(micros(before), _BATCH)
            for upload_id in ids:
                dead += rows.remove_session(upload_id) or []
        counts["sessions"] += len(ids)
        counts["bytes"] += engine.remove_files(dead)
        if len(ids) < _BATCH:
            return


def _objects(engine: IndexedEngine, rule: ExpiryRule, now: datetime, counts: dict[str, int]) -> None:
    before = micros(now - rule.age)
    while True:
        dead: list[str] = []
        changes: list[Change] = []
        with engine.index.write() as rows:
            found = rows.older(rule.prefix, before, _BATCH)
            for row in found:
                dead += rows.remove(row)
                if row.current:
                    rows.promote_newest(row.info.key)
                if not row.marker:
                    changes.append(engine.change(rows, "expired", row.info, "permanent" if row.current else "version"))
            dead = [name for name in dead if not rows.has_extent(name)]
        counts["objects"] += len(changes)
        counts["bytes"] += engine.remove_files(dead)
        for change in changes:
            engine.notifier.published(change)
        if len(found) < _BATCH:
            return


def _files(engine: IndexedEngine, before: datetime, counts: dict[str, int]) -> None:
    limit = before.timestamp()
    count, total = engine.extents.remove_unfinished(limit)
    for names in engine.extents.written_before(limit):
        # Inside the lock of the one writer: a file that is about to be published is either named by now, or its
        # publication finds it missing.
        with engine.index.write(durable=False) as rows:
            for name in names:
                if not rows.has_extent(name):
                    total += engine.extents.remove(name)
                    count += 1
    counts["files"] += count
    counts["bytes"] += total
