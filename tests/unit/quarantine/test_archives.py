"""Archives, and archives that are bombs."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tracemalloc
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.quarantine.subjects import subject

from blobkit.errors import InvalidArgument
from blobkit.quarantine import ArchiveLimits

MIB = 1024 * 1024


def zipped(method: int = zipfile.ZIP_DEFLATED, /, **members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


PACKED = {
    "stored": zipped(zipfile.ZIP_STORED, a=b"x" * 1000, b=b"y" * 500),
    "deflate": zipped(zipfile.ZIP_DEFLATED, a=b"x" * 1000, b=b"y" * 500),
    "bzip2 in zip": zipped(zipfile.ZIP_BZIP2, a=b"x" * 1000, b=b"y" * 500),
    "lzma in zip": zipped(zipfile.ZIP_LZMA, a=b"x" * 1000, b=b"y" * 500),
    "gzip": gzip.compress(b"x" * 1500),
    "two gzip streams": gzip.compress(b"x" * 1000) + gzip.compress(b"y" * 500),
    "padded gzip": gzip.compress(b"x" * 1500) + bytes(512),
    "bzip2": bz2.compress(b"x" * 1500),
    "xz": lzma.compress(b"x" * 1500),
}


@pytest.mark.parametrize("kind", PACKED)
def test_an_archive_is_unpacked_and_counted(kind: str) -> None:
    verdict = ArchiveLimits().check(subject(PACKED[kind]))
    assert verdict, verdict.reason
    assert "1500 bytes" in verdict.reason


BOMBS = {
    "deflate": lambda: zipped(a=bytes(40 * MIB)),
    "bzip2 in zip": lambda: zipped(zipfile.ZIP_BZIP2, a=bytes(40 * MIB)),
    "lzma in zip": lambda: zipped(zipfile.ZIP_LZMA, a=bytes(40 * MIB)),
    "gzip": lambda: gzip.compress(bytes(40 * MIB)),
    "bzip2": lambda: bz2.compress(bytes(40 * MIB)),
    "xz": lambda: lzma.compress(bytes(40 * MIB)),
    "gzip in zip": lambda: zipped(a=gzip.compress(bytes(40 * MIB))),
    "zip in gzip": lambda: gzip.compress(zipped(a=bytes(40 * MIB))),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_by_its_ratio_and_by_its_size(kind: str) -> None:
    bomb = BOMBS[kind]()
    assert not ArchiveLimits(max_ratio=100).check(subject(bomb))
    assert not ArchiveLimits(max_ratio=10**6, max_unpacked=10 * MIB).check(subject(bomb))
    assert ArchiveLimits(max_ratio=10**6, max_unpacked=100 * MIB).check(subject(bomb))


@pytest.mark.parametrize("kind", ["deflate", "gzip", "bzip2", "xz"])
def test_a_bomb_costs_no_memory(kind: str) -> None:
    one, limits = subject(BOMBS[kind]()), ArchiveLimits(max_ratio=10**6)
    tracemalloc.start()
    try:
        assert limits.check(one)
        assert tracemalloc.get_traced_memory()[1] < 12 * MIB
    finally:
        tracemalloc.stop()


def test_a_directory_that_lies_about_sizes_is_not_believed() -> None:
    data = bytearray(zipped(a=bytes(20 * MIB)))
    for mark, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = data.index(mark) + offset
        data[at : at + 4] = (5).to_bytes(4, "little")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.infolist()[0].file_size == 5
    assert not ArchiveLimits(max_ratio=100).check(subject(bytes(data)))


def test_members_that_share_bytes_are_refused() -> None:
    data = bytearray(zipped(a=b"x" * 100_000, b=b"y" * 100_000))
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]  # both members start at the first one's header
    verdict = ArchiveLimits().check(subject(bytes(data)))
    assert "overlap" in verdict.reason


def test_too_many_members_are_refused() -> None:
    data = zipped(zipfile.ZIP_DEFLATED, **{f"m{number}": b"" for number in range(50)})
    assert ArchiveLimits(max_members=50).check(subject(data))
    assert not ArchiveLimits(max_members=49).check(subject(data))


def test_archives_may_be_nested_only_so_deep() -> None:
    data = b"core"
    for _ in range(3):
        data = zipped(inner=data)
    assert ArchiveLimits(max_depth=3).check(subject(data))
    assert "nested" in ArchiveLimits(max_depth=2).check(subject(data)).reason


def test_an_encrypted_member_is_refused_unless_it_may_pass() -> None:
    data = bytearray(zipped(a=b"x"))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert not ArchiveLimits().check(subject(bytes(data)))
    assert ArchiveLimits(encrypted=True).check(subject(bytes(data)))


@pytest.mark.parametrize("head", [b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\x01\0", b"MSCF\0\0\0\0", b"\x28\xb5\x2f\xfd"])
def test_an_archive_that_is_not_looked_into_is_refused_unless_it_may_pass(head: bytes) -> None:
    assert not ArchiveLimits().check(subject(head + bytes(100)))
    assert ArchiveLimits(unreadable=True).check(subject(head + bytes(100)))


@pytest.mark.parametrize("kind", PACKED)
def test_a_cut_archive_is_refused(kind: str) -> None:
    data = PACKED[kind].rstrip(b"\0")
    assert not ArchiveLimits().check(subject(data[: len(data) // 2]))


@pytest.mark.parametrize("data", [b"", b"P", b"plain text", b"PK\x03", b"\x1f\x8b"])
def test_what_is_no_archive_passes(data: bytes) -> None:
    verdict = ArchiveLimits().check(subject(data))
    assert verdict
    assert verdict.reason == "not an archive"


@given(st.sampled_from(sorted(PACKED)), st.data())
def test_a_damaged_archive_passes_or_is_refused_but_never_raises(kind: str, data: st.DataObject) -> None:
    packed = bytearray(PACKED[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    ArchiveLimits(max_unpacked=MIB).check(subject(bytes(packed)))


def test_limits_below_one_are_refused() -> None:
    with pytest.raises(InvalidArgument):
        ArchiveLimits(max_depth=0)
