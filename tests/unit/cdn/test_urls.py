"""The one form of URLs that no client rewrites."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
import yarl
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import parse_url

from blobkit import errors
from blobkit.cdn.urls import PLAIN_PATH, check_host, quote_path, split_url, wire_path, wire_query

texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=40)


@given(texts)
def test_a_path_keeps_its_meaning_and_is_stable(text: str) -> None:
    path = "/" + text.replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    try:
        wired = wire_path(path)
    except errors.InvalidArgument:
        assert path.startswith("//") or any(part in (".", "..") for part in path.split("/"))
        return
    assert unquote(wired) == "/" + text
    assert wire_path(wired) == wired, "twice is once"
    assert yarl.URL(f"https://h{wired}").raw_path == wired
    assert parse_url(f"https://h{wired}").path == wired


@given(texts)
def test_a_query_keeps_its_meaning_and_is_stable(text: str) -> None:
    query = "k=" + "".join(c if c not in "%&#;+=" else f"%{ord(c):02X}" for c in text)
    wired = wire_query(query, ())
    assert unquote(wired) == "k=" + text
    assert wire_query(wired, ()) == wired
    if "'" not in text:
        assert yarl.URL(f"https://h/?{wired}").raw_query_string == wired
    assert parse_url(f"https://h/?{wired}").query == wired


@given(texts)
def test_a_keys_path_is_in_its_form_already(text: str) -> None:
    quoted = "/" + quote_path(text)
    assert unquote(quoted) == "/" + text
    if not quoted.startswith("//") and not any(part in (".", "..") for part in quoted.split("/")):
        assert wire_path(quoted) == quoted


@pytest.mark.parametrize(
    ("given_", "wired"),
    [
        ("/a b", "/a%20b"),
        ("/a%20b", "/a%20b"),
        ("/a+b%2Bc", "/a+b%2Bc"),
        ("/a%2Fb", "/a%2Fb"),
        ("/%41%7e%2a", "/A~*"),
        ("/é%C3%A9%c3%a9", "/%C3%A9%C3%A9%C3%A9"),
        ("/a\\b|c", "/a%5Cb%7Cc"),
        ("/%FF", "/%FF"),
    ],
)
def test_escapes_are_made_once_and_in_one_way(given_: str, wired: str) -> None:
    assert wire_path(given_) == wired


def test_what_an_edge_could_misread_is_refused() -> None:
    for path in (
        "/%",
        "/%4",
        "/%zz",
        "/a/./b",
        "/..",
        "/%2e%2e/",
        "/a/%2E",
        "/\x00",
        "/%00",
        "/%7F",
        "//h/a",
        "/\u2028",
    ):
        with pytest.raises(errors.InvalidArgument):
            wire_path(path)
    with pytest.raises(errors.InvalidArgument, match="Expires"):
        wire_query("a=1&%45xpires=2", {"Expires"})
    with pytest.raises(errors.InvalidArgument, match="Expires"):
        wire_query("a=1;Expires=2", {"Expires"})
    for url in (
        "ftp://h/a",
        "h/a",
        "https://u@h/a",
        "https://h/a#b",
        "https:///a",
        "https://h h/a",
        "https://h:123456/a",
    ):
        with pytest.raises(errors.InvalidArgument):
            split_url(url)


def test_hosts_are_ascii_and_lower_case() -> None:
    assert check_host("CDN.Example:8443") == "cdn.example:8443"
    assert check_host("[2001:db8::1]:80") == "[2001:db8::1]:80"
    assert split_url("HTTPS://CDN.Example/a?") == ("https://cdn.example", "/a", "")


def test_plain_paths_are_those_that_need_nothing() -> None:
    assert PLAIN_PATH("/a/b-c_d.e~f!g$h&i'j(k)l*m,n:o;p=q@r+s")
    for path in ("a", "/a b", "/a%20b", "/a?b", "/a#b", "//a", "/é", "/a\n", "/a\\b"):
        assert not PLAIN_PATH(path), path
