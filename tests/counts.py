"""How many examples a property is tried on: enough for every run, more where somebody wants to wait.

``BLOBKIT_EXAMPLES=10 make test ARGS="-k botocore"`` tries each of them ten times as often.
"""

from __future__ import annotations

import os

__all__ = ["examples"]


def examples(count: int) -> int:
    """``count``, times what ``BLOBKIT_EXAMPLES`` says."""
    return max(1, int(count * float(os.environ.get("BLOBKIT_EXAMPLES", "1"))))
