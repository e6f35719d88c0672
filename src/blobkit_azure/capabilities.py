"""What a container can do, as data. https://learn.microsoft.com/azure/storage/blobs/scalability-targets

A service SAS binds what is done to which blob until when, and nothing of what is sent. From version 2026-04-06 a
user-delegation SAS also binds headers of the request (``srh``), and so whatever Put Blob takes in a header; not known is
whether it can bind the length or a digest of the body.
"""

from __future__ import annotations

from datetime import timedelta
from types import MappingProxyType
from typing import Final

from blobkit.backend import Capabilities, Feature, Limits, Verdict
from blobkit.chunking import ChunkLimits
from blobkit.spec import Constraint, Enforcement, MiB, Route
from blobkit_azure.config import AzureConfig

__all__ = ["LAPSES_AFTER", "MAX_BLOCK", "capabilities"]

LAPSES_AFTER: Final = timedelta(days=7)
"""Blocks that are not committed are dropped a week after the last one came."""

MAX_BLOCK: Final = 4000 * MiB
_MAX_BLOCKS: Final = 50_000
_MAX_PUT: Final = 5000 * MiB
_MAX_BLOB: Final = MAX_BLOCK * _MAX_BLOCKS
_HEADERS: Final = (
    Constraint.CONTENT_TYPE,
    Constraint.METADATA,
    Constraint.CACHE_CONTROL,
    Constraint.CONTENT_DISPOSITION,
    Constraint.CONTENT_ENCODING,
    Constraint.STORAGE_CLASS,
)
_COMPARED: Final = (Constraint.SIZE, Constraint.SIZE_RANGE, Constraint.CHECKSUM)


def _enforces(config: AzureConfig, shared: str | None) -> dict[tuple[Route, Constraint], Verdict]:
    bound: Verdict = Enforcement.SIGNATURE if config.binds_headers else False
    cells: dict[tuple[Route, Constraint], Verdict] = {}
    for constraint in Constraint:
        cells[Route.POST, constraint] = False  # there are no forms
    for constraint in _HEADERS:
        cells[Route.PUT, constraint] = bound
        cells[Route.CHUNKED, constraint] = Enforcement.PROVIDER  # said by the service itself, when it commits
    for constraint in _COMPARED:
        unknown = config.binds_headers and constraint is not Constraint.SIZE_RANGE
        cells[Route.PUT, constraint] = None if unknown else False
        cells[Route.CHUNKED, constraint] = False  # complete() verifies them before the blob is at its key
    # Permission to create and not to write: a blob that is there is never replaced.
    creates = shared is None or ("c" in shared and "w" not in shared)
    cells[Route.PUT, Constraint.IF_ABSENT] = Enforcement.SIGNATURE if creates else False
    cells[Route.CHUNKED, Constraint.IF_ABSENT] = Enforcement.PROVIDER
    return cells


def capabilities(config: AzureConfig, *, shared: str | None) -> Capabilities:
    """See :class:`blobkit.backend.Capabilities`.

    Args:
        config: The store's settings.
        shared: The permissions of the SAS that clients are given; empty when they are given none; None when blobkit signs.
    """
    may = "cwrd" if shared is None else shared
    features: dict[Feature, bool | None] = {
        **dict.fromkeys(Feature, True),
        Feature.SIGN_UPLOAD: "w" in may or "c" in may,
        Feature.SIGN_FORM: False,
        Feature.SIGN_DOWNLOAD: "r" in may,
        Feature.SIGN_HEAD: "r" in may,
        Feature.SIGN_DELETE: "d" in may,
        Feature.RESPONSE_OVERRIDES: shared is None,
        Feature.CHUNKED: "w" in may,
        Feature.CHUNK_CHECKSUMS: False,  # sent with a block it would be compared, but nobody can make a client send it
        Feature.VERSIONS: config.versioning,
        Feature.PUBLIC_URL: config.is_public,
        Feature.DATA_PLANE: False,
    }
    return Capabilities(
        enforces=MappingProxyType(_enforces(config, shared)),
        features=MappingProxyType(features),
        limits=Limits(
            max_expiry=config.max_expiry,
            max_put=_MAX_PUT,
            max_copy=_MAX_BLOB,
            chunks=ChunkLimits(max_chunk=MAX_BLOCK, max_count=_MAX_BLOCKS, max_object=_MAX_BLOB, empty_chunk=False),
            session_life=LAPSES_AFTER,
        ),
        chunk_grant="object",
    )
