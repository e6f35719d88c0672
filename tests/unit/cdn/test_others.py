"""The independent CDNs and Front Door against what their vendors publish, and against the rule computed once more here."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

import pytest
from azure.storage.blob import BlobSasPermissions, generate_blob_sas
from hypothesis import given, settings
from hypothesis import strategies as st

import blobkit
from blobkit import Refusal, Restrictions, errors
from blobkit.cdn import Site
from blobkit_azure.cdn import FrontDoor
from blobkit_cdns import Akamai, Bunny, Cloudflare, Fastly, KeyCdn, Nginx

from .every import HEX, HOST, SITE
from .keys import LATER, NOW

names = st.text(st.sampled_from("abcXYZ019-_.~ é日$(),"), min_size=1, max_size=20).filter(
    lambda text: text not in (".", "..")
)
END = int(LATER.timestamp())

# https://github.com/BunnyWay/BunnyCDN.TokenAuthentication, e2e/vectors.json: made there for six languages.
BUNNY_END = datetime.fromtimestamp(1598024587, UTC)
BUNNY = Site("token-tester.b-cdn.net", clock=lambda: BUNNY_END - timedelta(days=1))
V6 = "2001:0db8:85a3:0000:0000:8a2e:0370:7334"
ALLOWED, BLOCKED = Restrictions(countries=("CA", "US")), Restrictions(blocked_countries=("RU", "CN"))


@pytest.mark.parametrize(
    ("asked", "query"),
    [
        ({}, "token=HS256-o10JRWlsAItyAsdKS6jJKjabHN4FrFsplDHPV1idcX4"),
        (
            {"restrict": ALLOWED},
            "token=HS256-i5s3Uv7mnrFfN5nznwU2BxhILpnipYeE18TapV0WNFM&token_countries=CA%2CUS",
        ),
        (
            {"restrict": BLOCKED},
            "token=HS256-JS8dSuBSjSH-W2-xhdkCPC36-2rlxfDCQJjlNMPqKZQ&token_countries_blocked=RU%2CCN",
        ),
        ({"restrict": Restrictions(speed=1000)}, "token=HS256-DAVapqNNED3Z7JkjRTYX0UOIHNtbHEuuhRNEc4A7mMQ&limit=1000"),
        ({"ip": "1.2.3.4"}, "token=HS256-1-L2rISTLcujMY9UFf2tbZ41d5i-Bme1g1oTK_Z2QMLJk"),
        ({"ip": V6}, "token=HS256-1-Z1BaGdhTZdU4iANcyKpurFR2VgCNdqC6hlBv5x_TyaI"),
        (
            {"ip": "1.2.3.4", "restrict": BLOCKED},
            "token=HS256-1-myF6Rnz7Z9VAfAjjkyUHJQ_6gr-AJ7VyPsG5rQdQKm8&token_countries_blocked=RU%2CCN",
        ),
        (
            {"ip": V6, "restrict": BLOCKED},
            "token=HS256-1-XGkCf_JKNfOrpWAM_CIYjZBbVHbB4U1mxHg8pXJtBNc&token_countries_blocked=RU%2CCN",
        ),
    ],
)
def test_bunnys_links_are_its_vectors(asked: dict[str, Any], query: str) -> None:
    cdn = Bunny(BUNNY, "SecurityKey")
    link = cdn.sign_url("/300kb.jpg", expires_at=BUNNY_END, **asked)
    assert link.reveal() == f"https://token-tester.b-cdn.net/300kb.jpg?{query}&expires=1598024587"
    assert cdn.verify(link, ip=asked.get("ip"), country="CA")


def test_bunny_signs_a_links_own_parameters() -> None:
    """From the same repository, the Rust tests: an existing query, and a token's path (written there without the slash)."""
    cdn = Bunny(BUNNY, "SecurityKey", prefixes="query")
    link = cdn.sign_url("/300kb.jpg?v=123", expires_at=BUNNY_END).reveal()
    assert link.endswith("?token=HS256-q6oRQr-5ccQ-piO1HSEQu1DVMy9UMppRxGlIQwoeM5Y&v=123&expires=1598024587")
    with pytest.raises(errors.InvalidArgument, match="twice"):
        cdn.sign_url("/a?v=1&v=2")
    with pytest.raises(errors.Unsupported, match="ip_range"):
        cdn.sign_url("/a", ip="203.0.113.0/24")


