"""What every run of the suite shares: each of its tests opens stores anew, and what an SDK parses for that stays parsed.

A private key is checked number-theoretically each time that it is read, which takes 50 ms, and botocore reads and links the
model of S3 for each session, which takes 100 ms: the same bytes give the same result, and these two were half of the time.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def parsed_once() -> Iterator[None]:
    import botocore.session
    from cryptography.hazmat.primitives import serialization

    with pytest.MonkeyPatch.context() as patch:
        for home, name in ((serialization, "load_pem_private_key"), (botocore.session, "create_loader")):
            patch.setattr(home, name, functools.lru_cache(maxsize=16)(getattr(home, name)))
        yield
