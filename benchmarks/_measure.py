"""How the benchmarks measure: interleaved rounds, so that a busy moment hits both sides, and medians of per-round ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """Calls a second: the median of the rounds, and the median of the ratios to the first candidate of each round."""

    per_second: float
    ratio: float


def compare(
    candidates: Mapping[str, Callable[[int], object]],
    *,
    count: int,
    rounds: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Rate]:
    """Run each candidate with ``count`` in turn, ``rounds`` times; each does ``count`` operations per call.

    ``clock``: ``time.process_time`` counts the seconds of processors instead of the wall's, and so does not see who else is
    busy; it is right for what one core can do.
    """
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for candidate in candidates.values():
        candidate(max(1, count // 10))
    for _ in range(rounds):
        for name, candidate in candidates.items():
            start = clock()
            candidate(count)
            rates[name].append(count / (clock() - start))
    first = next(iter(rates.values()))
    return {
        name: Rate(
            statistics.median(values),
            statistics.median(value / base for value, base in zip(values, first, strict=True)),
        )
        for name, values in rates.items()
    }


def report(title: str, rates: Mapping[str, Rate]) -> None:
    """Print a table: calls a second, and the ratio to the first row."""
    print(title)
    for name, rate in rates.items():
        print(f"  {name:44} {rate.per_second:14,.0f} /s   x {rate.ratio:6.2f}")