@settings(max_examples=60)
@given(names, st.dictionaries(names, names, max_size=3), st.sampled_from([None, "203.0.113.7", "2001:db8:1:2:3:4:5:6"]))
def test_bunnys_tokens_follow_the_published_rule(name: str, own: dict[str, str], ip: str | None) -> None:
    """signed = path or token_path + expires + address + the parameters, decoded, sorted, k=v joined by &."""
    cdn = Bunny(SITE, "SecurityKey", prefixes="query")
    query = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in own.items())
    link = cdn.sign_url(f"/{quote(name)}" + (f"?{query}" if query else ""), expires_at=LATER, ip=ip).reveal()
    path = urlsplit(link).path
    packed = b"" if ip is None else b"\xcb\x00\x71\x07" if "." in ip else bytes.fromhex("20010db800010002") + bytes(8)
    text = f"{path}{END}".encode() + packed + "&".join(f"{k}={own[k]}" for k in sorted(own)).encode()
    mac = base64.urlsafe_b64encode(hmac.new(b"SecurityKey", text, hashlib.sha256).digest()).decode().rstrip("=")
    sent = dict(parse_qsl(urlsplit(link).query, keep_blank_values=True))
    assert sent == {**own, "token": f"HS256-{'1-' if ip else ''}{mac}", "expires": str(END)}


def test_bunnys_prefixes_are_its_vectors_form() -> None:
    cdn = Bunny(BUNNY, "SecurityKey")
    grant = cdn.sign_prefix("/abc/", expires_at=BUNNY_END, ip="1.2.3.4", restrict=ALLOWED)
    parameters = "token_countries=CA,US&token_path=/abc/"
    text = b"/abc/1598024587\x01\x02\x03\x04" + parameters.encode()
    mac = base64.urlsafe_b64encode(hmac.new(b"SecurityKey", text, hashlib.sha256).digest()).decode().rstrip("=")
    assert grant.url("300kb.jpg").reveal() == (
        f"https://token-tester.b-cdn.net/bcdn_token=HS256-1-{mac}&token_countries=CA%2CUS&token_path=%2Fabc%2F"
        "&expires=1598024587/abc/300kb.jpg"
    )
    assert grant.query is None
    verdict = cdn.verify(grant.url("x/300kb.jpg"), ip="1.2.3.4", country="US")
    assert verdict
    assert verdict.path == "/abc/x/300kb.jpg"
    assert cdn.verify(grant.url("a"), ip="1.2.3.4", country="FR").reason is Refusal.COUNTRY
    assert cdn.verify(grant.url("a"), ip="1.2.3.4").reason is Refusal.COUNTRY
    with pytest.raises(errors.InvalidArgument, match="own parameters"):
        grant.url("a?x=1")


@settings(max_examples=80)
@given(
    names,
    st.sampled_from(["sha256", "sha1", "md5"]),
    st.booleans(),
    st.sampled_from([None, "salty"]),
    st.sampled_from([None, "203.0.113.7"]),
    st.booleans(),
    st.sampled_from([None, "s-1"]),
)
def test_akamais_tokens_follow_the_published_rule(
    name: str, algorithm: Any, escape: bool, salt: str | None, ip: str | None, starts: bool, session: str | None
) -> None:
    """EdgeAuth-Token-Python's rule: ip st exp acl id data in the token; url and salt in the digest too."""
    cdn = Akamai(SITE, HEX, algorithm=algorithm, escape=escape, salt=salt)
    begin = NOW - timedelta(hours=1)
    given_: dict[str, Any] = {"expires_at": LATER, "ip": ip, "restrict": Restrictions(session=session)}
    link = cdn.sign_url(f"/{quote(name)}?v=1", not_before=begin if starts else None, **given_).reveal()
    where = link.removeprefix(f"https://{HOST}").partition("&__token__=")[0]

    def escaped(text: str) -> str:
        import re

        return re.sub("(%..)", lambda match: match[1].lower(), quote_plus(text)) if escape else text

    fields = [f"ip={escaped(ip)}"] if ip else []
    fields += [f"st={int(begin.timestamp())}"] if starts else []
    fields += [f"exp={END}"]
    acl = [*fields, "acl=/v/*"]
    ids = [f"id={escaped(session)}"] if session else []
    salts = [f"salt={salt}"] if salt else []
    key = bytes.fromhex(HEX)
    for token, parts, extra in (
        (link.partition("__token__=")[2], fields + ids, [f"url={escaped(where)}"]),
        (_query(cdn.sign_prefix("/v/", not_before=begin if starts else None, **given_)), acl + ids, []),
    ):
        mac = hmac.new(key, "~".join(parts + extra + salts).encode(), algorithm).hexdigest()
        assert token == "~".join([*parts, f"hmac={mac}"])


def _query(grant: blobkit.PrefixGrant) -> str:
    query = grant.query
    assert query is not None
    return query.reveal().partition("=")[2]


