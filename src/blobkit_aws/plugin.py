"""The entry point ``s3``. Importing this module loads no SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobkit.config import Location, OpenContext, StoreConfig
from blobkit.plugins.spec import StorePlugin
from blobkit_aws.config import OPTIONS, read_config

if TYPE_CHECKING:
    from blobkit.backend import Backend

__all__ = ["S3Plugin", "plugin"]


class S3Plugin(StorePlugin):
    """``s3://bucket/prefix/``: Amazon S3, and what speaks like it."""

    scheme = "s3"
    provider = "s3"
    extra = "aws"
    location = Location(authority="bucket")
    options = OPTIONS

    def open(self, config: StoreConfig, context: OpenContext) -> Backend:
        """Read the settings. The SDK is loaded by the first call that needs it."""
        from blobkit_aws.backend import S3Backend

        return S3Backend(read_config(config, context.env), context)


plugin = S3Plugin()
