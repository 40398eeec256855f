"""Summaries of single times: percentiles, and the ratio of two series of the same rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Latency:
    """Milliseconds over `runs` runs; p90: the run that 90 % are not slower than."""

    runs: int
    median_ms: float
    p90_ms: float
    min_ms: float

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Latency:
        """From the single runs; at least one."""
        ordered = sorted(milliseconds)
        return cls(
            len(ordered),
            float(np.median(ordered)),
            percentile(ordered, 90),
            ordered[0],
        )


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The least of the sorted values that `percent` of them are not above (nearest rank)."""
    return ordered[max((percent * len(ordered) + 99) // 100, 1) - 1]


@dataclass(frozen=True)
class Distribution:
    """Milliseconds over `runs` runs, none left out; percentiles are nearest ranks."""

    runs: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    min_ms: float
    mean_ms: float
    max_ms: float

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Distribution:
        """From the single runs; at least one."""
        ordered = sorted(milliseconds)
        return cls(
            len(ordered),
            percentile(ordered, 50),
            percentile(ordered, 90),
            percentile(ordered, 99),
            ordered[0],
            float(np.mean(ordered)),
            ordered[-1],
        )


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Interval of the median at 95 % or above, from order statistics alone.

    The k-th smallest and k-th largest value, k the largest for which fair coins fall below k on
    both sides at most 5 % of the time; with under six values the extremes, which hold less.
    """
    ordered, n = sorted(values), len(values)
    tail, k = 0, 0
    # P(fewer than k of n below the median) = sum of C(n, i) / 2^n over i < k
    while k < n // 2:
        tail += math.comb(n, k)
        if tail / 2**n > (1 - CONFIDENCE) / 2:
            break
        k += 1
    k = max(k, 1)
    return ordered[k - 1], ordered[n - k]


def compare(int8: Sequence[float], other: Sequence[float]) -> dict[str, Any]:
    """How many times faster an int8 file is than its float twin, round by round.

    int8, other: milliseconds of the same rounds. ratio: median of other / int8.
    """
    ratios = [b / a for a, b in zip(int8, other, strict=True)]
    low, high = median_interval(ratios)
    return {
        "ratio": float(np.median(ratios)),
        "low": low,
        "high": high,
        "faster_rounds": sum(r > 1 for r in ratios),
        "rounds": len(ratios),
    }
