"""The dialects of this distribution: provider to ``module:attribute``, asked in this order. No module here is imported before
the first event is parsed; none needs an SDK.
"""

from __future__ import annotations

from typing import Final

DIALECTS: Final[dict[str, str]] = {
    "s3": "blobkit_aws.events:dialect",
    "gcs": "blobkit_gcs.events:dialect",
    "azure": "blobkit_azure.events:dialect",
    "local": "blobkit_local.events:dialect",
}
