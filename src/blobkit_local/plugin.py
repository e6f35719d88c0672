"""The entry points ``local`` and ``memory``. Importing this module loads nothing of the engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from blobkit.config import Location, OpenContext, StoreConfig
from blobkit.errors import PluginMissing
from blobkit.plugins.spec import StorePlugin
from blobkit_local.config import OPTIONS, read_config

if TYPE_CHECKING:
    from blobkit.backend import Backend

__all__ = ["LocalPlugin", "MemoryPlugin", "memory_plugin", "plugin"]


class LocalPlugin(StorePlugin):
    """``local:///directory``: files and an SQLite index."""

    scheme = "local"
    provider = "local"
    extra = "local"
    location = Location(authority=None, rest="path")
    options = OPTIONS

    def open(self, config: StoreConfig, context: OpenContext) -> Backend:
        """Make the directory if its parent exists, and open it."""
        try:
            from blobkit_local.backend import open_directory
        except ImportError as error:
            raise _missing(error) from error
        return open_directory(Path(config.location["path"]), read_config(config), context)


class MemoryPlugin(StorePlugin):
    """``memory://name``: the same in this process's memory."""

    scheme = "memory"
    provider = "memory"
    extra = "local"
    location = Location(authority="name")
    options = OPTIONS

    def open(self, config: StoreConfig, context: OpenContext) -> Backend:
        """Open the store of that name in this process."""
        try:
            from blobkit_local.backend import open_memory
        except ImportError as error:
            raise _missing(error) from error
        return open_memory(config.location["name"], read_config(config), context)


def _missing(error: ImportError) -> PluginMissing:
    return PluginMissing(f"the local store needs {error.name}", hint='pip install "blobkit[local]"')


plugin = LocalPlugin()
memory_plugin = MemoryPlugin()
