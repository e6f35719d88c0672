"""Cloud CDN and Media CDN against the results that Google publishes with its samples."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

import blobkit
from blobkit import Refusal, Restrictions, errors
from blobkit.cdn import Site
from blobkit_gcs.cdn import CloudCdn, MediaCdn

from .keys import LATER, NOW, at, ed_key, pem, public_pem


def site(host: str, now: datetime = NOW) -> Site:
    return Site(host, insecure=True, clock=lambda: now)


# https://github.com/GoogleCloudPlatform/python-docs-samples, cdn/snippets_test.py
CLOUD_END = datetime.fromtimestamp(1549751401, UTC)
CLOUD_KEY = "nZtRohdNF9m3cKM24IcK4w=="


@pytest.mark.parametrize(
    ("host", "path", "signature"),
    [
        ("35.186.234.33", "/index.html?", "CRFqQnVfFyiUyR63OQf-HRUpIwc="),
        ("www.example.com", "/?", "OqDUFfHpN5Vxga6r80bhsgxKves="),
        ("www.example.com", "/some/path?some=query&another=param&", "9Q9TCxSju8-W5nUkk5CuTrun2_o="),
    ],
)
def test_cloud_cdn_links_are_googles(host: str, path: str, signature: str) -> None:
    cdn = CloudCdn(site(host, datetime(2019, 1, 1, tzinfo=UTC)), {"my-key": CLOUD_KEY})
    link = cdn.sign_url(path.rstrip("?&"), expires_at=CLOUD_END)
    assert link.reveal() == f"http://{host}{path}Expires=1549751401&KeyName=my-key&Signature={signature}"
    assert cdn.verify(link)


def test_cloud_cdn_keys_rotate_and_have_sixteen_bytes() -> None:
    one, two = b"1" * 16, base64.urlsafe_b64encode(b"2" * 16).decode()
    old, new = CloudCdn(site("h"), {"k1": one}), CloudCdn(site("h"), {"k2": two, "k1": one})
    assert new.verify(old.sign_url("/a"))
    assert old.verify(new.sign_url("/a")).reason is Refusal.UNKNOWN_KEY
    for bad in (b"1" * 15, "AAAA", "not base64!", ""):
        with pytest.raises(errors.ConfigError):
            CloudCdn(site("h"), {"k": bad})
    with pytest.raises(errors.ConfigError):
        CloudCdn(site("h"), {"k&x": one})
    asked: list[dict[str, Any]] = [{"ip": "203.0.113.7"}, {"not_before": NOW}]
    for restriction in asked:
        with pytest.raises(errors.Unsupported):
            new.sign_url("/a", **restriction)


def test_nothing_may_follow_a_cloud_cdn_link_and_a_prefix_takes_queries() -> None:
    cdn = CloudCdn(site("h"), {"k1": b"1" * 16})
    link = cdn.sign_url("/a?x=1").reveal()
    assert cdn.verify(link + "&y=2").reason is Refusal.SIGNATURE
    grant = cdn.sign_prefix("/v/")
    assert cdn.verify(grant.url("a.ts?x=1"))
    assert cdn.verify(grant.url("a.ts").reveal() + "&x=1")
    assert cdn.verify(grant.url("a.ts").reveal().replace("/v/a.ts", "/w/a.ts")).reason is Refusal.RESOURCE
    with pytest.raises(errors.InvalidArgument, match="KeyName"):
        grant.url("a.ts?KeyName=x")


def test_a_cloud_cdn_cookie_has_its_fields_by_colons() -> None:
    cdn = CloudCdn(site("h"), {"k1": b"1" * 16})
    (cookie,) = cdn.sign_cookies("/v/", expires_at=LATER)
    prefix = base64.urlsafe_b64encode(b"http://h/v/").decode()
    assert cookie.name == "Cloud-CDN-Cookie"
    assert cookie.value.reveal().startswith(
        f"URLPrefix={prefix}:Expires={int(LATER.timestamp())}:KeyName=k1:Signature="
    )
    assert cdn.verify([cookie], url="http://h/v/a")
    assert cdn.verify([cookie], url="http://h/w/a").reason is Refusal.RESOURCE


# media_cdn/snippets_test.py: signed requests
MEDIA_KEY = "BxwXXNjeGaoWqjr7GHEymRJkP4SaOC12dTGixk7Yr8I="
MEDIA_END = datetime.fromtimestamp(1650848400, UTC)
BEFORE = datetime(2022, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("host", "path", "signature"),
    [
        (
            "35.186.234.33",
            "/index.html?",
            "16-oE9GZ5U9S_LYrW8RplZhvMfI7RGtGRY0C-Ahh6YAwiJ0UaEi6rQuPxfm6R-cBPfs8MwRGiu2fAoS1JOoKCA==",
        ),
        (
            "www.example.com",
            "/some/path?some=query&another=param&",
            "Li_D6rxUh1Kj54JbmUuAms2wmjJHJUcMXJHgYxjL4LqYH02wSX-4gCayXgklNSDpfBfSHnbdC_wvcdyXvADGDw==",
        ),
    ],
)
def test_media_cdn_signed_links_are_googles(host: str, path: str, signature: str) -> None:
    cdn = MediaCdn(site(host, BEFORE), {"my-key": MEDIA_KEY}, mode="signature")
    link = cdn.sign_url(path.rstrip("?&"), expires_at=MEDIA_END)
    assert link.reveal() == f"http://{host}{path}Expires=1650848400&KeyName=my-key&Signature={signature}"
    assert cdn.verify(link)


def test_media_cdn_signed_prefixes_and_cookies_are_googles() -> None:
    cdn = MediaCdn(site("www.example.com", BEFORE), {"my-key": MEDIA_KEY}, mode="signature")
    assert cdn.sign_prefix("/some/", expires_at=MEDIA_END).url("path?some=query&another=param").reveal() == (
        "http://www.example.com/some/path?some=query&another=param&URLPrefix=aHR0cDovL3d3dy5leGFtcGxlLmNvbS9zb21lLw==&"
        "Expires=1650848400&KeyName=my-key&Signature="
        "pVN8HKc6Be-PDczd9NjqSui3HHaoCLUN5iDv6JhQ77uKigsCih6z_cMTGjeXhgGASh1zr-ZPrOnxWJxxGWxsBg=="
    )
    (cookie,) = cdn.sign_cookies("/foo/", expires_at=MEDIA_END)
    assert f"{cookie.name}={cookie.value.reveal()}" == (
        "Edge-Cache-Cookie=URLPrefix=aHR0cDovL3d3dy5leGFtcGxlLmNvbS9mb28v:Expires=1650848400:KeyName=my-key:"
        "Signature=I0BnupL1tKbXklf1rK50nlC9JMh4HBLogTKByatOFRvALofT159BegB26Z2WmrI-ZAgAp8Q-1__bWtFdMAqCAA"
    )
    assert cdn.verify([cookie], url="http://www.example.com/foo/a")


# media_cdn/dualtoken_test.py: tokens
TOKEN_END = datetime(2022, 9, 13, 12, tzinfo=UTC)
SEED = "DJUcnLguVFKmVCFnWGubG1MZg7fWAnxacMjKDhVZMGI="
SHARED = "g_SlMILiIWKqsC6Z2L7gy0sReDOqtSrJrE7CXNr5Nl8="


def tokens(algorithm: Any = "ed25519", host: str = "10.20.30.40") -> MediaCdn:
    return MediaCdn(site(host, BEFORE), {"k": SEED if algorithm == "ed25519" else SHARED}, algorithm=algorithm)


@pytest.mark.parametrize(
    ("algorithm", "end"),
    [
        (
            "ed25519",
            "Signature=OQLXEjnApFGJaGZ_jvp2R7VY5q3ic-HT3igFpi9iPsJRXtQuvPF4cxZUT-rtCqzteXx3vSRhk09FxgDQauO_DA",
        ),
        ("sha1", "hmac=6f5b4bb82536810d5ee111cba3e534d49c6ac3cb"),
        ("sha256", "hmac=409722313cf6d987da44bb360e60dccc3d79764520fc5e3b57654e1d4d2c862e"),
    ],
)
def test_a_media_cdn_prefix_token_is_googles(algorithm: str, end: str) -> None:
    cdn = tokens(algorithm)
    grant = cdn.sign_prefix("/", expires_at=TOKEN_END)
    query = grant.query
    assert query is not None
    assert query.reveal() == f"edge-cache-token=URLPrefix=aHR0cDovLzEwLjIwLjMwLjQwLw~Expires=1663070400~{end}"
    assert cdn.verify(grant.url("a/b.ts"))


@pytest.mark.parametrize(
    ("algorithm", "end"),
    [
        (
            "ed25519",
            "Signature=X74OTNjtseIUmsab-YiOTZ8jyX_KG7v4YQWwcFpfFmjhzaX8NdweMc9Wglj8wxEsEW85g3_MBG3T9jzLZFQDCw",
        ),
        ("sha1", "hmac=7af78177d6bc001d5626eefe387b1774a4a99ca2"),
        ("sha256", "hmac=365b41fd77297371d890fc9a56e4e3d3baa4c7afbd230a0e9a81c8e1bcab9420"),
    ],
)
def test_a_media_cdn_full_path_token_is_googles(algorithm: str, end: str) -> None:
    cdn = tokens(algorithm)
    link = cdn.sign_url("/example.m3u8", expires_at=TOKEN_END).reveal()
    assert link.partition("?")[2] == f"edge-cache-token=FullPath~Expires=1663070400~{end}"
    assert cdn.verify(link)
    assert cdn.verify(link.replace("example.m3u8", "example.m3u9")).reason is Refusal.SIGNATURE


@pytest.mark.parametrize(
    ("algorithm", "end"),
    [
        (
            "ed25519",
            "Signature=A7u67hveGxGvP8KBWZlUuH0IsqhS4a2lcsXwy3uc4X3zaVuw7LY-2FQT1ZF8UxkSFAsDS3_0LYnXwXB2XdepDg",
        ),
        ("sha1", "hmac=b8242e8b76cbfbbd61b3540ed0eb60a2ec2fdbdb"),
        ("sha256", "hmac=dda9c3d6f3b2e867a09fbb76209ea138dd81f8512210f970d1e92f90927bef4b"),
    ],
)
def test_a_media_cdn_token_with_every_field_is_googles(algorithm: str, end: str) -> None:
    """Google's sample has two ranges, and the API one: the list of ranges is given to the pure function itself."""
    from blobkit.cdn.model import Terms
    from blobkit_gcs.cdn.media import sign_token

    class Ranges:
        def __str__(self) -> str:
            return "203.0.113.0/24,2001:db8:4a7f:a732/64"

    restrict = Restrictions(session="test-id", data="test-data", headers={"Foo": "bar", "BAZ": "quux"})
    terms = Terms(1663027200, Ranges(), restrict)  # type: ignore[arg-type]
    scope = ("PathGlobs=/*", "PathGlobs=/*")
    key = tokens(algorithm)._key
    token = sign_token(key, algorithm, scope, 1663070400, terms)  # type: ignore[arg-type]
    assert token == (
        "PathGlobs=/*~Starts=1663027200~Expires=1663070400~SessionID=test-id~Data=test-data~Headers=Foo,BAZ"
        f"~IPRanges=MjAzLjAuMTEzLjAvMjQsMjAwMTpkYjg6NGE3ZjphNzMyLzY0~{end}"
    )