def test_akamais_access_lists_and_keys() -> None:
    cdn = Akamai(SITE, HEX)
    grant = cdn.sign_prefix("/v/*/720p/*")
    assert cdn.verify(grant.url("/v/42/720p/a.ts"))
    assert cdn.verify(f"https://{HOST}/v/42/480p/a.ts?__token__={_query(grant)}").reason is Refusal.RESOURCE
    assert Akamai(SITE, [HEX[::-1], HEX]).verify(cdn.sign_url("/a"))
    assert cdn.capabilities.weak is None
    assert Akamai(SITE, HEX, algorithm="md5").capabilities.weak
    for bad in ("xyz", "abc", "", "00"):
        with pytest.raises(errors.ConfigError):
            Akamai(SITE, bad)
    with pytest.raises(errors.ConfigError):
        Akamai(SITE, HEX, token_name="a=b")
    with pytest.raises(errors.InvalidArgument):
        cdn.sign_prefix("/a!b/")


@settings(max_examples=60)
@given(names, st.booleans(), st.sampled_from(["", "?v=1&w=b"]))
def test_cloudflares_tokens_follow_the_documented_rule(name: str, url_safe: bool, query: str) -> None:
    """is_timed_hmac_valid_v0: HMAC-SHA256 of what stands before the separator, and the time of issue."""
    cdn = Cloudflare(SITE, "secret", ttl=timedelta(hours=2), url_safe=url_safe)
    link = cdn.sign_url(f"/{quote(name)}{query}", expires_at=LATER).reveal()
    before, _, value = link.removeprefix(f"https://{HOST}").rpartition("verify=")
    issued = END - 7200
    mac = hmac.new(b"secret", f"{before[:-1]}{issued}".encode(), hashlib.sha256).digest()
    sent = (
        base64.urlsafe_b64encode(mac).decode().rstrip("=")
        if url_safe
        else quote(base64.b64encode(mac).decode(), safe="/")
    )
    assert value == f"{issued}-{sent}"
    assert cdn.verify(link + "&x=1").reason is Refusal.MALFORMED, "nothing may follow"


def test_cloudflare_needs_the_rules_lifetime() -> None:
    with pytest.raises(errors.ConfigError, match="ttl"):
        blobkit.open_cdn(f"cloudflare://{HOST}/", key="secret", env={})
    cdn = Cloudflare(SITE, "secret", ttl=timedelta(hours=2))
    with pytest.raises(errors.InvalidExpiry):
        cdn.sign_url("/a", expires_in=timedelta(hours=3))


@settings(max_examples=40)
@given(names)
def test_fastly_keycdn_and_nginx_follow_their_recipes(name: str) -> None:
    path = "/" + quote(name, safe="-_.~!$&'()*,:;=@")
    fastly = Fastly(SITE, base64.b64encode(b"key").decode()).sign_url(path, expires_at=LATER).reveal()
    mac = hmac.new(b"key", f"{path}{END}".encode(), "sha1").hexdigest()
    assert fastly == f"https://{HOST}{path}?token={END}_{mac}"

    def md5(text: str) -> str:
        return base64.urlsafe_b64encode(hashlib.md5(text.encode()).digest()).decode().replace("=", "")

    keycdn = KeyCdn(SITE, "secret").sign_url(path, expires_at=LATER).reveal()
    assert keycdn == f"https://{HOST}{path}?token={md5(f'{path}secret{END}')}&expire={END}"
    nginx = Nginx(SITE, "secret").sign_url(path, expires_at=LATER).reveal()
    assert nginx == f"https://{HOST}{path}?md5={md5(f'{END}/{name} secret')}&expires={END}"


def test_nginx_digests_the_operators_own_expression() -> None:
    expression = "$secret-$uri/$remote_addr$secure_link_expires"
    cdn = Nginx(SITE, "s$uri", expression=expression, signature="st", expires="e")
    link = cdn.sign_url("/a//b%20c?x=1", expires_at=LATER, ip="203.0.113.7")
    digest = (
        base64.urlsafe_b64encode(hashlib.md5(f"s$uri-/a/b c/203.0.113.7{END}".encode()).digest()).decode().rstrip("=")
    )
    assert link.reveal() == f"https://{HOST}/a//b%20c?x=1&st={digest}&e={END}"
    assert cdn.verify(link, ip="203.0.113.7")
    assert cdn.verify(link).reason is Refusal.ADDRESS
    assert cdn.verify(link, ip="203.0.113.8").reason is Refusal.SIGNATURE
    with pytest.raises(errors.InvalidArgument, match="binds every link"):
        cdn.sign_url("/a")
    for bad in ("$uri $secret", "$secure_link_expires$uri", "$secure_link_expires$uri $secret$host", ""):
        with pytest.raises(errors.ConfigError):
            Nginx(SITE, "s", expression=bad)
    for bad_names in ({"signature": "a", "expires": "a"}, {"signature": "a b"}):
        with pytest.raises(errors.ConfigError):
            Nginx(SITE, "s", **bad_names)


