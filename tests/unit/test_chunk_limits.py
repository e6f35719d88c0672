"""The limits of every provider and profile, cut into chunks: from no byte past its largest object, an early error."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import blobkit
from blobkit import errors
from blobkit.chunking import ChunkLimits, plan
from blobkit.spec import GiB, MiB, TiB
from blobkit_aws.capabilities import capabilities as s3
from blobkit_aws.profiles import EXPRESS, MULTI_REGION, PROFILES


def _opened(url: str) -> ChunkLimits:
    with blobkit.open_store(url, env={"SECRET": "s" * 40}) as store:
        return store.capabilities.limits.chunks


HMAC: Final = "hmac_access_id=GOOG1E&hmac_secret_env=SECRET"
LIMITS: Final[dict[str, ChunkLimits]] = {
    **{
        f"s3-{name}": s3(profile, public=False, versioning=None).limits.chunks
        for name, profile in {**PROFILES, "express": EXPRESS, "multi-region": MULTI_REGION}.items()
    },
    "gcs-sessions": _opened(f"gs://media/?{HMAC}"),
    "gcs-parts": _opened(f"gs://media/?{HMAC}&chunks=multipart"),
    "local": _opened("memory://chunk-limits"),
}
SIZES: Final = st.one_of(
    st.integers(0, 100 * MiB),
    st.integers(0, 100 * TiB),
    st.sampled_from([0, 1, 5 * MiB, 5 * MiB + 1, 5 * GiB, 5 * TiB, 10_000 * 5 * GiB]).flatmap(
        lambda near: st.integers(max(0, near - 2), near + 2)
    ),
)


def test_the_largest_object_of_s3_is_what_its_parts_can_hold() -> None:
    assert LIMITS["s3-aws"].max_object == 10_000 * 5 * GiB == int(48.828125 * TiB)


@pytest.mark.parametrize("name", LIMITS)
def test_every_size_has_a_plan_within_the_limits_or_an_early_error(name: str) -> None:
    limits = LIMITS[name]

    @given(SIZES)
    @example(limits.max_object)
    @example(limits.max_object + 1)
    def cut(size: int) -> None:
        if size > limits.max_object:
            with pytest.raises(errors.InvalidArgument, match="largest"):
                plan(size, limits)
            return
        made = plan(size, limits)
        if size == 0:
            assert [chunk.size for chunk in made] == ([0] if limits.empty_chunk else [])
            return
        assert limits.max_count is None or len(made) <= limits.max_count
        first, last = made[0], made[-1]
        assert (first.offset, last.offset + last.size) == (0, size)
        assert 0 < last.size <= first.size <= limits.max_chunk
        assert last.offset == first.size * (len(made) - 1), "all but the last are equal"
        if len(made) > 1:
            assert first.size >= limits.min_chunk
            assert first.size % limits.align == 0

    cut()


@pytest.mark.parametrize("name", LIMITS)
def test_an_unknown_size_may_grow_as_far_as_the_limits_allow(name: str) -> None:
    limits = LIMITS[name]
    size = GiB if limits.equal else None  # where parts must be equal, they cannot grow: the caller says how large
    growing = plan(None, limits, chunk_size=size)
    assert growing.capacity >= min(limits.max_object, 5 * TiB) - limits.max_chunk
    assert limits.max_count is None or len(growing) <= limits.max_count
