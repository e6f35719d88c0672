"""What a content may call itself."""

from __future__ import annotations

import gzip
import io
import random
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.quarantine.subjects import subject

from blobkit.errors import InvalidArgument
from blobkit.quarantine import ContentTypeMatches
from blobkit.quarantine.sniffing import sniff

_FILL = random.Random(7).randbytes(200)


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return out.getvalue()


_DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
GENUINE = {
    "image/jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + _FILL + b"\xff\xd9",
    "image/jpg": b"\xff\xd8\xff\xe1\0\x10Exif\0\0" + _FILL + b"\xff\xd9",
    "image/png": b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + _FILL,
    "image/gif": b"GIF89a" + _FILL,
    "image/webp": b"RIFF\x24\0\0\0WEBPVP8 " + _FILL,
    "image/heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + _FILL,
    "image/avif": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + _FILL,
    "image/bmp": b"BM" + _FILL,
    "image/svg+xml": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "audio/wav": b"RIFF\x24\0\0\0WAVEfmt " + _FILL,
    "audio/mpeg": b"ID3\4\0\0\0\0\0\0" + _FILL,
    "audio/mp4": b"\0\0\0\x1cftypM4A \0\0\0\0M4A mp42isom" + _FILL,
    "audio/flac": b"fLaC\0\0\0\x22" + _FILL,
    "audio/ogg": b"OggS\0\2" + _FILL,
    "video/mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + _FILL,
    "video/quicktime": b"\0\0\0\x14ftypqt  \0\0\2\0qt  " + _FILL,
    "video/webm": bytes.fromhex("1a45dfa39f4286810142f7810142f2810442f381084282847765626d") + _FILL,
    "application/pdf": b"%PDF-1.7\n" + _FILL + b"%%EOF",
    "application/zip": zipped("a.txt"),
    "application/gzip": gzip.compress(b"x" * 100),
    _DOCX: zipped("[Content_Types].xml", "word/document.xml"),
    "application/epub+zip": zipped("mimetype", "META-INF/container.xml"),
    "text/html": b"<!DOCTYPE html><title>x</title>",
    "text/plain": "grüße\n".encode(),
    "text/csv": "a;b\n1;2\n".encode("utf-16"),
    "text/vtt": b"WEBVTT\n\n00:01.000 --> 00:02.000\nhello\n",
    "application/json": b'{"a": [1, 2]}',
    "application/xml": b"<a><b/></a>",
    "application/vnd.apple.mpegurl": b"#EXTM3U\n#EXT-X-VERSION:3\n",
    "application/octet-stream": _FILL,
}


@pytest.mark.parametrize("content_type", GENUINE)
def test_a_genuine_content_passes(content_type: str) -> None:
    verdict = ContentTypeMatches().check(subject(GENUINE[content_type], content_type))
    assert verdict, verdict.reason


@pytest.mark.parametrize("content_type", [name for name in GENUINE if name != "application/octet-stream"])
def test_random_bytes_pass_as_nothing(content_type: str) -> None:
    assert not ContentTypeMatches().check(subject(b"\x02\xfd" + _FILL, content_type))


_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")


@pytest.mark.parametrize("told", _PICTURES)
@pytest.mark.parametrize("real", [name for name in GENUINE if not name.startswith("image/jp")])
def test_a_content_of_another_family_is_told_apart(told: str, real: str) -> None:
    verdict = ContentTypeMatches().check(subject(GENUINE[real], told))
    assert bool(verdict) is (told == real)


@pytest.mark.parametrize(
    "page", [b"<script>alert(1)</script>", b"\n\t <!-- x --><html>", b"\xef\xbb\xbf<!DOCTYPE HTML>", b"<IFRAME src=x>"]
)
@pytest.mark.parametrize(
    "told", [*_PICTURES, "text/plain", "application/json", "application/octet-stream", "video/mp4"]
)
def test_a_page_is_nothing_but_a_page(page: bytes, told: str) -> None:
    verdict = ContentTypeMatches().check(subject(page, told))
    assert not verdict
    assert "page" in verdict.reason


def test_a_page_may_be_a_page() -> None:
    assert ContentTypeMatches().check(subject(b"<script>1</script>", "text/html"))


def test_parameters_and_case_of_the_type_do_not_matter() -> None:
    assert ContentTypeMatches().check(subject(b"abc", "Text/Plain; charset=utf-8", declared_type="text/plain"))


def test_a_type_that_is_not_the_declared_one_is_refused() -> None:
    verdict = ContentTypeMatches().check(subject(GENUINE["image/png"], "image/png", declared_type="image/jpeg"))
    assert not verdict
    assert "declared as image/jpeg" in verdict.reason


def test_text_with_a_character_cut_by_the_first_read_is_still_text() -> None:
    text = ("a" + "ü" * 40_000).encode()  # the 64 KiB read ends inside a character
    assert ContentTypeMatches().check(subject(text, "text/plain"))


def test_a_character_cut_at_the_end_of_the_content_is_not_text() -> None:
    assert not ContentTypeMatches().check(subject("ü".encode()[:1], "text/plain"))


def test_an_empty_content_passes_unless_it_must_not() -> None:
    assert ContentTypeMatches().check(subject(b"", "image/png"))
    assert not ContentTypeMatches(empty=False).check(subject(b"", "image/png"))


def test_what_nobody_recognises_is_refused_unless_it_may_pass() -> None:
    assert not ContentTypeMatches().check(subject(b"\x02\xfd" + _FILL, "video/mp2t"))
    assert ContentTypeMatches(unrecognised="pass").check(subject(b"\x02\xfd" + _FILL, "video/mp2t"))
    assert not ContentTypeMatches(unrecognised="pass").check(subject(GENUINE["application/pdf"], "video/mp2t"))


def test_a_choice_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        ContentTypeMatches(unrecognised="shrug")  # type: ignore[arg-type]


def test_only_both_ends_are_read() -> None:
    big = GENUINE["image/png"] + bytes(30 * 1024 * 1024)
    one = subject(big, "image/png")
    reads: list[tuple[int, int]] = []
    backend = one.store._calls.backend
    get = backend.get

    def counted(key: str, **ranges: object) -> object:
        reads.append((int(str(ranges["start"])), int(str(ranges["end"]))))
        return get(key, **ranges)  # type: ignore[arg-type]

    backend.get = counted  # type: ignore[method-assign, assignment]
    assert ContentTypeMatches().check(one)
    assert sum(end - start for start, end in reads) <= 2 * 1024 * 1024


@given(st.binary(max_size=400), st.binary(max_size=100))
def test_sniffing_never_raises(head: bytes, tail: bytes) -> None:
    assert all(name == name.lower() for name in sniff(head, tail))