def test_the_weak_ones_say_so_and_take_no_callable() -> None:
    for kind in (KeyCdn, Nginx):
        cdn = kind(SITE, ["new", "old"])
        assert "MD5" in (cdn.capabilities.weak or "")
        assert cdn.verify(kind(SITE, "old").sign_url("/a"))
        assert not cdn.verify(kind(SITE, "other").sign_url("/a"))
        with pytest.raises(errors.ConfigError, match="callable"):
            kind(SITE, lambda message: message)
        with pytest.raises(errors.ConfigError):
            kind(SITE, "")


@settings(max_examples=60)
@given(
    st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=30).filter(
        lambda key: not any(part in (".", "..") for part in key.split("/")) and key[0] != "/"
    ),
    st.booleans(),
)
def test_front_doors_sas_equals_azures_own(key: str, starts: bool) -> None:
    account_key = base64.b64encode(b"0123456789abcdef").decode()
    cdn = FrontDoor(Site(HOST, origin_path="media/", clock=SITE.clock), "acct", account_key)
    begin = NOW - timedelta(hours=1) if starts else None
    link = cdn.sign_key(f"media/{key}", expires_at=LATER, not_before=begin).reveal()
    mine = dict(parse_qsl(urlsplit(link).query, keep_blank_values=True))
    version = mine["sv"]
    with pytest.MonkeyPatch.context() as patch:
        import azure.storage.blob._shared_access_signature as sas

        patch.setattr(sas, "X_MS_VERSION", version)
        patch.setattr("azure.storage.blob._shared.shared_access_signature.X_MS_VERSION", version, raising=False)
        text = generate_blob_sas(
            "acct", "media", key, account_key=account_key, permission=BlobSasPermissions(read=True), expiry=LATER,
            start=begin, protocol="https",
        )  # fmt: skip
    theirs = dict(parse_qsl(text, keep_blank_values=True))
    assert mine == theirs


def test_front_door_is_honest() -> None:
    cdn = FrontDoor(SITE, "acct", b"key")
    assert "outlives" in (cdn.capabilities.weak or "")
    with pytest.raises(errors.Unsupported, match="ipv4"):
        cdn.sign_url("/media/a", ip="203.0.113.7")
    with pytest.raises(errors.InvalidArgument, match="container"):
        cdn.sign_url("/a")
    with pytest.raises(errors.InvalidArgument, match="sig"):
        cdn.sign_url("/media/a?sig=x")
    for account, key in (("Acct", b"k"), ("acct", "no base64!"), ("acct", "")):
        with pytest.raises(errors.ConfigError):
            FrontDoor(SITE, account, key)
    url = f"frontdoor://{HOST}/?account=acct&account_key_env=K&origin_path=media/"
    opened = blobkit.open_cdn(url, env={"K": base64.b64encode(b"key").decode()}, clock=SITE.clock)
    link = opened.sign_url("/a/b.txt", expires_at=LATER)
    assert opened.verify(link)
    assert json.dumps(link.reveal())


def test_each_opens_from_a_url() -> None:
    env = {"K": "secret", "H": HEX, "B": base64.b64encode(b"key").decode(), "O": "older", "S": "salt"}
    for url, other in {
        f"bunny://{HOST}/?key_env=K&previous_key_env=O&prefixes=query": Bunny(SITE, "older"),
        f"akamai://{HOST}/?key_env=H&algorithm=sha1&salt_env=S&escape=true&token_name=hdnts": Akamai(
            SITE, HEX, algorithm="sha1", salt="salt", escape=True, token_name="hdnts"
        ),
        f"cloudflare://{HOST}/?key_env=K&ttl=3600&url_safe=true": Cloudflare(
            SITE, "secret", ttl=timedelta(hours=1), url_safe=True
        ),
        f"fastly://{HOST}/?key_env=B": Fastly(SITE, b"key"),
        f"keycdn://{HOST}/?key_env=K&previous_key_env=O": KeyCdn(SITE, "older"),
        f"nginx://{HOST}/?key_env=K&signature=st": Nginx(SITE, "secret", signature="st"),
    }.items():
        opened = blobkit.open_cdn(url, env=env, clock=SITE.clock)
        assert opened.verify(other.sign_url("/a/b")), url
