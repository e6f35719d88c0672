"""What a local store can do, as data."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Final

from blobkit.backend import Capabilities, Feature, Limits, Verdict
from blobkit.chunking import ChunkLimits
from blobkit.errors import ConfigError
from blobkit.spec import Constraint, Enforcement, Route, TiB
from blobkit_local.config import LocalConfig

__all__ = ["FEATURES", "MAX_OBJECT", "capabilities"]

MAX_OBJECT: Final = 5 * TiB
_MAX_CHUNKS: Final = 100_000

FEATURES: Final[dict[Feature, bool]] = {
    Feature.SIGN_UPLOAD: True,
    Feature.SIGN_FORM: False,  # a signed PUT binds everything a form could
    Feature.SIGN_DOWNLOAD: True,
    Feature.SIGN_HEAD: True,
    Feature.SIGN_DELETE: True,
    Feature.RESPONSE_OVERRIDES: True,
    Feature.CHUNKED: True,
    Feature.CHUNK_CHECKSUMS: True,
    Feature.LIST_UPLOADS: True,
    Feature.IF_ABSENT: True,
    Feature.IF_MATCH: True,
    Feature.COPY: True,
    Feature.COPY_IF_ABSENT: True,
    Feature.DELETE_PINNED: True,
    Feature.VERSIONS: False,
    Feature.ORDERED_LIST: True,
    Feature.START_AFTER: True,
    Feature.LIST_DIR: True,
    Feature.PUBLIC_URL: False,
    Feature.DATA_PLANE: True,
}
"""Of every local store; versioning and public access are options."""


def _enforces() -> dict[tuple[Route, Constraint], Verdict]:
    cells: dict[tuple[Route, Constraint], Verdict] = {}
    for constraint in Constraint:
        cells[Route.PUT, constraint] = Enforcement.SIGNATURE
        cells[Route.POST, constraint] = False
        cells[Route.CHUNKED, constraint] = Enforcement.PROVIDER
    return cells


def capabilities(config: LocalConfig, *, multi_process: bool) -> Capabilities:
    """What this store can do, with what it plays for tests.

    Raises:
        ConfigError: ``unknown`` names what is no capability.
    """
    found = Capabilities(
        enforces=_enforces(),
        features={
            **FEATURES,
            Feature.VERSIONS: config.versioning,
            Feature.PUBLIC_URL: config.public,
            Feature.CHUNK_CHECKSUMS: config.chunk_grant == "chunk",  # a grant for any bytes binds none
        },
        limits=Limits(
            max_expiry=config.max_expiry,
            max_put=MAX_OBJECT,
            max_copy=MAX_OBJECT,
            chunks=ChunkLimits(
                min_chunk=1,
                max_chunk=MAX_OBJECT,
                max_count=_MAX_CHUNKS,
                max_object=MAX_OBJECT,
                sequential=config.sequential,
            ),
        ),
        commit=config.commit,
        chunk_grant=config.chunk_grant,
        signing_io=config.signing_io,
        multi_process=multi_process,
    )
    return _forgetting(found, config.unknown)


def _forgetting(known: Capabilities, names: tuple[str, ...]) -> Capabilities:
    """The same, with these unknown: features, or ``route.constraint``."""
    features: dict[Feature, bool | None] = dict(known.features)
    enforces = dict(known.enforces)
    for name in names:
        route, dot, constraint = name.partition(".")
        if dot and route in set(Route) and constraint in set(Constraint):
            enforces[Route(route), Constraint(constraint)] = None
        elif name in set(Feature):
            features[Feature(name)] = None
        else:
            raise ConfigError(f"unknown={name!r}: no such capability", hint="a feature, or route.constraint")
    return replace(known, features=MappingProxyType(features), enforces=MappingProxyType(enforces))
