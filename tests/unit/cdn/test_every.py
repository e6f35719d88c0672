"""What must hold for every CDN: what is signed is verified, and nothing else is."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blobkit import Refusal, Restrictions, errors
from blobkit.cdn import Cdn, CdnCapabilities, Restriction, Site, Terms, Verdict
from blobkit.cdn.base import Seen
from blobkit.redaction import RedactingFilter

from .every import HOST, NAMES, PATH_ONLY, SITE, every
from .keys import LATER, NOW

ALL = every()
keys = st.text(
    st.characters(codec="utf-8", categories=("L", "M", "N", "P", "S", "Zs")), min_size=1, max_size=30
).filter(
    lambda key: not any(segment in (".", "..") for segment in key.split("/")) and not key.startswith(("/", ".blobkit/"))
)
queries = st.sampled_from(["", "?", "?v=1", "?a=b%20c&d=é", "?a+b=c+d", "?x=%2B&y='q'", "?k=a/b?c:d@e"])


@pytest.fixture(params=NAMES)
def cdn(request: pytest.FixtureRequest) -> Cdn:
    return ALL[request.param]


@settings(max_examples=150)
@given(st.sampled_from(NAMES), keys, st.integers(1, 3 * 3600))
def test_a_key_that_was_signed_is_let_through_until_it_ends(name: str, key: str, life: int) -> None:
    cdn = ALL[name]
    end = NOW + timedelta(seconds=life)
    link = cdn.sign_key(key if name != "frontdoor" else f"media/{key}", expires_at=end)
    assert link.reveal().isascii()
    verdict = cdn.verify(link)
    assert verdict, (verdict.reason, verdict.detail)
    assert verdict.expires_at == end
    assert cdn.verify(link, at=end).reason is Refusal.EXPIRED
    assert cdn.verify(link, at=end - timedelta(seconds=1))


@settings(max_examples=150)
@given(st.sampled_from(NAMES), keys, queries)
def test_a_url_with_a_query_is_let_through(name: str, key: str, query: str) -> None:
    cdn = ALL[name]
    link = cdn.sign_url(f"https://{HOST}/" + key.replace("%", "%25").replace("#", "%23").replace("?", "%3F") + query)
    verdict = cdn.verify(link)
    assert verdict, (verdict.reason, verdict.detail, link.reveal())


@settings(max_examples=400)
@given(st.sampled_from(NAMES), st.data())
def test_one_changed_byte_is_refused(name: str, data: st.DataObject) -> None:
    cdn = ALL[name]
    link = cdn.sign_url("/videos/42/clip.mp4?v=1", expires_at=LATER).reveal()
    start = len(f"https://{HOST}/")
    place = data.draw(st.integers(start, len(link) - 1))
    char = data.draw(st.sampled_from("aZ09-_~.=&%/"))
    changed = link[:place] + char + link[place + 1 :]
    if changed == link or (name in PATH_ONLY and _only_its_own_query(link, changed)) or _same_bits(link, changed):
        return
    assert not cdn.verify(changed), changed


def _only_its_own_query(link: str, changed: str) -> bool:
    """These schemes do not bind a link's own parameters: v=1 may become anything that is no parameter of theirs."""
    tail = link.partition("v=1&")[2]
    return changed.endswith("&" + tail) and changed.startswith(link.partition("?")[0] + "?")


def _same_bits(link: str, changed: str) -> bool:
    """Padding that may be left out, and %XX in the other case."""
    return link.rstrip("=") == changed.rstrip("=") or unquote(link) == unquote(changed)


def test_a_link_without_a_signature_is_told_so(cdn: Cdn) -> None:
    assert cdn.verify(f"https://{HOST}/a/b.mp4").reason is Refusal.UNSIGNED
    assert cdn.verify(f"https://{HOST}/a/b.mp4?x=1").reason is Refusal.UNSIGNED


@settings(max_examples=200)
@given(st.sampled_from(NAMES), st.text(max_size=40), st.text(max_size=60))
def test_what_a_client_presents_never_raises(name: str, path: str, query: str) -> None:
    cdn = ALL[name]
    assert not cdn.verify(f"https://{HOST}/{path}?{query}")
    assert not cdn.verify(path)
    own = sorted(cdn.reserved)
    for value in ("", "0", "-1", "1" * 30, "é", "~", "_", "x=y~z", query):
        assert not cdn.verify(f"https://{HOST}/a?" + "&".join(f"{parameter}={value}" for parameter in own))
    assert not cdn.verify(
        {"CloudFront-Policy": query, "__token__": path, "Edge-Cache-Cookie": query}, url=f"https://{HOST}/a"
    )


