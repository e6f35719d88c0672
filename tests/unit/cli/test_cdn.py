"""blobkit cdn: what grants access alone on stdout, and why an edge would refuse it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from .conftest import Cli

ENV = {
    "CDN_KEY": base64.urlsafe_b64encode(b"0123456789abcdef").decode(),
    "BLOBKIT_CDN_MEDIA": "cloudcdn://cdn.example/?key_name=k1&key_env=CDN_KEY",
    "BLOBKIT_CDN_OLD": "keycdn://old.example/?key_env=CDN_KEY",
    "BLOBKIT_CDN_ZONE": "bunny://zone.example/?key_env=CDN_KEY",
    "BLOBKIT_CDN_EDGE": "akamai://edge.example/?key_env=AKAMAI",
    "AKAMAI": "00" * 16,
}


@pytest.fixture(autouse=True)
def _configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)


def test_a_link_is_alone_on_stdout_and_is_verified(cli: Cli) -> None:
    done = cli("cdn", "sign-url", "media", "/videos/a b.mp4", "--expires", "5m")
    (link,) = done.stdout.splitlines()
    assert link.startswith("https://cdn.example/videos/a%20b.mp4?Expires=")
    assert "until 2" in done.stderr
    assert link.partition("Signature=")[2] not in done.stderr
    good = cli("cdn", "verify", "media", link)
    assert (good.code, good.stdout[:11]) == (0, "let through")
    later = cli("cdn", "verify", "media", link, "--at", "2100-01-01T00:00:00Z", "--json")
    assert later.code == 6
    assert later.json["reason"] == "expired"
    forged = cli("cdn", "verify", "media", link.replace("a%20b", "c"))
    assert forged.code == 6
    assert "refused (signature)" in forged.stdout


def test_a_key_is_encoded_and_a_weak_scheme_is_named(cli: Cli) -> None:
    done = cli("cdn", "sign-key", "old", "a b?.mp4", "--json")
    assert done.json["url"].startswith("https://old.example/a%20b%3F.mp4?token=")
    assert "weak: MD5" in cli("cdn", "sign-url", "old", "/a").stderr


def test_a_prefix_gives_links_or_what_to_add(cli: Cli) -> None:
    links = cli("cdn", "sign-prefix", "media", "/v/42/", "a.ts", "b.ts").stdout.splitlines()
    assert [link.partition("?")[0] for link in links] == [
        "https://cdn.example/v/42/a.ts",
        "https://cdn.example/v/42/b.ts",
    ]
    query = cli("cdn", "sign-prefix", "media", "/v/42/").stdout.strip()
    assert cli("cdn", "verify", "media", f"https://cdn.example/v/42/x{query}").code == 0
    shown = cli("cdn", "sign-prefix", "zone", "/v/42/", "--json").json
    assert shown["query"] is None
    assert "/bcdn_token=HS256-" in shown["base"]
    assert cli("cdn", "sign-prefix", "old", "/v/").code == 7


def test_cookies_come_as_headers(cli: Cli) -> None:
    done = cli("cdn", "sign-cookies", "media", "/v/42/", "--domain", "example.com")
    assert done.stdout.startswith("Set-Cookie: Cloud-CDN-Cookie=URLPrefix=")
    pair = done.stdout.removeprefix("Set-Cookie: ").partition(";")[0]
    assert cli("cdn", "verify", "media", "https://cdn.example/v/42/a", "--cookie", pair).code == 0
    assert cli("cdn", "verify", "media", "https://cdn.example/v/43/a", "--cookie", pair).code == 6
    assert cli("cdn", "verify", "media", "https://cdn.example/v/43/a", "--cookie", "nothing").code == 2
    assert cli("cdn", "sign-cookies", "media", "/v/42/", "--json").json[0]["key"] == "Cloud-CDN-Cookie"


def test_restrictions_are_options(cli: Cli) -> None:
    link = cli("cdn", "sign-url", "edge", "/a", "--ip", "203.0.113.7", "--not-before", "2026-01-01").stdout.strip()
    assert cli("cdn", "verify", "edge", link, "--ip", "203.0.113.7").code == 0
    assert cli("cdn", "verify", "edge", link).code == 6
    assert cli("cdn", "sign-url", "media", "/a", "--ip", "203.0.113.7").code == 7
    assert cli("cdn", "sign-url", "edge", "/a", "--not-before", "tomorrow").code == 2
    there = cli("cdn", "sign-url", "zone", "/a", "--country", "CA", "--country", "US").stdout.strip()
    assert cli("cdn", "verify", "zone", there, "--country", "US").code == 0
    assert cli("cdn", "verify", "zone", there, "--country", "FR").code == 6


def test_a_playlist_is_signed(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "index.m3u8"
    file.write_text("#EXTM3U\n#EXTINF:4,\nseg-1.ts\n")
    done = cli("cdn", "sign-playlist", "media", str(file), "/v/42/index.m3u8")
    lines = done.stdout.splitlines()
    assert lines[:2] == ["#EXTM3U", "#EXTINF:4,"]
    assert cli("cdn", "verify", "media", lines[2]).code == 0
    piped = cli("cdn", "sign-playlist", "media", "-", "/v/42/index.m3u8", "--json", stdin=file.read_bytes())
    assert piped.json["playlist"].startswith("#EXTM3U\n")


def test_an_unknown_cdn_says_what_is_configured(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    done = cli("cdn", "sign-url", "nowhere", "/a")
    assert done.code == 3
    assert "media" in done.stderr
    for name in ENV:
        monkeypatch.delenv(name)
    assert "BLOBKIT_CDN_NOWHERE" in cli("cdn", "sign-url", "nowhere", "/a").stderr
    assert cli("cdn", "sign-url", "cloudcdn://h/?key_name=k&key_env=NOT_THERE", "/a").code == 3
