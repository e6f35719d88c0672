"""Google's two CDNs: Cloud CDN (:mod:`.cloud`) and Media CDN (:mod:`.media`)."""

from __future__ import annotations

from blobkit_gcs.cdn.cloud import CloudCdn, cloud_plugin
from blobkit_gcs.cdn.media import MediaCdn, media_plugin

__all__ = ["CloudCdn", "MediaCdn", "cloud_plugin", "media_plugin"]
