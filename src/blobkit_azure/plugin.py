"""The entry point ``az``. Importing this module loads no SDK; opening loads none either."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobkit.config import Location, OpenContext, StoreConfig
from blobkit.plugins.spec import StorePlugin
from blobkit_azure.config import OPTIONS, read_config

if TYPE_CHECKING:
    from blobkit.backend import Backend

__all__ = ["AzurePlugin", "plugin"]


class AzurePlugin(StorePlugin):
    """``az://account/container/prefix/``: Azure Blob Storage."""

    scheme = "az"
    provider = "azure"
    extra = "azure"
    location = Location(authority="account", segments=("container",))
    options = OPTIONS

    def open(self, config: StoreConfig, context: OpenContext) -> Backend:
        """Check the settings; the SDK is loaded when the service itself has to call Blob Storage."""
        from blobkit_azure.backend import AzureBackend

        return AzureBackend(read_config(config, context.env), context)


plugin = AzurePlugin()
