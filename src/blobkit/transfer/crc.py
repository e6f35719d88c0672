"""Put the CRC of a whole together from those of its parts, whatever order they were read in. Pure.

The arithmetic is that of polynomials over GF(2) modulo the CRC's own, bits reflected, as in zlib's ``crc32_combine``: the CRC
of ``a + b`` is that of ``a`` times x to the power of ``8 * len(b)``, plus that of ``b``.
"""

from __future__ import annotations

import functools
from typing import Final

__all__ = ["COMBINABLE", "combine"]

COMBINABLE: Final = {
    "crc32": (32, 0xEDB88320),  # ISO-HDLC, as zlib
    "crc32c": (32, 0x82F63B78),  # Castagnoli, RFC 3720
    "crc64nvme": (64, 0x9A6C9329AC4BC9B5),  # NVM Express, reflected
}
"""Width in bits and reflected polynomial, by algorithm."""


def combine(algorithm: str, first: bytes, second: bytes, second_size: int) -> bytes:
    """The digest (big-endian) of two pieces in a row, from their digests and the second one's size in bytes."""
    bits, polynomial = COMBINABLE[algorithm]
    moved = _times(_power(algorithm, 8 * second_size), int.from_bytes(first, "big"), bits, polynomial)
    return (moved ^ int.from_bytes(second, "big")).to_bytes(bits // 8, "big")


def _times(a: int, b: int, bits: int, polynomial: int) -> int:
    product, place = 0, 1 << (bits - 1)
    while place:
        if a & place:
            product ^= b
        b = (b >> 1) ^ polynomial if b & 1 else b >> 1
        place >>= 1
    return product


@functools.lru_cache(maxsize=256)
def _power(algorithm: str, exponent: int) -> int:
    """x to this power, by squaring."""
    bits, polynomial = COMBINABLE[algorithm]
    result, square = 1 << (bits - 1), 1 << (bits - 2)  # reflected: the highest bit is 1, the next one x
    while exponent:
        if exponent & 1:
            result = _times(square, result, bits, polynomial)
        square = _times(square, square, bits, polynomial)
        exponent >>= 1
    return result