def test_a_prefix_grants_what_is_below_and_nothing_else(cdn: Cdn) -> None:
    if not cdn.capabilities.prefix:
        with pytest.raises(errors.Unsupported, match="prefix"):
            cdn.sign_prefix("/videos/42/")
        return
    grant = cdn.sign_prefix("/videos/42/*", expires_at=LATER)
    for path in ("a.ts", "b/c d+é.ts", "/videos/42/x.ts", f"https://{HOST}/videos/42/y.ts", ".hidden", "a%2Fb"):
        link = grant.url(path)
        assert cdn.verify(link), path
        assert cdn.verify(link, at=LATER).reason is Refusal.EXPIRED
    for path in (
        "/videos/43/x.ts",
        "/videos/420/x.ts",
        "../43/x",
        "a/../../43/x",
        "https://other.example/videos/42/x",
        "a#b",
    ):
        with pytest.raises(errors.InvalidArgument):
            grant.url(path)
    text = grant.url("x.ts").reveal()
    assert not cdn.verify(text.replace("/videos/42/", "/videos/43/"))
    paths_alone = cdn.name in ("bunny", "akamai")  # these sign paths: the host is bound by the key being its own
    assert bool(cdn.verify(text.replace(HOST, "other.example"))) is paths_alone
    assert grant.prefix == f"https://{HOST}/videos/42/"
    assert grant.expires_at == LATER
    assert grant.covers(f"https://{HOST}/videos/42/z")
    assert not grant.covers(f"https://{HOST}/videos/4")


def test_cookies_grant_what_is_below_and_nothing_else(cdn: Cdn) -> None:
    if not cdn.capabilities.cookies:
        with pytest.raises(errors.Unsupported, match="cookies"):
            cdn.sign_cookies("/videos/42/")
        return
    cookies = cdn.sign_cookies("/videos/42/", expires_at=LATER, domain=".example", same_site="None")
    assert cdn.verify(cookies, url=f"https://{HOST}/videos/42/a")
    assert cdn.verify({c.name: c.value.reveal() for c in cookies}, url=f"https://{HOST}/videos/42/a")
    assert not cdn.verify(cookies, url=f"https://{HOST}/videos/43/a")
    assert cdn.verify(cookies, url=f"https://{HOST}/videos/42/a", at=LATER).reason is Refusal.EXPIRED
    for cookie in cookies:
        assert (
            cookie.header()
            .reveal()
            .startswith(f"{cookie.name}={cookie.value.reveal()}; Path=/videos/42/; Domain=.example")
        )
        assert cookie.value.reveal() not in f"{cookie} {cookie!r} {cookies}"
        assert cookie.as_dict()["httponly"] is True


def test_a_restriction_is_checked_or_refused(cdn: Cdn) -> None:
    able = cdn.capabilities.restrictions
    cases: dict[Restriction, dict[str, Any]] = {
        Restriction.NOT_BEFORE: {"not_before": NOW + timedelta(minutes=1)},
        Restriction.IPV4: {"ip": "203.0.113.7"},
        Restriction.IPV6: {"ip": "2001:db8::7"},
        Restriction.COUNTRIES: {"restrict": Restrictions(countries=("CA", "US"))},
        Restriction.BLOCKED_COUNTRIES: {"restrict": Restrictions(blocked_countries=("RU",))},
        Restriction.SESSION: {"restrict": Restrictions(session="s1")},
        Restriction.DATA: {"restrict": Restrictions(data="d1")},
        Restriction.HEADERS: {"restrict": Restrictions(headers={"X-Device": "d1"})},
        Restriction.SPEED: {"restrict": Restrictions(speed=500)},
    }
    for restriction, given_ in cases.items():
        if restriction not in able:
            with pytest.raises(errors.Unsupported, match=restriction):
                cdn.sign_url("/a", expires_at=LATER, **given_)
            continue
        link = cdn.sign_url("/a", expires_at=LATER, **given_)
        fitting: dict[str, Any] = {
            "at": NOW + timedelta(minutes=2),
            "ip": given_.get("ip"),
            "country": "CA",
            "headers": {"x-device": "d1"},
        }
        verdict = cdn.verify(link, **fitting)
        assert verdict, (restriction, verdict)
        wrong: dict[Restriction, dict[str, Any]] = {
            Restriction.NOT_BEFORE: {"at": NOW},
            Restriction.IPV4: {"ip": "203.0.113.8"},
            Restriction.IPV6: {"ip": "2001:db9::7"},
            Restriction.COUNTRIES: {"country": "FR"},
            Restriction.BLOCKED_COUNTRIES: {"country": "RU"},
            Restriction.HEADERS: {"headers": {}},
        }
        if restriction in wrong:
            assert not cdn.verify(link, **{**fitting, **wrong[restriction]}), restriction


