"""The entry point ``gs``. Importing this module loads no SDK; opening loads none either."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobkit.config import Location, OpenContext, StoreConfig
from blobkit.plugins.spec import StorePlugin
from blobkit_gcs.config import OPTIONS, read_config

if TYPE_CHECKING:
    from blobkit.backend import Backend

__all__ = ["GcsPlugin", "plugin"]


class GcsPlugin(StorePlugin):
    """``gs://bucket/prefix/``: Google Cloud Storage."""

    scheme = "gs"
    provider = "gcs"
    extra = "gcs"
    location = Location(authority="bucket")
    options = OPTIONS

    def open(self, config: StoreConfig, context: OpenContext) -> Backend:
        """Check the settings; the SDK is loaded when the service itself has to call Cloud Storage."""
        from blobkit_gcs.backend import GcsBackend

        return GcsBackend(read_config(config, context.env), context)


plugin = GcsPlugin()