def test_a_media_cdn_path_component_is_googles() -> None:
    cdn = MediaCdn(Site("example.com", clock=lambda: BEFORE), {"test-key": SHARED}, mode="path")
    grant = cdn.sign_prefix("/", expires_at=TOKEN_END)
    assert grant.url("test-filename").reveal() == (
        "https://example.com/edge-cache-token=Expires=1663070400&KeyName=test-key&Signature="
        "2hvmMKXW_e0bY3ViJNDSgoXDGvNj2L-UYTseTgtj96Va0S4FYxehka1k4hzWo2_87B9zqr_Ne4MMEdRfHUMUBw==/test-filename"
    )
    deeper = cdn.sign_prefix("/v/42/", expires_at=TOKEN_END)
    verdict = cdn.verify(deeper.url("/v/42/a/b.ts?x=1"))
    assert verdict
    assert verdict.path == "/v/42/a/b.ts"
    assert cdn.verify(deeper.url("a").reveal().replace("/v/42/", "/v/43/")).reason is Refusal.SIGNATURE
    assert deeper.query is None


def test_the_restrictions_of_a_media_cdn_token_are_checked() -> None:
    cdn = tokens()
    restrict = Restrictions(headers={"Foo": "bar"}, session="s1")
    link = cdn.sign_url(
        "/a", expires_at=TOKEN_END, not_before=datetime(2022, 2, 1, tzinfo=UTC), ip="2001:db8::/32", restrict=restrict
    )
    good = {"at": datetime(2022, 3, 1, tzinfo=UTC), "ip": "2001:db8::7", "headers": {"foo": "bar"}}
    assert cdn.verify(link, **good)  # type: ignore[arg-type]
    assert cdn.verify(link, **{**good, "at": BEFORE}).reason is Refusal.NOT_YET  # type: ignore[arg-type]
    assert cdn.verify(link, **{**good, "at": TOKEN_END}).reason is Refusal.EXPIRED  # type: ignore[arg-type]
    assert cdn.verify(link, **{**good, "ip": "2001:db9::7"}).reason is Refusal.ADDRESS  # type: ignore[arg-type]
    assert cdn.verify(link, **{**good, "ip": None}).reason is Refusal.ADDRESS  # type: ignore[arg-type]
    assert cdn.verify(link, **{**good, "headers": {}}).reason is Refusal.HEADER  # type: ignore[arg-type]
    assert cdn.verify(link, **{**good, "headers": {"foo": "x"}}).reason is Refusal.SIGNATURE  # type: ignore[arg-type]