def test_bad_input_signs_nothing(cdn: Cdn) -> None:
    bad: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (errors.InvalidArgument, "/a#b", {}),
        (errors.InvalidArgument, "/a\nb", {}),
        (errors.InvalidArgument, "/a%0Ab", {}),
        (errors.InvalidArgument, "/a/../b", {}),
        (errors.InvalidArgument, "/a/%2e%2E/b", {}),
        (errors.InvalidArgument, "/100%", {}),
        (errors.InvalidArgument, "//evil.example/a", {}),
        (errors.InvalidArgument, "https://evil.example/a", {}),
        (errors.InvalidArgument, f"http://{HOST}/a", {}),
        (errors.InvalidArgument, f"https://user@{HOST}/a", {}),
        (errors.InvalidArgument, "relative", {}),
        (errors.InvalidArgument, "/\ud800", {}),
        (errors.InvalidArgument, "/" + "a" * 9000, {}),
        (errors.InvalidExpiry, "/a", {"expires_at": NOW}),
        (errors.InvalidExpiry, "/a", {"expires_at": datetime(2027, 1, 1)}),  # noqa: DTZ001 - without a zone
        (errors.InvalidExpiry, "/a", {"expires_at": LATER, "expires_in": timedelta(1)}),
        (errors.InvalidExpiry, "/a", {"expires_at": LATER, "not_before": LATER}),
        (errors.InvalidExpiry, "/a", {"expires_at": LATER, "not_before": datetime(2026, 1, 1)}),  # noqa: DTZ001
        (errors.InvalidArgument, "/a", {"ip": "203.0.113"}),
        (errors.InvalidArgument, "/a", {"ip": "203.0.113.7/24"}),
    ]
    for kind, url, given_ in bad:
        with pytest.raises(kind):
            cdn.sign_url(url, **given_)
    for name in sorted(cdn.reserved):
        with pytest.raises(errors.InvalidArgument, match="keeps for its signature"):
            cdn.sign_url(f"/a?x=1&%{ord(name[0]):02X}{name[1:]}=y")
    if cdn.capabilities.prefix:
        query = () if "?" in cdn.capabilities.wildcards else ("/videos/42/?x=1",)
        for prefix in (*query, "/videos/42", "https://evil.example/a/", "/a/../b/", "/a#/"):
            with pytest.raises((errors.InvalidArgument, errors.Unsupported)):
                cdn.sign_prefix(prefix)


def test_a_closed_cdn_does_nothing() -> None:
    for cdn in every().values():
        cdn.close()
        cdn.close()
        for call in (cdn.sign_url, cdn.sign_prefix, cdn.sign_cookies, cdn.verify):
            with pytest.raises(errors.ClosedError):
                call(f"https://{HOST}/a/")
        with pytest.raises(errors.ClosedError):
            cdn.sign_key("media/a")
        with pytest.raises(errors.ClosedError):
            cdn.sign_playlist("#EXTM3U", "/a")


def test_nothing_prints_what_grants_access(cdn: Cdn, caplog: pytest.LogCaptureFixture) -> None:
    link = cdn.sign_url("/a", expires_at=LATER)
    secret = link.reveal().partition("?")[2]
    assert secret not in f"{link} {link!r} {cdn!r}"
    caplog.handler.addFilter(RedactingFilter())
    logging.getLogger("elsewhere").warning("GET %s", link.reveal())
    for piece in re.findall("[A-Za-z0-9]{12,}", secret):
        assert piece not in caplog.text
    if cdn.capabilities.prefix:
        grant = cdn.sign_prefix("/a/")
        shown = f"{grant} {grant!r} {grant.base} {grant.query}"
        assert max(grant.url("x").reveal().split("&"), key=len) not in shown
        with pytest.raises(TypeError):
            pickle.dumps(grant)


