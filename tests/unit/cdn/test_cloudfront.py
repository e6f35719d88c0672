"""CloudFront: every byte is botocore's, AWS's published vectors hold, and verification refuses what it must."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

import blobkit
from blobkit import Refusal, Restrictions, errors
from blobkit.cdn import Site
from blobkit_aws.cdn import CloudFront, decode, encode

from .keys import LATER, NOW, at, ec_key, pem, public_pem, rsa_key

HOST = "d111111abcdef8.cloudfront.net"
SITE = Site(HOST, clock=at)
paths = st.text(st.sampled_from("abcXYZ019-_.~!$&'(),;=@%20/é ü日+"), max_size=30).map(
    lambda text: "/" + text.replace("%", "")
)
keys = st.text(st.characters(codec="utf-8", categories=("L", "M", "N", "P", "S", "Zs")), min_size=1, max_size=40)


def cloudfront(key: Any = None, *, hash_algorithm: Any = "SHA256") -> CloudFront:
    return CloudFront(SITE, {"K1": pem(ec_key()) if key is None else key}, hash_algorithm=hash_algorithm)


def theirs(hash_algorithm: str) -> Any:
    digest = hashes.SHA1() if hash_algorithm == "SHA1" else hashes.SHA256()
    return CloudFrontSigner("K1", lambda message: rsa_key().sign(message, padding.PKCS1v15(), digest))


def suffix(hash_algorithm: str) -> str:
    return "&Hash-Algorithm=SHA256" if hash_algorithm == "SHA256" else ""


@cache
def rsa_cloudfront(hash_algorithm: Any) -> CloudFront:
    """Parsing the key takes longer than signing with it."""
    return cloudfront(pem(rsa_key()), hash_algorithm=hash_algorithm)


@settings(max_examples=60)
@given(paths, st.sampled_from(["SHA1", "SHA256"]), st.integers(1, 10**6), st.booleans())
def test_a_canned_link_equals_botocores(path: str, algorithm: str, life: int, query: bool) -> None:
    cdn = rsa_cloudfront(algorithm)
    end = NOW + timedelta(seconds=life)
    try:
        mine = cdn.sign_url(path + ("?size=large&v=1" if query else ""), expires_at=end).reveal()
    except errors.InvalidArgument:
        assert path.startswith("//") or any(segment in (".", "..") for segment in path.split("/"))
        return
    plain = mine.partition("&Expires=" if query else "?Expires=")[0]
    assert mine == theirs(algorithm).generate_presigned_url(plain, date_less_than=end) + suffix(algorithm)


@settings(max_examples=40)
@given(st.sampled_from(["SHA1", "SHA256"]), st.booleans(), st.sampled_from([None, "203.0.113.7", "203.0.113.0/24"]))
def test_a_custom_link_and_a_prefix_equal_botocores(algorithm: str, starts: bool, ip: str | None) -> None:
    cdn = rsa_cloudfront(algorithm)
    other = theirs(algorithm)
    begin = NOW - timedelta(hours=1) if starts else None
    grant = cdn.sign_prefix("/videos/42/", expires_at=LATER, not_before=begin, ip=ip)
    policy = other.build_policy(f"https://{HOST}/videos/42/*", LATER, begin, ip)
    expected = other.generate_presigned_url(f"https://{HOST}/videos/42/a.ts", policy=policy)
    assert grant.url("a.ts").reveal() == expected + suffix(algorithm)
    if starts or ip:
        link = cdn.sign_url("/videos/a.mp4", expires_at=LATER, not_before=begin, ip=ip)
        policy = other.build_policy(f"https://{HOST}/videos/a.mp4", LATER, begin, ip)
        expected = other.generate_presigned_url(f"https://{HOST}/videos/a.mp4", policy=policy)
        assert link.reveal() == expected + suffix(algorithm)


# aws-cli tests/functional/cloudfront/test_sign.py: its published test key, and what `aws cloudfront sign` gives with it.
AWS_CLI_KEY = """-----BEGIN RSA PRIVATE KEY-----
MIIEowIBAAKCAQEAu6o2+Jc8UINw2P/w2l7A1xXu3emQEZQ9diA3bmog8r9Dg+65
fZgAqmuNWPqBivv7j3DGnLUdt8uCIr7PYUbK7wDa6n7U3ryOWtO2ZTc3StiJVcqT
sokZ0qxGFtDRafjBuydXtcxh52vVTcHqH33nubyyZIzuhTwfmrIOnUXnLwbMrBBP
bg/8mlgQooyo1XbrN1eO4XMs+UgQ9Mqc7KRJRinUJ+KYuCnM8f/nN4RjYdjTcghk
xCPEHCeSt2luywWyYmfguWCBS2Mu1q0250wKyNazlgiiTJtAuuSeweb4NKPOJL9X
hR6Ce6UuU4WYlli8gvQh3FAV3N3C1Rxo20k28QIDAQABAoIBAQCUEkP5dWrzpCJg
NeHWizjg/L9SfT1dgXfVQqo6BqckoeElsjDNdifgT6hhcpbQEO52SWeMsiNWp85w
l9mNSYxJdIVGzPgtHt27sJyT1DNebOg/tu0+y4qCfcd3rR/u24YQo4RDP5ZoQN82
0TBn1LIIDWk8iS6SFdRh/OgnE8bLhNbK9IfZQFEEJrFkArrn/le/ro2mfJkC/imo
QvqKmM0dGBXt5SCDSbUQAzKtEcR/4gf/qSjFe2YAwAvSA05WXMH6szdtx6/H/VbK
Uck/WwTHvGObQDFEWmICxPK9AWT0qaFNjlUsi3bjQRdIlYYrXe+6nVMB/Jp1awq7
tGBqIcWBAoGBAPtXCNuoQhKXqkjJgteQpB+wFav12XRZgpOciYdeviJrgWydpOOu
O9wkiRUctUijRJbUuWCJF7SgYGoT2xTTp/COiOReqs7qXLMuuXCZcPKkMRJj5wmo
Uc2AwUV/o3+PNz1NFK+2RgciXplac7qugIyuxIvBKuVFTBlCg0+if/0pAoGBAL8k
845wKqOeiawwle/o9lKLGPy1T11GrE6l1A5jRuE1WTVM77jRrb0Hmo0mdfHaf5A0
EjXGIX/fjcmQzBrEd78eCUsvI2Bgn6xXwhd4TTyWHGZfoQjFqAGkixuLN1oo2h1g
bRreFKfAubFP8MC93z23vnH6tdY2VIA4h5ehUFyJAoGAJqxJrKLDJ+E2TmTTQR/8
YPPTIdZ+UyzCrrvTXYTydJFeJLxM9suEYmcswJbePgMBNsQckgIGJ8DVlPzhJN88
ZANKhPkcByKAiQGTfwPdITiqZE4C6rV/gMNi+bKeEa6TrVcC69Z8B/T94VLNo9fd
58esbmSWmRiEkQ5u7f3u+6ECgYA8+6ANCLJB43nPCu07TpsP+LrvHTWF799XdEa0
lG3vuiKNA8/TqmoAziU79VJZ6Dkcm9BXga/8aSmGboD/5UDDI+UZLJ/fxtQKmzEc
ZdBWjRnge5AYCV+xrnqHPiJZzIDSMIp+sO3sG2vjKzsHc0x/F1lWagOLpWfORLrV
4KyP6QKBgAafeSrfK3LM7idiCBuxckLCgFoHa7uXLUNJRS5iIU+bbZLPj2ozu/tk
U0jp7sNk1CyMWI36lR3sujkSyH3lPIXVgrXMuGY3PJRGntN8WlWEsw4VUMGRj3h4
5rB+y/UOS+nlEwQ6eOS09GByJDEXOXpcwjFcTr/f7V8mi0jH+gY/
-----END RSA PRIVATE KEY-----
"""


def test_awss_published_signatures_hold() -> None:
    cdn = CloudFront(
        Site("example.com", insecure=True, clock=lambda: datetime(2015, 12, 1, tzinfo=UTC)),
        {"my_id": AWS_CLI_KEY},
        hash_algorithm="SHA1",
    )
    end = datetime(2016, 1, 1, tzinfo=UTC)
    assert cdn.sign_url("/hi", expires_at=end).reveal() == (
        "http://example.com/hi?Expires=1451606400&Signature="
        "UiEmtMsInU-gXoa1O7-bTRJmZ~ocphB0ONMxyEHs2r8Y9dwzeB~DkbgzPMX3jbdbwIwVX3f4VcY4HBLdPSkbF~D6KbUlxPw1ju8mlXeu2C436XxZ"
        "drJrrJaiEDaTpKslXpn9ngaCzVfCVPfkC3a0NBWBySi5ezCG2yzb0c-djNgI1wkogwtmtZuOxAoKF1sRTyFX9ZitUiUIl~65nkJ94s~GGwxzTf1k"
        "Mi7Wdm~9rFrJpx0O7nJEBy5O578s2UHrejtwyedUR5BqXTkgu~A51NcjAN9LErATV7SVBYicoZ76AOfB-TKay7g6-MWCK6-T-4Q5x6XH4yzII3Jp"
        "bCmVwA__&Key-Pair-Id=my_id"
    )
    custom = dict(parse_qsl(urlsplit(cdn.sign_url("/hi", expires_at=end, ip="12.34.56.78").reveal()).query))
    assert custom["Signature"] == (
        "Vw-WG18WJJXim7YSGWS-zW~XmFB9MjCDOvgC~2Gz-1wiMQzCrXzYYbSE7-aF6JGOOb5ewArpMqmu2g5mohnqgieZX1NY6IOteDoXYgqaNj1DafHW"
        "QD6UJ3IKVfkxISU9OmFPoG7H~VSPWEzOxdjOqdIPvAU2pW2mJ5oWu2aL62s0VVtLGCAm-DahiSQisl0JbzpPyG1pofvPbT75qc71r9uiqSAbPjUF"
        "5nmLCZazVnFjDkj3zIgMRYa5aV54VDa6-wEizzmjQ3-m6UMoYgcGHQXEjoFIWTfpZvbZBYkmK9lk3d16cgvaHafTJ-CPegn1bKxfgNEjSAoPWS0O"
        "vBkRmg__"
    )


@given(st.binary(max_size=80))
def test_cloudfronts_base64_goes_both_ways(value: bytes) -> None:
    assert decode(encode(value)) == value
    assert not set(encode(value)) & set("+=/")


@pytest.mark.parametrize("algorithm", ["SHA1", "SHA256"])
def test_an_ecdsa_signature_is_der_over_the_very_policy(algorithm: str) -> None:
    link = cloudfront(hash_algorithm=algorithm).sign_url("/a.mp4?x=1", expires_at=LATER).reveal()
    query = dict(parse_qsl(urlsplit(link).query))
    expires = int(LATER.timestamp())
    policy = f'{{"Statement":[{{"Resource":"https://{HOST}/a.mp4?x=1","Condition":{{"DateLessThan":{{"AWS:EpochTime":{expires}}}}}}}]}}'
    digest = hashes.SHA1() if algorithm == "SHA1" else hashes.SHA256()
    ec_key().public_key().verify(decode(query["Signature"]), policy.encode(), ec.ECDSA(digest))
    assert query.get("Hash-Algorithm") == ("SHA256" if algorithm == "SHA256" else None)


def test_a_query_is_written_literally_in_a_custom_policy_and_a_star_is_no_wildcard() -> None:
    cdn = cloudfront()
    link = cdn.sign_url("/a*b.mp4?v=1", expires_at=LATER, ip="203.0.113.7")
    query = dict(parse_qsl(urlsplit(link.reveal()).query))
    (statement,) = json.loads(decode(query["Policy"]))["Statement"]
    assert statement["Resource"] == f"https://{HOST}/a%2Ab.mp4\\?v=1"
    assert link.reveal().startswith(f"https://{HOST}/a%2Ab.mp4?v=1&Policy=")
    assert cdn.verify(link, ip="203.0.113.7")
    other = link.reveal().replace("a%2Ab", "a-b")
    assert cdn.verify(other, ip="203.0.113.7").reason is Refusal.RESOURCE
    assert f"https://{HOST}/a*b.mp4?Expires=" in cdn.sign_url("/a*b.mp4", expires_at=LATER).reveal(), (
        "canned knows none"
    )


def test_a_wildcard_may_stand_inside() -> None:
    cdn = cloudfront()
    grant = cdn.sign_prefix("/v/*/720p/seg-???.ts", expires_at=LATER)
    assert cdn.verify(grant.url("/v/42/720p/seg-001.ts"))
    with pytest.raises(errors.InvalidArgument, match="not below"):
        grant.url("/v/42/480p/seg-001.ts")
    query = grant.query
    assert query is not None
    for path in ("/v/42/480p/seg-001.ts", "/v/42/720p/seg-0001.ts", "/w/42/720p/seg-001.ts", "/v/42/720p/seg-001.ts2"):
        assert cdn.verify(f"https://{HOST}{path}?{query.reveal()}").reason is Refusal.RESOURCE, path


def test_several_keys_are_active_and_the_first_signs() -> None:
    old = CloudFront(SITE, {"K0": pem(rsa_key())})
    new = CloudFront(SITE, {"K1": pem(ec_key()), "K0": public_pem(rsa_key())})
    assert "Key-Pair-Id=K1" in new.sign_url("/a").reveal()
    assert new.verify(old.sign_url("/a"))
    assert old.verify(new.sign_url("/a")).reason is Refusal.UNKNOWN_KEY
    third = CloudFront(SITE, {"K0": public_pem(rsa_key())})
    with pytest.raises(errors.SigningUnavailable):
        third.sign_url("/a")


def test_the_hash_of_a_link_is_its_own() -> None:
    link = cloudfront(hash_algorithm="SHA1").sign_url("/a")
    assert cloudfront(hash_algorithm="SHA256").verify(link)
    forged = link.reveal() + "&Hash-Algorithm=SHA256"
    assert cloudfront().verify(forged).reason is Refusal.SIGNATURE


def test_what_signs_may_be_a_callable() -> None:
    cdn = cloudfront(lambda message: rsa_key().sign(message, padding.PKCS1v15(), hashes.SHA256()))
    link = cdn.sign_url("/a", expires_at=LATER)
    assert link == cloudfront(pem(rsa_key())).sign_url("/a", expires_at=LATER)
    assert not cdn.capabilities.verifiable
    assert cdn.verify(link).reason is Refusal.UNVERIFIABLE
    with pytest.raises(errors.SigningUnavailable):
        cloudfront(lambda message: b"").sign_url("/a")


def test_keys_of_the_wrong_kind_or_size_are_refused() -> None:
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    other = ec.generate_private_key(ec.SECP384R1())
    for bad in (
        pem(small),
        pem(other),
        "no key",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"",
    ):
        with pytest.raises(errors.ConfigError) as caught:
            cloudfront(bad)
        assert "AAAA" not in str(caught.value)
    with pytest.raises(errors.ConfigError):
        CloudFront(SITE, {})
    with pytest.raises(errors.ConfigError):
        CloudFront(SITE, {"K 1": pem(ec_key())})


def test_restrictions_that_cloudfront_cannot_check_raise() -> None:
    cdn = cloudfront()
    for ip in ("2001:db8::1", "2001:db8::/32"):
        with pytest.raises(errors.Unsupported, match="ipv6"):
            cdn.sign_url("/a", ip=ip)
    with pytest.raises(errors.Unsupported, match="countries"):
        cdn.sign_url("/a", restrict=Restrictions(countries=("CA",)))
    with pytest.raises(errors.InvalidExpiry, match="2038"):
        cdn.sign_url("/a", expires_at=datetime(2038, 2, 1, tzinfo=UTC))


def test_cookies_are_botocores_policy_and_are_verified() -> None:
    cdn = cloudfront(pem(rsa_key()))
    cookies = cdn.sign_cookies("/videos/42/*", expires_at=LATER, domain="example.com")
    assert [cookie.name for cookie in cookies] == [
        "CloudFront-Policy", "CloudFront-Signature", "CloudFront-Key-Pair-Id", "CloudFront-Hash-Algorithm",
    ]  # fmt: skip
    other = theirs("SHA256")
    policy = other.build_policy(f"https://{HOST}/videos/42/*", LATER)
    assert decode(cookies[0].value.reveal()) == policy.encode()
    assert (
        cookies[0].header().reveal().endswith("; Path=/videos/42/; Domain=example.com; Secure; HttpOnly; SameSite=Lax")
    )
    assert cdn.verify(cookies, url=f"https://{HOST}/videos/42/a/b.ts?x=1")
    assert cdn.verify(cookies, url=f"https://{HOST}/videos/43/b.ts").reason is Refusal.RESOURCE
    assert cdn.verify({}, url=f"https://{HOST}/videos/43/b.ts").reason is Refusal.UNSIGNED
    assert cdn.verify(cookies, url=f"https://{HOST}/videos/42/b.ts", at=LATER).reason is Refusal.EXPIRED


def test_sha1_cookies_name_no_hash() -> None:
    names = [cookie.name for cookie in cloudfront(hash_algorithm="SHA1").sign_cookies("/a/")]
    assert names == ["CloudFront-Policy", "CloudFront-Signature", "CloudFront-Key-Pair-Id"]


def test_it_opens_from_a_url_and_a_kit(tmp_path: Any) -> None:
    file, older = tmp_path / "key.pem", tmp_path / "old.pem"
    file.write_text(pem(ec_key()))
    older.write_text(public_pem(rsa_key()))
    url = (
        f"cloudfront://{HOST}/?key_pair_id=K1&private_key_file={file}&previous_key_pair_id=K0&previous_key_file={older}"
    )
    with blobkit.open_cdn(url, clock=at) as cdn:
        assert cdn.verify(CloudFront(SITE, {"K0": pem(rsa_key())}).sign_url("/a"))
    settings = {
        "stores": {"media": "memory://cdn-media/prod/videos/?public=true"},
        "cdns": {"media": {"provider": "cloudfront", "host": HOST, "key_pair_id": "K1", "private_key_file": str(file),
                           "store": "media", "origin_path": "prod/"}},
    }  # fmt: skip
    with blobkit.load(settings, env={}) as kit:
        cdn = kit.cdn("media")
        assert cdn is kit.cdn("MEDIA")
        assert kit.cdn_names == ("media",)
        link = cdn.sign_key("42/a b+ü?.mp4").reveal()
        assert link.startswith(f"https://{HOST}/videos/42/a%20b%2B%C3%BC%3F.mp4?Expires=")
    with pytest.raises(errors.ClosedError):
        cdn.sign_url("/a")
    environment = {
        "BLOBKIT_CDN_MEDIA": f"cloudfront://{HOST}/x/?key_pair_id=K1&private_key_env=PEM",
        "PEM": pem(ec_key()),
    }
    with blobkit.load(env=environment) as kit:
        assert kit.cdn("media").sign_key("a").reveal().startswith(f"https://{HOST}/x/a?")
    with pytest.raises(errors.CredentialsMissing):
        blobkit.open_cdn(f"cloudfront://{HOST}/?key_pair_id=K1", env={})
    with pytest.raises(errors.UnknownOption, match="key_pair"):
        blobkit.open_cdn(f"cloudfront://{HOST}/?keypair_id=K1", env={})
    with pytest.raises(errors.ConfigError, match="store of a kit"):
        blobkit.open_cdn(f"cloudfront://{HOST}/?key_pair_id=K1&store=media", key=pem(ec_key()), env={})
