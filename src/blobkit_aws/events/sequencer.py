"""Sequencers of the S3 family as order tokens."""

from __future__ import annotations

import re
from typing import Final

from blobkit.events.model import OrderToken

__all__ = ["token"]

_HEX: Final = re.compile(r"[0-9a-f]+\Z")
_WIDTH: Final = 32


def token(provider: str, sequencer: object) -> OrderToken | None:
    """The token of a created or deleted record; None when the sequencer is missing or of no known form.

    * AWS: 18 hexadecimal digits, or 16: the same without the leading ``00``. Right-padded, then compared as text
      (notification-content-structure.html). Values of 18 digits that do not start with ``00`` are a shape of their own.
    * Ceph: the bytes of a little-endian ``utime_t`` (32-bit seconds, 32-bit nanoseconds): both words are swapped.
    * MinIO: nanoseconds in hexadecimal, 16 digits.
    """
    if not isinstance(sequencer, str):
        return None
    digits = sequencer.casefold()
    if len(digits) not in (16, 18) or not _HEX.match(digits):
        return None
    if provider == "ceph":
        if len(digits) != 16:
            return None
        raw = bytes.fromhex(digits)
        return OrderToken("ceph", (raw[3::-1] + raw[:3:-1]).hex())
    if len(digits) == 18 and digits.startswith("00"):
        digits = digits[2:]
    return OrderToken(f"{'minio' if provider == 'minio' else 's3'}-{len(digits)}", digits.ljust(_WIDTH, "0"))
