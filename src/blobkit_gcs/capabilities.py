"""What a bucket can do, as data. https://cloud.google.com/storage/quotas and the pages named at each rule."""

from __future__ import annotations

from datetime import timedelta
from types import MappingProxyType
from typing import Final

from blobkit.backend import Capabilities, Feature, Limits, Verdict
from blobkit.chunking import ChunkLimits
from blobkit.spec import Constraint, Enforcement, Route, TiB
from blobkit_gcs.config import GcsConfig

__all__ = ["capabilities"]

KiB: Final = 1024
MiB: Final = 1024 * KiB
GiB: Final = 1024 * MiB
_WEEK: Final = timedelta(days=7)
_MAX: Final = 5 * TiB


def capabilities(config: GcsConfig, *, signing_io: bool, max_expiry: timedelta) -> Capabilities:
    """See :class:`blobkit.backend.Capabilities`."""
    cells: dict[tuple[Route, Constraint], Verdict] = {}
    for constraint in Constraint:
        cells[Route.PUT, constraint] = Enforcement.SIGNATURE
        cells[Route.POST, constraint] = Enforcement.SIGNATURE
        cells[Route.CHUNKED, constraint] = Enforcement.PROVIDER
    cells[Route.POST, Constraint.IF_ABSENT] = None  # no page says what a form's precondition does
    cells[Route.CHUNKED, Constraint.SIZE_RANGE] = False
    cells[Route.CHUNKED, Constraint.CHECKSUM] = False  # compared on the private key, before it is promoted
    if config.multipart:
        # https://cloud.google.com/storage/docs/multipart-uploads: preconditions are not supported
        cells[Route.CHUNKED, Constraint.IF_ABSENT] = False
        cells[Route.CHUNKED, Constraint.SIZE] = False
    else:
        cells[Route.CHUNKED, Constraint.METADATA] = False  # whoever sends the last bytes may add some
    features: dict[Feature, bool | None] = {
        **dict.fromkeys(Feature, True),
        Feature.CHUNK_CHECKSUMS: config.multipart,
        Feature.LIST_UPLOADS: config.multipart,  # sessions cannot be listed
        Feature.VERSIONS: config.versioning,
        Feature.PUBLIC_URL: config.public,
        Feature.DATA_PLANE: False,
    }
    return Capabilities(
        enforces=MappingProxyType(cells),
        features=MappingProxyType(features),
        limits=Limits(
            max_expiry=max_expiry,
            max_put=_MAX,
            max_copy=_MAX,
            chunks=_parts() if config.multipart else _session(),
            session_life=None if config.multipart else _WEEK,
            chunk_url_life=None if config.multipart else _WEEK,
        ),
        commit="service" if config.multipart else "last_chunk",
        chunk_grant="chunk" if config.multipart else "object",
        signing_io=signing_io,
    )


def _session() -> ChunkLimits:
    """https://cloud.google.com/storage/docs/performing-resumable-uploads#chunked-upload."""
    return ChunkLimits(
        min_chunk=256 * KiB, max_chunk=_MAX, max_count=None, max_object=_MAX, align=256 * KiB, sequential=True
    )


def _parts() -> ChunkLimits:
    """https://cloud.google.com/storage/quotas#requests, XML API multipart uploads."""
    return ChunkLimits(min_chunk=5 * MiB, max_chunk=5 * GiB, max_count=10_000, max_object=_MAX)
