"""CDN links at a real edge: an nginx that checks secure_link by its own module, CloudFront and Cloud CDN by njs.

``bash tests/conformance/wide/nginx.sh`` installs it, starts it and runs this; elsewhere ``BLOBKIT_NGINX`` names its address
and ``BLOBKIT_NGINX_KEYS`` the directory of the keys.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
import urllib3

from blobkit.cdn import Cdn, Site
from blobkit_aws.cdn import CloudFront
from blobkit_cdns import Nginx
from blobkit_gcs.cdn import CloudCdn

EDGE: Final = os.environ.get("BLOBKIT_NGINX", "")
if not EDGE:
    pytest.skip("an nginx with njs: bash tests/conformance/wide/nginx.sh", allow_module_level=True)

KEYS: Final = Path(os.environ.get("BLOBKIT_NGINX_KEYS", "."))
HOST: Final = "cdn.example"
NAMES: Final = ["clip.mp4", "x//y.ts", ".hidden", "\\back", "a%2Fb%20c.txt", "a b+c&d=e;f,g@h:i!j$k'l(m)n*o~p.bin"]
NAMES.append('é ü 日本/100%?#[]{}|^`"<>.bin')


def past() -> datetime:
    return datetime.now(UTC) - timedelta(days=1)


@pytest.fixture(scope="module")
def pool() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager() as made:
        yield made


@pytest.fixture
def ask(pool: urllib3.PoolManager) -> Asking:
    return Asking(pool)


class Asking:
    """Sends what a client would send to the CDN's host, to the edge on this machine instead."""

    def __init__(self, pool: urllib3.PoolManager) -> None:
        self._pool = pool

    def __call__(self, url: str, cookies: Mapping[str, str] | None = None) -> tuple[int, str]:
        assert url.startswith(f"https://{HOST}/")
        headers = {"Host": HOST}
        if cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        answer = self._pool.request("GET", url.replace(f"https://{HOST}", EDGE, 1), headers=headers)
        return answer.status, answer.data.decode()


def cloudfront(kind: str, hash_algorithm: str, clock: object = None) -> CloudFront:
    site = Site(HOST, base="cloudfront/", clock=clock)  # type: ignore[arg-type]
    return CloudFront(site, {kind: (KEYS / f"{kind}.pem").read_text()}, hash_algorithm=hash_algorithm)  # type: ignore[arg-type]


def cloudcdn(clock: object = None) -> CloudCdn:
    return CloudCdn(Site(HOST, base="cloudcdn/", clock=clock), {"k1": (KEYS / "cloudcdn.key").read_text()})  # type: ignore[arg-type]


COMBINATIONS = [("RSA", "SHA1"), ("RSA", "SHA256"), ("EC", "SHA1"), ("EC", "SHA256")]


@pytest.mark.parametrize(("kind", "algorithm"), COMBINATIONS)
def test_cloudfront_links_are_let_through(ask: Asking, kind: str, algorithm: str) -> None:
    cdn = cloudfront(kind, algorithm)
    for name in NAMES:
        for restricted in (False, True):
            begin = datetime.now(UTC) - timedelta(hours=1) if restricted else None
            link = cdn.sign_key(name, not_before=begin, ip="127.0.0.0/8" if restricted else None).reveal()
            assert ask(link) == (200, "let through"), link
    assert ask(cdn.sign_url("/cloudfront/a?v=1&w=b%20c", ip="127.0.0.1").reveal())[0] == 200


@pytest.mark.parametrize(("kind", "algorithm"), COMBINATIONS)
def test_cloudfront_links_are_refused_where_they_must_be(ask: Asking, kind: str, algorithm: str) -> None:
    cdn = cloudfront(kind, algorithm)
    link = cdn.sign_url("/cloudfront/a.mp4").reveal()
    assert ask(link.replace("a.mp4", "b.mp4")) == (403, "signature")
    assert ask(link + "&x=1") == (403, "signature")
    assert ask(cloudfront(kind, algorithm, past).sign_url("/cloudfront/a.mp4").reveal()) == (403, "expired")
    begin = datetime.now(UTC) + timedelta(minutes=5)
    assert ask(cdn.sign_url("/cloudfront/a.mp4", not_before=begin).reveal()) == (403, "not yet")
    assert ask(cdn.sign_url("/cloudfront/a.mp4", ip="203.0.113.7").reveal()) == (403, "address")
    assert ask(f"https://{HOST}/cloudfront/a.mp4") == (403, "unsigned")


