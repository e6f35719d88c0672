"""Find the plugin of a source's scheme (``sqs``, ``pubsub`` …)."""

from __future__ import annotations

from typing import Final

from blobkit.events.receiving import SourcePlugin
from blobkit.plugins import bundled
from blobkit.plugins.finding import Group

__all__ = ["find_source_plugin", "source_schemes"]

_EXTRAS: Final = {"sqs": "aws", "pubsub": "gcs", "azqueue": "azure", "local": "local", "memory": "local"}
_GROUP: Final[Group[SourcePlugin]] = Group("blobkit.sources", "source plugin", SourcePlugin, bundled.SOURCES, _EXTRAS)


def find_source_plugin(scheme: str) -> SourcePlugin:
    """The plugin of a source's scheme. Raises UnknownScheme, ConfigError, PluginMissing."""
    return _GROUP.find(scheme.lower(), scheme)


def source_schemes() -> list[str]:
    """Every scheme that a source can have here, sorted."""
    return _GROUP.schemes()
