"""What every run of the suite shares: each of its tests opens stores anew, and what is parsed for that stays parsed.

A private key is checked number-theoretically each time that it is read, which takes 50 ms: the same bytes give the same result.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def parsed_once() -> Iterator[None]:
    from cryptography.hazmat.primitives import serialization

    with pytest.MonkeyPatch.context() as patch:
        read = functools.lru_cache(maxsize=16)(serialization.load_pem_private_key)
        patch.setattr(serialization, "load_pem_private_key", read)
        yield
