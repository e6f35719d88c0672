"""What a reconcile did, or would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from blobkit.blobs import BlobInfo
from blobkit.tracking.moving import Change
from blobkit.tracking.records import Upload

__all__ = ["ReconcileReport"]

_SHOWN: Final = 1000


@dataclass(slots=True)
class ReconcileReport:
    """Counts of one run; sizes in bytes.

    Attributes:
        dry_run: Whether nothing was changed.
        max_deletions: How many objects may be deleted in the run; None is no limit.
        events: Events of the inbox that were tried again.
        dropped: Events that still waited for an upload to have their key, and were too many: what they told of is found
            by a look, or by the sweep for orphans.
        looked: Uploads that were looked at.
        heads: Of these, asked for one by one.
        pages: Pages of listings read instead.
        changes: How often each move or signal was made.
        swept_objects, swept_bytes: Objects that were removed from the keys of uploads that ended.
        sessions_aborted: Chunked sessions that were aborted.
        orphans_marked: Objects that no upload knows, seen for the first time.
        orphans_deleted, orphan_bytes: Of these, the ones removed after their time.
        purged: Old events and notices that were forgotten.
        failures: How many items could not be dealt with; they will be tried again.
        errors: The first of them, in words.
        actions: The first changes and removals, in words.
        complete: Whether nothing that was due is left.
    """

    dry_run: bool = False
    max_deletions: int | None = None
    events: int = 0
    dropped: int = 0
    looked: int = 0
    heads: int = 0
    pages: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    swept_objects: int = 0
    swept_bytes: int = 0
    sessions_aborted: int = 0
    orphans_marked: int = 0
    orphans_deleted: int = 0
    orphan_bytes: int = 0
    purged: int = 0
    failures: int = 0
    errors: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    complete: bool = True

    @property
    def capped(self) -> bool:
        """Whether the run may delete nothing more."""
        return self.max_deletions is not None and self.swept_objects + self.orphans_deleted >= self.max_deletions

    def changed(self, upload: Upload, change: Change) -> None:
        """Count a change."""
        if change.what is not None:
            self.changes[str(change.what)] += 1
            self._act(f"{upload.id} {upload.state}: {change.what}")

    def swept(self, upload: Upload, info: BlobInfo) -> None:
        """Count an object removed from an upload's key."""
        self.swept_objects += 1
        self.swept_bytes += info.size
        self._act(f"{upload.id} {upload.state}: remove {info.size} bytes")

    def orphaned(self, info: BlobInfo) -> None:
        """Count an orphan that was deleted."""
        self.orphans_deleted += 1
        self.orphan_bytes += info.size
        self._act(f"orphan {info.key}: remove {info.size} bytes")

    def failed(self, upload: Upload | None, error: Exception) -> None:
        """Count what went wrong with one item."""
        self.failures += 1
        if len(self.errors) < _SHOWN:
            self.errors.append(f"{'' if upload is None else f'{upload.id} '}{type(error).__name__}: {error}")

    def _act(self, text: str) -> None:
        if len(self.actions) < _SHOWN:
            self.actions.append(text)

    def to_dict(self) -> Mapping[str, object]:
        """As JSON values."""
        return {
            "dry_run": self.dry_run,
            "complete": self.complete,
            "events": self.events,
            "dropped": self.dropped,
            "looked": self.looked,
            "heads": self.heads,
            "pages": self.pages,
            "changes": dict(self.changes),
            "swept_objects": self.swept_objects,
            "swept_bytes": self.swept_bytes,
            "sessions_aborted": self.sessions_aborted,
            "orphans_marked": self.orphans_marked,
            "orphans_deleted": self.orphans_deleted,
            "orphan_bytes": self.orphan_bytes,
            "purged": self.purged,
            "failures": self.failures,
            "errors": list(self.errors),
            "actions": list(self.actions),
        }