def test_keys_go_through_prefix_origin_path_and_base() -> None:
    site = Site(HOST, base="media/", origin_path="prod/", store_prefix="prod/videos/", clock=SITE.clock)
    cdn = every(site)["cloudcdn"]
    assert cdn.url_of("42/a b?.ts") == f"https://{HOST}/media/videos/42/a%20b%3F.ts"
    assert cdn.sign_key("42/a.ts").reveal().startswith(f"https://{HOST}/media/videos/42/a.ts?Expires=")
    outside = every(Site(HOST, origin_path="prod/", clock=SITE.clock))["cloudcdn"]
    with pytest.raises(errors.InvalidArgument, match="origin path"):
        outside.sign_key("test/a.ts")
    with pytest.raises(errors.InvalidKey):
        cdn.sign_key("a/../b")
    for bad in ("host/path", "ho st", "ü.example", "", "a:b:c", "host?x"):
        with pytest.raises(errors.ConfigError):
            every(Site(bad))
    for bad_site in (Site(HOST, base="/x/"), Site(HOST, origin_path="x")):
        with pytest.raises(errors.ConfigError):
            every(bad_site)


def test_the_default_life_is_a_quarter_of_an_hour_or_the_cdns_own() -> None:
    from blobkit_cdns import Cloudflare

    cdn = every()["cloudcdn"]
    assert cdn.verify(cdn.sign_url("/a")).expires_at == NOW + timedelta(minutes=15)
    short = Cloudflare(SITE, "s", ttl=timedelta(minutes=1))
    assert short.verify(short.sign_url("/a")).expires_at == NOW + timedelta(minutes=1)
    with pytest.raises(errors.InvalidExpiry):
        short.sign_url("/a", expires_in=timedelta(minutes=2))


def test_a_third_party_needs_two_methods() -> None:
    class Plain(Cdn):
        name = "plain"
        capabilities = CdnCapabilities()

        def link(self, url: str, expires: int, terms: Terms) -> str:
            return f"{url}?end={expires}"

        def check(self, seen: Seen, cookies: object) -> Verdict:
            return seen.timely(int(seen.own({"end"})[0]["end"]))

    cdn = Plain(SITE)
    assert cdn.verify(cdn.sign_url("/a"))
    with pytest.raises(errors.Unsupported):
        cdn.sign_prefix("/a/")


def test_restrictions_that_nobody_could_hold_are_refused() -> None:
    refused: list[dict[str, Any]] = [
        {"countries": "CA"}, {"countries": ("Canada",)}, {"session": "a~b"}, {"data": ""}, {"headers": {"X": "a~b"}},
        {"headers": {"X Y": "a"}}, {"speed": 0},
    ]  # fmt: skip
    for bad in refused:
        with pytest.raises(errors.InvalidArgument):
            Restrictions(**bad)
    assert Restrictions(countries=("CA",)).asked == {Restriction.COUNTRIES}


def test_a_cookie_that_no_header_can_carry_is_refused() -> None:
    from blobkit import Secret, SignedCookie

    good = SignedCookie("n", Secret("v"), secure=False, http_only=False, same_site="Strict")
    assert good.header().reveal() == "n=v; Path=/; SameSite=Strict"
    assert json.dumps(good.as_dict())
    assert copy.copy(good) == good
    for bad in (
        {"name": "a b"}, {"value": Secret("a;b")}, {"value": Secret("a\nb")}, {"path": "x"}, {"path": "/a;b"},
        {"domain": "a b"}, {"same_site": "None", "secure": False}, {"same_site": "lax"},
    ):  # fmt: skip
        with pytest.raises(errors.InvalidArgument):
            SignedCookie(**{"name": "n", "value": Secret("v"), **bad})  # type: ignore[arg-type]


def test_cookies_are_verified_for_a_url() -> None:
    cdn = every()["cloudcdn"]
    with pytest.raises(errors.InvalidArgument, match="which URL"):
        cdn.verify({"a": "b"})
    with pytest.raises(errors.InvalidArgument):
        cdn.verify("https://x/", at=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(errors.InvalidArgument):
        cdn.verify(cdn.sign_url("/a"), ip="nobody")
    assert cdn.verify(cdn.sign_url("/a"), at=datetime(2026, 3, 1, tzinfo=UTC))
