"""CRC-32C of a whole from the CRC-32Cs of its parts, without reading a byte again.

A CRC is a polynomial over GF(2) modulo P: appending ``n`` bytes multiplies it by ``x^(8n)``. Polynomials are kept bit-reversed,
as CRC-32C is (RFC 3720, appendix B.4): bit 31 is the coefficient of ``x^0``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

__all__ = ["combine", "combine_all"]

_POLYNOMIAL: Final = 0x82F63B78
_ONE: Final = 0x80000000


def combine(first: int, second: int, second_size: int) -> int:
    """The CRC-32C of two byte strings in a row, from that of each and the length of the second."""
    return _times(first, _shift(second_size)) ^ second


def combine_all(parts: Iterable[tuple[int, int]]) -> int:
    """The CRC-32C of many byte strings in a row, each given as (crc, size)."""
    crc = 0
    for part, size in parts:
        crc = combine(crc, part, size)
    return crc


def _times(a: int, b: int) -> int:
    """The product of two polynomials modulo P."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


@lru_cache(maxsize=64)  # the chunks of an object have one size, or a few
def _shift(size: int) -> int:
    """``x^(8·size)`` modulo P, by repeated squaring."""
    result, power = _ONE, _ONE >> 8
    while size:
        if size & 1:
            result = _times(result, power)
        power = _times(power, power)
        size >>= 1
    return result
