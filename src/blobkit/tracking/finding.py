"""Which upload an id, a key or an event means."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from sqlalchemy import Connection, bindparam, exists, select

from blobkit.errors import NotFound
from blobkit.tracking.prepared import Prepared
from blobkit.tracking.records import Upload, to_upload
from blobkit.tracking.schema import inbox, uploads

__all__ = ["find", "find_for_event", "get"]

_at_key: Final = (uploads.c.store == bindparam("store"), uploads.c.key == bindparam("key"))
_served_at: Final = (uploads.c.served_store == bindparam("store"), uploads.c.served_key == bindparam("key"))
_known: Final = exists().where(inbox.c.dedupe_key == bindparam("dedupe_key"))

_by_id: Final = Prepared(select(uploads).where(uploads.c.id == bindparam("id")))
_by_key: Final = tuple(Prepared(select(uploads).where(*place)) for place in (_at_key, _served_at))
_by_event: Final = tuple(Prepared(select(*uploads.c, _known).where(*place)) for place in (_at_key, _served_at))


def get(connection: Connection, upload_id: UUID) -> Upload:
    """The upload of the id. Raises NotFound."""
    row = _by_id.first(connection, {"id": upload_id})
    if row is None:
        raise NotFound(f"there is no upload {upload_id}")
    return to_upload(row)


def find(connection: Connection, store: str, key: str) -> Upload | None:
    """The upload whose client writes to the key, or that is served from it."""
    for query in _by_key:
        row = query.first(connection, {"store": store, "key": key})
        if row is not None:
            return to_upload(row)
    return None


def find_for_event(connection: Connection, store: str, key: str, dedupe_key: str) -> tuple[Upload | None, bool]:
    """As :func:`find`; and whether the inbox has the event already, which is only asked of a key that an upload has."""
    for query in _by_event:
        row = query.first(connection, {"store": store, "key": key, "dedupe_key": dedupe_key})
        if row is not None:
            known: bool = row.pop()
            return to_upload(row), known
    return None, False
