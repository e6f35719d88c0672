"""Combined CRCs are those of the whole."""

from __future__ import annotations

from google_crc32c import value
from hypothesis import given
from hypothesis import strategies as st

from blobkit_local.crc import combine, combine_all


@given(st.lists(st.binary(max_size=300), max_size=12))
def test_the_crc_of_the_whole_follows_from_those_of_the_parts(parts: list[bytes]) -> None:
    assert combine_all((value(part), len(part)) for part in parts) == value(b"".join(parts))


def test_a_part_may_be_larger_than_memory() -> None:
    """Zeros: the CRC of n of them can be made by doubling, here up to 2**40 bytes."""
    crc, size = value(b"\0"), 1
    halves = {1: crc}
    while size < 2**40:
        crc = combine(crc, crc, size)
        size *= 2
        halves[size] = crc
    assert halves[2**20] == value(bytes(2**20))
    assert combine(halves[2**39], halves[2**39], 2**39) == halves[2**40]
    assert combine(halves[2**40], value(b"end"), 3) == combine(
        combine(halves[2**39], halves[2**39], 2**39), value(b"end"), 3
    )


def test_a_hundred_thousand_chunks_combine_quickly_enough_to_not_matter() -> None:
    chunk = value(b"x" * 16)
    assert combine_all([(chunk, 16)] * 4096) == value(b"x" * 16 * 4096)
