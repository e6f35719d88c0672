"""Contents to be checked, in a store of their own."""

from __future__ import annotations

import uuid

import blobkit
from blobkit.blobs import Checksum
from blobkit.quarantine import Declared, Subject


def subject(
    data: bytes,
    content_type: str | None = "application/octet-stream",
    *,
    declared_type: str | None = None,
    size: int | None = None,
    checksum: Checksum | None = None,
    query: str = "",
) -> Subject:
    """The content, stored in memory."""
    store = blobkit.open_store(f"memory://quarantine-{uuid.uuid4().hex}{query}")
    info = store.write("staged/one", data, content_type=content_type)
    return Subject(store, info, Declared(content_type=declared_type, size=size, checksum=checksum))
