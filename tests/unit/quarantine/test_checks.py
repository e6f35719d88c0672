"""The small checks, pictures, and how checks are run."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable

import pytest
from tests.unit.quarantine.subjects import subject

from blobkit.blobs import Checksum
from blobkit.errors import BlobNotFound, InvalidArgument, PreconditionFailed, Throttled, Unavailable
from blobkit.quarantine import (
    AllowedTypes,
    Check,
    ChecksumMatches,
    Custom,
    ImageLimits,
    MaxSize,
    SizeMatches,
    Subject,
    Verdict,
    examine,
)


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0) + bytes(4)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(20)


def test_a_size_is_allowed_up_to_its_limit() -> None:
    assert MaxSize(5).check(subject(b"12345"))
    assert not MaxSize(4).check(subject(b"12345"))


def test_a_declared_size_must_be_the_real_one() -> None:
    assert SizeMatches().check(subject(b"12345"))
    assert SizeMatches().check(subject(b"12345", size=5))
    assert not SizeMatches().check(subject(b"12345", size=6))


@pytest.mark.parametrize(
    ("allowed", "stored", "ok"),
    [
        (["image/png"], "image/png", True),
        (["image/*"], "IMAGE/PNG; q=1", True),
        (["image/*"], "video/mp4", False),
        (["*/*"], None, False),
    ],
)
def test_a_type_must_be_among_the_allowed(allowed: list[str], stored: str | None, ok: bool) -> None:
    assert bool(AllowedTypes(allowed).check(subject(b"x", stored))) is ok


def test_a_single_text_is_no_list_of_types() -> None:
    with pytest.raises(InvalidArgument):
        AllowedTypes("image/png")


@pytest.mark.parametrize("algorithm", ["md5", "sha256", "crc32c"])
def test_a_declared_checksum_must_be_that_of_the_content(algorithm: str) -> None:
    data = bytes(range(256)) * 100
    assert ChecksumMatches().check(subject(data, checksum=Checksum.of(algorithm, data)))
    assert not ChecksumMatches().check(subject(data, checksum=Checksum.of(algorithm, data + b"x")))


@pytest.mark.parametrize(
    ("width", "height", "ok"), [(100, 100, True), (1000, 1001, False), (2001, 1, False), (0, 5, False)]
)
@pytest.mark.parametrize("make", [png, gif])
def test_a_picture_is_measured_by_its_header(
    make: Callable[[int, int], bytes], width: int, height: int, ok: bool
) -> None:
    stored = "image/png" if make is png else "image/gif"
    limits = ImageLimits(max_pixels=1_000_000, max_side=2000)
    assert bool(limits.check(subject(make(width, height), stored))) is ok


def test_a_picture_that_cannot_be_measured_is_refused() -> None:
    assert not ImageLimits().check(subject(b"no picture", "image/png"))
    assert not ImageLimits().check(subject(png(1, 1), "image/x-unheard-of"))
    assert not ImageLimits().check(subject(b"<svg/>", "image/svg+xml"))
    assert ImageLimits(vectors=True).check(subject(b"<svg/>", "image/svg+xml"))
    assert ImageLimits().check(subject(b"any", "text/plain"))


# --- running ---


class Counted:
    """A check that follows a script."""

    name = "scripted"

    def __init__(self, *script: bool | Exception) -> None:
        self.script = list(script)
        self.asked = 0

    def check(self, subject: Subject) -> Verdict:
        self.asked += 1
        said = self.script.pop(0)
        if isinstance(said, Exception):
            raise said
        return Verdict(self.name, said, "as the script says")


def test_checks_stop_at_the_first_that_says_no() -> None:
    first, second, third = Counted(True), Counted(False), Counted(True)
    result = examine(subject(b"x"), [first, second, third])
    assert not result
    assert (first.asked, second.asked, third.asked) == (1, 1, 0)
    assert result.reason == "scripted: as the script says"


def test_a_check_that_could_not_look_is_asked_again_with_pauses() -> None:
    waits: list[float] = []
    check = Counted(Unavailable("scanner is away"), Throttled("busy"), True)
    assert examine(subject(b"x"), [check], sleep=waits.append)
    assert check.asked == 3
    assert waits == sorted(waits)
    assert len(waits) == 2


def test_a_check_that_never_can_look_decides_nothing() -> None:
    check = Counted(*[Unavailable("scanner is away")] * 3)
    with pytest.raises(Unavailable):
        examine(subject(b"x"), [check], retries=2, sleep=lambda _: None)
    assert check.asked == 3


def test_a_check_with_a_fault_of_its_own_is_told_and_not_asked_again() -> None:
    check = Counted(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        examine(subject(b"x"), [check], sleep=lambda _: None)
    assert check.asked == 1


def test_a_check_that_takes_too_long_is_left_behind() -> None:
    release = threading.Event()
    slow = Custom("slow", lambda _: release.wait(60))
    try:
        with pytest.raises(Unavailable, match="slow"):
            examine(subject(b"x"), [slow], timeout=0.05, retries=0)
    finally:
        release.set()


def test_no_checks_are_no_quarantine() -> None:
    with pytest.raises(InvalidArgument):
        examine(subject(b"x"), [])


def test_a_function_may_be_a_check() -> None:
    assert isinstance(Custom("any", lambda _: None), Check)
    assert examine(subject(b"x"), [Custom("none", lambda _: None), Custom("true", lambda _: True)])
    assert not examine(subject(b"x"), [Custom("false", lambda _: False)])
    assert examine(subject(b"x"), [Custom("own", lambda _: Verdict("own", False, "why"))]).reason == "own: why"


# --- the content under check is one content ---


def test_a_content_that_was_replaced_is_not_judged() -> None:
    one = subject(b"clean")
    one.store.write(one.info.key, b"other")
    with pytest.raises(PreconditionFailed):
        examine(one, [Custom("reads", lambda s: b"".join(s.blocks()) == b"clean")])


def test_where_there_are_versions_the_checked_one_is_read_after_it_was_replaced() -> None:
    one = subject(b"clean", query="?versioning=on")
    one.store.write(one.info.key, b"other")
    assert examine(one, [Custom("reads", lambda s: b"".join(s.blocks()) == b"clean")])


def test_a_content_that_is_gone_is_not_judged() -> None:
    one = subject(b"clean")
    one.store.delete(one.info.key)
    with pytest.raises(BlobNotFound):
        examine(one, [Custom("reads", lambda s: bool(list(s.blocks())))])


def test_blocks_have_bytes() -> None:
    with pytest.raises(InvalidArgument):
        list(subject(b"x").blocks(0))
