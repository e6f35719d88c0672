"""Sizes and durations, as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobkit.cli import units
from blobkit.errors import InvalidArgument, InvalidExpiry


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("5000", 5000),
        ("7b", 7),
        ("64K", 65536),
        ("64KiB", 65536),
        ("64kB", 64000),
        ("5 MiB", 5 << 20),
        ("1.5GiB", 3 << 29),
        ("2TB", 2 * 10**12),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: str, count: int) -> None:
    assert units.size(text) == count


@pytest.mark.parametrize("text", ["", "-1", "five", "5XB", "1.5", "0.3KiB", "1e6", "9" * 40, "5 M iB", "٣"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        units.size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("7d", 604800), ("1d 2h", 93600), ("0.5h", 1800)],
)
def test_a_duration_is_numbers_and_units(text: str, seconds: float) -> None:
    assert units.duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "m", "-5m", "5 minutes", "1h30", "5y", "999999999d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidExpiry):
        units.duration(text)


@given(st.integers(0, 2**62))
def test_plain_bytes_are_read_back_as_they_are(count: int) -> None:
    assert units.size(str(count)) == count


@given(st.integers(0, 2**50))
def test_a_shown_size_is_within_a_twentieth_of_a_unit(count: int) -> None:
    number, unit = units.shown_size(count).split()
    factor = units.size(f"1{unit}")
    assert abs(float(number) * factor - count) <= 0.05 * factor + 1e-6 * count


def test_shown_spans_are_readable() -> None:
    assert units.shown_span(0.356) == "0.36 s"
    assert units.shown_span(125) == "2 min 05 s"
