"""CDNs that belong to no storage provider: bunny.net, Akamai, Cloudflare, Fastly, KeyCDN, and an nginx of your own.

Each is a :class:`blobkit.cdn.Cdn` and needs no SDK.
"""

from __future__ import annotations

from blobkit_cdns.akamai import Akamai
from blobkit_cdns.bunny import Bunny
from blobkit_cdns.cloudflare import Cloudflare
from blobkit_cdns.fastly import Fastly
from blobkit_cdns.keycdn import KeyCdn
from blobkit_cdns.nginx import Nginx

__all__ = ["Akamai", "Bunny", "Cloudflare", "Fastly", "KeyCdn", "Nginx"]