@pytest.mark.parametrize(("kind", "algorithm"), COMBINATIONS)
def test_cloudfront_prefixes_and_cookies(ask: Asking, kind: str, algorithm: str) -> None:
    cdn = cloudfront(kind, algorithm)
    grant = cdn.sign_prefix("/cloudfront/v/42/")
    assert ask(grant.url("a b.ts?x=1").reveal())[0] == 200
    assert ask(grant.url("a.ts").reveal().replace("/42/", "/43/")) == (403, "resource")
    wild = cdn.sign_prefix("/cloudfront/v/*/720p/?.ts")
    assert ask(wild.url("/cloudfront/v/42/720p/a.ts").reveal())[0] == 200
    assert ask(wild.url("/cloudfront/v/42/720p/a.ts").reveal().replace("720p", "480p")) == (403, "resource")
    jar = {cookie.name: cookie.value.reveal() for cookie in cdn.sign_cookies("/cloudfront/v/42/")}
    assert ask(f"https://{HOST}/cloudfront/v/42/x/y.ts", jar)[0] == 200
    assert ask(f"https://{HOST}/cloudfront/v/43/y.ts", jar) == (403, "resource")


def test_cloud_cdn_links_prefixes_and_cookies(ask: Asking) -> None:
    cdn = cloudcdn()
    for name in NAMES:
        link = cdn.sign_key(name).reveal()
        assert ask(link) == (200, "let through"), link
        assert ask(link.replace("/cloudcdn/", "/cloudcdn/x")) == (403, "signature")
    assert ask(cloudcdn(past).sign_key("a").reveal()) == (403, "expired")
    grant = cdn.sign_prefix("/cloudcdn/v/42/")
    assert ask(grant.url("a b.ts?x=1").reveal())[0] == 200
    assert ask(grant.url("a.ts").reveal().replace("/42/", "/43/")) == (403, "resource")
    jar = {cookie.name: cookie.value.reveal() for cookie in cdn.sign_cookies("/cloudcdn/v/42/")}
    assert ask(f"https://{HOST}/cloudcdn/v/42/x.ts", jar)[0] == 200
    assert ask(f"https://{HOST}/cloudcdn/v/43/x.ts", jar) == (403, "resource")


def test_nginxs_own_module_reads_secure_links(ask: Asking) -> None:
    site, old = Site(HOST, base="link/"), Site(HOST, base="link/", clock=past)
    cdn = Nginx(site, "the secret")
    for name in NAMES:
        link = cdn.sign_key(name).reveal()
        assert ask(link)[0] == 200, link
        assert ask(link.replace("/link/", "/link/x"))[0] == 403
    assert ask(Nginx(old, "the secret").sign_key("a").reveal())[0] == 410
    assert ask(Nginx(site, "another").sign_key("a").reveal())[0] == 403
    assert ask(cdn.sign_url("/link/a?v=1").reveal())[0] == 200


def test_nginx_binds_an_address_where_its_expression_says_so(ask: Asking) -> None:
    cdn: Cdn = Nginx(
        Site(HOST, base="address/"),
        "the secret",
        expression="$uri$remote_addr$secure_link_expires $secret",
        signature="st",
        expires="e",
    )
    assert ask(cdn.sign_key("a b", ip="127.0.0.1").reveal())[0] == 200
    assert ask(cdn.sign_key("a b", ip="203.0.113.7").reveal())[0] == 403
    assert urlsplit(cdn.sign_key("a", ip="127.0.0.1").reveal()).query.startswith("st=")


def test_our_own_verdict_is_the_edges(ask: Asking) -> None:
    for cdn, root in (
        (cloudfront("EC", "SHA256"), "cloudfront"),
        (cloudcdn(), "cloudcdn"),
        (Nginx(Site(HOST), "the secret"), "link"),
    ):
        link = cdn.sign_url(f"/{root}/a.mp4").reveal()
        for changed in (link, link.replace("a.mp4", "b.mp4"), link[:-1], link + "&x=1", link.replace("17", "18", 1)):
            # Parameters that follow are not bound by secure_link; the others refuse them.
            assert (ask(changed)[0] == 200) == bool(cdn.verify(changed)), changed
