"""The plugins of this distribution: scheme to ``module:attribute``. A test holds it equal to pyproject's entry points.

The table exists because scanning every installed distribution costs a tenth of a second, and importing a plugin that nobody
configured costs more.
"""

from __future__ import annotations

from typing import Final

STORES: Final[dict[str, str]] = {
    "az": "blobkit_azure.plugin:plugin",
    "gs": "blobkit_gcs.plugin:plugin",
    "local": "blobkit_local.plugin:plugin",
    "memory": "blobkit_local.plugin:memory_plugin",
    "s3": "blobkit_aws.plugin:plugin",
}

SOURCES: Final[dict[str, str]] = {
    "azqueue": "blobkit_azure.sources:plugin",
    "local": "blobkit_local.sources:plugin",
    "memory": "blobkit_local.sources:memory_plugin",
    "pubsub": "blobkit_gcs.sources:plugin",
    "sqs": "blobkit_aws.sources:plugin",
}
"""Queues of events, by scheme."""

PROVIDERS: Final[dict[str, str]] = {
    "azure": "az",
    "gcs": "gs",
    "local": "local",
    "memory": "memory",
    "s3": "s3",
}
"""Provider name, as it stands in a dict, to scheme."""

CDNS: Final[dict[str, str]] = {
    "akamai": "blobkit_cdns.akamai:plugin",
    "bunny": "blobkit_cdns.bunny:plugin",
    "cloudcdn": "blobkit_gcs.cdn:cloud_plugin",
    "cloudflare": "blobkit_cdns.cloudflare:plugin",
    "cloudfront": "blobkit_aws.cdn:plugin",
    "fastly": "blobkit_cdns.fastly:plugin",
    "frontdoor": "blobkit_azure.cdn:plugin",
    "keycdn": "blobkit_cdns.keycdn:plugin",
    "mediacdn": "blobkit_gcs.cdn:media_plugin",
    "nginx": "blobkit_cdns.nginx:plugin",
}