def test_a_media_cdn_glob_covers_what_it_matches() -> None:
    cdn = tokens()
    grant = cdn.sign_prefix("/v/*/720p/*", expires_at=TOKEN_END)
    assert cdn.verify(grant.url("/v/42/720p/a.ts"))
    query = grant.query
    assert query is not None
    assert cdn.verify(f"http://10.20.30.40/v/42/480p/a.ts?{query.reveal()}").reason is Refusal.RESOURCE
    with pytest.raises(errors.InvalidArgument, match="glob"):
        cdn.sign_prefix("/v/*/a,b/*")
    (cookie,) = cdn.sign_cookies("/v/", expires_at=TOKEN_END)
    assert cdn.verify([cookie], url="http://10.20.30.40/v/a")


def test_ed25519_keys_come_as_seed_pem_or_public_pem() -> None:
    seed = MediaCdn(Site("h", clock=at), {"k": pem(ed_key())})
    public = MediaCdn(Site("h", clock=at), {"k": public_pem(ed_key())})
    link = seed.sign_url("/a")
    assert public.verify(link)
    with pytest.raises(errors.SigningUnavailable):
        public.sign_url("/a")
    called = MediaCdn(Site("h", clock=at), {"k": ed_key().sign})
    assert called.sign_url("/a") == link
    assert called.verify(link).reason is Refusal.UNVERIFIABLE
    for bad in ("AAAA", b"1" * 31, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"):
        with pytest.raises(errors.ConfigError):
            MediaCdn("h", {"k": bad})
    with pytest.raises(errors.ConfigError):
        MediaCdn("h", {"k": SHARED}, mode="path", algorithm="sha256")


def test_both_open_from_urls() -> None:
    env = {"K": SEED, "C": CLOUD_KEY, "O": CLOUD_KEY}
    url = "mediacdn://media.example/videos/?key_name=k&key_env=K&parameter=hdnts&origin_path=prod/"
    cdn = blobkit.open_cdn(url, env=env, store_prefix="prod/")
    assert cdn.sign_key("42/a.ts").reveal().startswith("https://media.example/videos/42/a.ts?hdnts=FullPath~Expires=")
    with pytest.raises(errors.InvalidArgument, match="hdnts"):
        cdn.sign_url("/a?hdnts=x")
    cloud = blobkit.open_cdn(
        "cloudcdn://cdn.example/?key_name=k&key_env=C&previous_key_name=o&previous_key_env=O", env=env
    )
    assert cloud.verify(cloud.sign_url("/a"))
