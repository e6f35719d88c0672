"""One of every CDN, for what must hold for all of them."""

from __future__ import annotations

from datetime import timedelta

from blobkit.cdn import Cdn, Site
from blobkit_aws.cdn import CloudFront
from blobkit_azure.cdn import FrontDoor
from blobkit_cdns import Akamai, Bunny, Cloudflare, Fastly, KeyCdn, Nginx
from blobkit_gcs.cdn import CloudCdn, MediaCdn

from .keys import at, ec_key, ed_key, pem, rsa_key

HOST = "cdn.example"
SITE = Site(HOST, clock=at)
HEX = "0123456789abcdef" * 4


def every(site: Site = SITE) -> dict[str, Cdn]:
    """Name of the case to CDN."""
    return {
        "cloudfront-rsa": CloudFront(site, {"K1": pem(rsa_key())}),
        "cloudfront-ec-sha1": CloudFront(site, {"K1": pem(ec_key())}, hash_algorithm="SHA1"),
        "cloudcdn": CloudCdn(site, {"k1": b"0123456789abcdef"}),
        "mediacdn": MediaCdn(site, {"k1": pem(ed_key())}),
        "mediacdn-hmac": MediaCdn(site, {"k1": b"0123456789abcdef"}, algorithm="sha256", parameter="hdnts"),
        "mediacdn-signature": MediaCdn(site, {"k1": pem(ed_key())}, mode="signature"),
        "mediacdn-path": MediaCdn(site, {"k1": pem(ed_key())}, mode="path"),
        "frontdoor": FrontDoor(
            Site(site.host, origin_path="media/", insecure=site.insecure, clock=site.clock), "acct", b"key"
        ),
        "bunny": Bunny(site, "secret"),
        "bunny-query": Bunny(site, "secret", prefixes="query"),
        "akamai": Akamai(site, HEX),
        "akamai-escaped": Akamai(site, HEX, escape=True, salt="salt", algorithm="sha1"),
        "akamai-no-query": Akamai(site, HEX, ignore_query=True, algorithm="md5"),
        "cloudflare": Cloudflare(site, "secret", ttl=timedelta(hours=3)),
        "cloudflare-s": Cloudflare(site, "secret", ttl=timedelta(hours=3), url_safe=True),
        "fastly": Fastly(site, b"key"),
        "keycdn": KeyCdn(site, "secret"),
        "nginx": Nginx(site, "secret"),
    }


NAMES = sorted(every())
PATH_ONLY = {"mediacdn", "mediacdn-hmac", "frontdoor", "fastly", "keycdn", "nginx", "akamai-no-query"}
"""Whose links do not bind their own parameters."""
