"""HLS playlists and DASH manifests: every URI is signed, nothing else is touched."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blobkit import errors
from blobkit.cdn import Cdn

from .every import HOST, NAMES, every

ALL = every()
MASTER = """#EXTM3U
#EXT-X-VERSION:7
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English, \\"stereo\\"",URI="audio/en.m3u8?x=1",DEFAULT=YES
#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI="skd://key",KEYFORMAT="com.apple.streamingkeydelivery"
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=86000,URI="/videos/42/iframes.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=1280000,AUDIO="a"
720p/index.m3u8

#EXT-X-STREAM-INF:BANDWIDTH=2560000
https://cdn.example/videos/42/1080p/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=99
https://elsewhere.example/videos/index.m3u8
"""
MEDIA = """#EXTM3U\r
#EXT-X-TARGETDURATION:4\r
#EXT-X-MAP:URI="init.mp4",BYTERANGE="720@0"\r
#EXT-X-KEY:METHOD=AES-128,URI="data:text/plain;base64,AAAA",IV=0x00\r
#EXT-X-KEY:METHOD=AES-128,URI="https://cdn.example/keys/1.key",IV=0x00\r
#EXTINF:4.0,a title, with # and URI\r
#EXT-X-BYTERANGE:1000@720\r
seg 1.ts\r
#EXTINF:4.0,\r
../42/seg-2.ts?v=1\r
#EXT-X-PART:DURATION=0.3,URI="part.ts",BYTERANGE="100@0"\r
.hidden.ts\r
#EXT-X-ENDLIST"""


@pytest.fixture(params=NAMES)
def cdn(request: pytest.FixtureRequest) -> Cdn:
    return ALL[request.param]


def uris(text: str) -> list[str]:
    """What a player would ask for, in order."""
    found: list[str] = []
    for line in text.splitlines():
        found += re.findall(r'URI="([^"]*)"', line) if line.startswith("#") else [line] if line.strip() else []
    return found


@pytest.mark.parametrize("text", [MASTER, MEDIA], ids=["master", "media"])
def test_every_uri_of_a_playlist_is_signed_and_verified(cdn: Cdn, text: str) -> None:
    if cdn.name == "bunny" and "?" in text:
        text = text.replace("?x=1", "").replace("?v=1", "")  # bunny signs parameters: a prefix covers none
    base = f"https://{HOST}/videos/42/index.m3u8"
    signed = cdn.sign_playlist(text, base)
    assert signed.count("\n") == text.count("\n")
    assert signed.count("\r") == text.count("\r")
    for before, after in zip(uris(text), uris(signed), strict=True):
        absolute = urljoin(base, before)
        if not absolute.startswith(f"https://{HOST}/"):
            assert after == before
            continue
        verdict = cdn.verify(after)
        assert verdict, (before, after, verdict)
        assert verdict.path == urljoin(base, before).removeprefix(f"https://{HOST}").partition("?")[0].replace(
            " ", "%20"
        )
    for tag in (line for line in text.splitlines() if line.startswith("#") and "URI=" not in line):
        assert tag in signed


def test_a_wider_prefix_covers_what_the_directory_does_not() -> None:
    cdn = ALL["cloudcdn"]
    signed = cdn.sign_playlist("#EXTM3U\n#EXTINF:1,\n../43/a.ts\nb.ts\n", "/videos/42/i.m3u8", prefix="/videos/")
    grant = cdn.sign_prefix("/videos/").query
    assert grant is not None
    assert signed.splitlines()[2:] == [
        f"https://{HOST}/videos/{path}?{grant.reveal()}" for path in ("43/a.ts", "42/b.ts")
    ]
    with pytest.raises(errors.Unsupported, match="prefix"):
        ALL["fastly"].sign_playlist("#EXTM3U\n", "/a.m3u8", prefix="/")


LINES = ["a.ts", "b c.ts", "/x/y.ts", "#EXTINF:1,", "", "é.ts?x=1", "a//b.ts", "http://o/x"]


@settings(max_examples=100)
@given(st.lists(st.sampled_from(LINES), max_size=12))
def test_a_playlist_of_any_lines_is_signed_line_by_line(lines: list[str]) -> None:
    cdn = ALL["cloudcdn"]
    text = "\n".join(["#EXTM3U", *lines])
    signed = cdn.sign_playlist(text, "/x/i.m3u8").split("\n")
    for before, after in zip(text.split("\n"), signed, strict=True):
        same = before.startswith(("#", "http://o")) or not before
        assert (before == after) is same
        assert same or cdn.verify(after)


def test_what_is_no_playlist_is_refused() -> None:
    cdn = ALL["cloudcdn"]
    for text in ("", "seg.ts", "{}", "<html/>", "<MPD", '<!DOCTYPE MPD [<!ENTITY a "b">]><MPD>&a;</MPD>'):
        with pytest.raises(errors.InvalidArgument):
            cdn.sign_playlist(text, "/a.m3u8")
    for uri in ("{$path}/a.ts", "../../../a#b", "a%zz.ts", "a?Expires=1"):
        with pytest.raises(errors.InvalidArgument):
            cdn.sign_playlist(f"#EXTM3U\n{uri}\n", "/v/a.m3u8")


