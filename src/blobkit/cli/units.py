"""Sizes and durations as people write them on a command line, and as they like to read them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from blobkit.errors import InvalidArgument, InvalidExpiry

__all__ = ["duration", "shown_size", "shown_span", "size"]

_FACTORS: Final[dict[str, int]] = {
    "": 1,
    "b": 1,
    **{f"{letter}{tail}": 1024**power for power, letter in enumerate("kmgt", 1) for tail in ("", "ib")},
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
}
_SIZE: Final = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,6})?) ?([a-z]*)\Z")
_SPAN: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(d|h|ms|m|s)")
_LONGEST: Final = 36525 * 86400.0
_SECONDS: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def size(text: str) -> int:
    """Bytes: ``5000``, ``64K`` and ``64KiB`` (1,024), ``64kB`` (1,000), up to ``T``. Raises InvalidArgument."""
    match = _SIZE.match(text.strip().lower())
    factor = _FACTORS.get(match[2]) if match else None
    if match is None or factor is None:
        raise InvalidArgument(f"not a size: {text!r}", hint="bytes, or a number with KiB, MiB, GiB, kB, MB, GB, …")
    whole, _, fraction = match[1].partition(".")
    if not fraction:
        return int(whole) * factor
    scale: int = 10 ** len(fraction)
    scaled, rest = divmod(int(whole + fraction) * factor, scale)
    if rest:
        raise InvalidArgument(f"not a whole number of bytes: {text!r}")
    return scaled


def duration(text: str) -> timedelta:
    """A duration: seconds, or ``15m``, ``12h``, ``7d``, ``1h30m``. Raises InvalidExpiry."""
    compact = text.strip().lower().replace(" ", "")
    if re.fullmatch(r"[0-9]{1,9}", compact):
        compact += "s"
    parts = _SPAN.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise InvalidExpiry(f"not a duration: {text!r}", hint="seconds, or 15m, 12h, 7d, 1h30m")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > _LONGEST:
        raise InvalidExpiry(f"longer than a century: {text!r}")
    return timedelta(seconds=seconds)


def shown_size(count: int) -> str:
    """Bytes for people: ``12.3 MiB``."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def shown_span(seconds: float) -> str:
    """A duration for people: ``0.35 s``, ``2 min 05 s``."""
    if seconds < 120:
        return f"{seconds:.2f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
