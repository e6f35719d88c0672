"""Ranged and conditional reads, as RFC 9110 sections 13 and 14 have them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobkit_local.dataplane.ranges import Answer, decide, http_date

MODIFIED = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
DATE = "Fri, 02 Jan 2026 03:04:05 GMT"
EARLIER, LATER = "Thu, 01 Jan 2026 00:00:00 GMT", "Sat, 03 Jan 2026 00:00:00 GMT"


def ask(size: int = 10, /, **headers: str) -> Answer:
    return decide(
        {name.replace("_", "-"): value for name, value in headers.items()}, etag="e", modified=MODIFIED, size=size
    )


@pytest.mark.parametrize(
    ("value", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=2-5", 2, 6), ("bytes=5-", 5, 10), ("bytes=5-99", 5, 10), ("bytes=-3", 7, 10),
     ("bytes=-99", 0, 10), ("BYTES=9-9", 9, 10)],
)  # fmt: skip
def test_a_satisfiable_range_is_partial_content(value: str, start: int, end: int) -> None:
    assert ask(range=value) == Answer(206, start, end, f"bytes {start}-{end - 1}/10")


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_a_range_past_the_end_is_not_satisfiable(value: str) -> None:
    assert ask(range=value) == Answer(416, content_range="bytes */10")


@pytest.mark.parametrize(
    "value", ["bytes=5-2", "bytes=0-1,3-4", "items=0-1", "bytes=", "bytes=a-b", "bytes=--1", "x", "bytes=1-2 3"]
)
def test_what_is_no_single_range_gives_the_whole(value: str) -> None:
    assert ask(range=value) == Answer(200, 0, 10)


def test_an_empty_object_has_no_range() -> None:
    assert ask(0) == Answer(200, 0, 0)
    assert ask(0, range="bytes=0-").status == 416


@given(size=st.integers(1, 50), first=st.integers(0, 60), last=st.integers(0, 60))
def test_a_range_never_leaves_the_object(size: int, first: int, last: int) -> None:
    answer = ask(size, range=f"bytes={first}-{last}")
    expected = 200 if last < first else 416 if first >= size else 206
    assert answer.status == expected
    if expected == 206:
        assert (answer.start, answer.end) == (first, min(last + 1, size))
        assert 0 <= answer.start < answer.end <= size


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if_match": '"e"'}, 200),
        ({"if_match": "*"}, 200),
        ({"if_match": '"x", "e"'}, 200),
        ({"if_match": '"x"'}, 412),
        ({"if_match": 'W/"e"'}, 412),
        ({"if_unmodified_since": DATE}, 200),
        ({"if_unmodified_since": EARLIER}, 412),
        ({"if_match": '"e"', "if_unmodified_since": EARLIER}, 200),
        ({"if_none_match": '"e"'}, 304),
        ({"if_none_match": 'W/"e"'}, 304),
        ({"if_none_match": '"x"'}, 200),
        ({"if_none_match": "*"}, 304),
        ({"if_modified_since": DATE}, 304),
        ({"if_modified_since": LATER}, 304),
        ({"if_modified_since": EARLIER}, 200),
        ({"if_modified_since": "yesterday"}, 200),
        ({"if_none_match": '"x"', "if_modified_since": LATER}, 200),
    ],
)
def test_preconditions_in_the_order_of_the_rfc(headers: dict[str, str], status: int) -> None:
    assert ask(10, **headers).status == status


@pytest.mark.parametrize(
    ("if_range", "status"), [('"e"', 206), ('"x"', 200), ('W/"e"', 200), (DATE, 206), (EARLIER, 200), (LATER, 200)]
)
def test_if_range_gives_the_whole_when_the_object_changed(if_range: str, status: int) -> None:
    assert ask(range="bytes=0-1", if_range=if_range).status == status


def test_dates_are_written_as_http_has_them() -> None:
    assert http_date(MODIFIED) == DATE
