"""The conformance suite against the embedded store: durable and in memory, and playing the ways of other providers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from blobkit.testing import Harness
from blobkit.testing.suite import *

DURABLE: Final = {
    "local": "",
    "local-versioned": "versioning=on",
}
# What other providers do differently, played: the same laws must hold, or the right error must say why not.
PLAYED: Final = {
    "memory": "",
    "memory-versioned": "versioning=on",
    "last-chunk-publishes": "commit=last_chunk",
    "wide-chunk-grants": "chunk_grant=object",
    "signing-asks-a-service": "signing_io=true",
    "chunks-in-order": "sequential=true",
    "everything-at-once": "commit=last_chunk&chunk_grant=object&sequential=true&signing_io=true&versioning=on",
    "little-is-known": "unknown=put.size,put.size_range,put.content_type,put.checksum,put.metadata,put.if_absent,"
    "put.cache_control,put.content_disposition,put.content_encoding,put.storage_class,chunked.size,chunked.checksum,"
    "chunked.metadata,chunked.content_type,sign_head,sign_delete,response_overrides,chunk_checksums,list_uploads,"
    "if_absent,if_match,delete_pinned,start_after,list_dir,ordered_list",
    "no-conditional-copy": "commit=last_chunk&unknown=copy_if_absent,chunked.if_absent",
    "public": "public=true",
}


@pytest.fixture(scope="module", params=[*DURABLE, *PLAYED])
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    name: str = request.param
    if name in DURABLE:
        folder: Path = tmp_path_factory.mktemp(name)
        url, foreign = f"local://{folder / 'store'}?{DURABLE[name]}", f"local://{folder / 'foreign'}"
    else:
        url, foreign = f"memory://conformance-{name}?{PLAYED[name]}", f"memory://conformance-{name}-foreign"
    harness = Harness(url.rstrip("?"), others={"foreign_keys": foreign}, refuses=frozenset(), name=name)
    yield harness
    harness.stop()