MPD = """<?xml version="1.0" encoding="UTF-8"?>
<!-- <BaseURL>not this</BaseURL> -->
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:xlink="http://www.w3.org/1999/xlink" type="dynamic">
  <ProgramInformation><Title>a &amp; b</Title></ProgramInformation>
  <Location>/videos/42/manifest.mpd</Location>
  <Period>
    <BaseURL>period/</BaseURL>
    <AdaptationSet mimeType="video/mp4">
      <SegmentTemplate timescale="1" initialization="$RepresentationID$/init.mp4"
                       media='$RepresentationID$/$Number%05d$.m4s?a=1&amp;b=2' startNumber="1"/>
      <Representation id="v1" bandwidth="1000"/>
    </AdaptationSet>
    <AdaptationSet mimeType="audio/mp4">
      <Representation id="a1" bandwidth="1"><BaseURL>audio.mp4</BaseURL><SegmentBase indexRange="0-1"/></Representation>
      <Representation id="a2" bandwidth="1">
        <SegmentList><Initialization sourceURL="a2.init"/><SegmentURL media="a2-1.m4s" index="a2-1.idx"/></SegmentList>
      </Representation>
    </AdaptationSet>
  </Period>
</MPD>
"""


def asked(text: str, base: str) -> list[str]:
    """What a DASH client asks for, as far as this manifest goes: bases are resolved as ISO/IEC 23009-1 section 5.6 has it."""
    found: list[str] = []

    def walk(element: ET.Element, base: str) -> None:
        for child in element:
            if child.tag.endswith("}BaseURL"):
                base = urljoin(base, (child.text or "").strip())
        for child in element:
            name = child.tag.rpartition("}")[2]
            for attribute in ("media", "initialization", "index", "sourceURL"):
                if (value := child.get(attribute)) is not None:
                    value = (
                        value.replace("$RepresentationID$", "v1").replace("$Number%05d$", "00001").replace("$$", "$")
                    )
                    found.append(urljoin(base, value))
            if name == "SegmentBase":
                found.append(base)
            if name == "Location":
                found.append(urljoin(base, child.text or ""))
            walk(child, base)

    walk(ET.fromstring(text), base)
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if ALL[name].capabilities.prefix])
def test_every_url_that_a_manifest_leads_to_is_verified(name: str) -> None:
    cdn = ALL[name]
    text = MPD.replace("?a=1&amp;b=2", "") if cdn.name == "bunny" else MPD
    base = f"https://{HOST}/videos/42/manifest.mpd"
    signed = cdn.sign_playlist(text, base)
    before, after = asked(text, base), asked(signed, base)
    assert len(after) == 7
    for plain, url in zip(before, after, strict=True):
        verdict = cdn.verify(url)
        assert verdict, (url, verdict)
        assert verdict.path == plain.removeprefix(f"https://{HOST}").partition("?")[0]
    assert "<!-- <BaseURL>not this</BaseURL> -->" in signed
    assert "<Title>a &amp; b</Title>" in signed


@pytest.mark.parametrize("name", [name for name in NAMES if not ALL[name].capabilities.prefix])
def test_a_cdn_that_signs_single_urls_says_that_dash_is_not_for_it(name: str) -> None:
    with pytest.raises(errors.Unsupported, match="DASH"):
        ALL[name].sign_playlist(MPD, "/media/42/manifest.mpd")


@pytest.mark.parametrize(
    "change",
    [
        {"<BaseURL>period/": "<BaseURL>https://elsewhere.example/"},
        {"<BaseURL>period/": "<BaseURL>../43/"},
        {'initialization="': 'initialization="/other/'},
        {"<Location>/videos/42/": "<Location>/videos/43/"},
    ],
)
def test_a_manifest_that_leaves_the_prefix_is_refused(change: dict[str, str]) -> None:
    text = MPD
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(errors.Unsupported, match="leaves the prefix"):
        ALL["cloudfront-rsa"].sign_playlist(text, "/videos/42/manifest.mpd")


def test_a_path_token_refuses_templates_from_the_root() -> None:
    text = MPD.replace('initialization="', 'initialization="/videos/42/')
    with pytest.raises(errors.Unsupported, match="from the root"):
        ALL["bunny"].sign_playlist(text, "/videos/42/manifest.mpd")
    absolute = MPD.replace("<BaseURL>period/", f"<BaseURL>https://{HOST}/videos/42/period/").replace("?a=1&amp;b=2", "")
    signed = ALL["bunny"].sign_playlist(absolute, "/videos/42/manifest.mpd")
    for url in asked(signed, f"https://{HOST}/videos/42/manifest.mpd"):
        assert ALL["bunny"].verify(url), url


@settings(max_examples=100)
@given(st.text(max_size=60))
def test_no_text_breaks_it(text: str) -> None:
    for prefix in ("#EXTM3U\n", "<MPD>", "<"):
        try:
            result: Any = ALL["cloudcdn"].sign_playlist(prefix + text, "/v/a")
        except (errors.InvalidArgument, errors.Unsupported):
            continue
        assert isinstance(result, str)
