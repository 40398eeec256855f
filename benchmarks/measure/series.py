"""Series of times taken in rounds, and what their ratios are worth.

In a round every candidate runs once, so a slow spell of the machine falls on all of them; ratios
are taken round by round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95


class Timing(Protocol):
    """What times rounds of files; `rounds.Timer` is one. runtimes: what runs each of them."""

    runtimes: list[str]

    def wait(self, seconds: float) -> list[str]:
        """The runtimes, once all files are loaded."""
        ...

    def round(self, order: list[int]) -> tuple[list[list[float]], float]:
        """Milliseconds of the runs of each file of `order`, processor seconds of all that."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


@dataclass(frozen=True)
class Spread:
    """Of a series in milliseconds: median, 10th and 90th percentile, minimum."""

    median: float
    p10: float
    p90: float
    min: float


@dataclass(frozen=True)
class Ratio:
    """The median over rounds of one time over another, with its bootstrap interval."""

    median: float
    low: float
    high: float


def order_of_round(count: int, number: int) -> list[int]:
    """The candidates 0..count-1 in the order of round `number`.

    Rotated by one every two rounds, so that each stands at every place; the second of the two
    goes backwards, so that none always follows the same one.
    """
    start = number // 2 % count if count else 0
    order = [*range(start, count), *range(start)]
    return order[::-1] if number % 2 else order


def spread(runs: Sequence[Sequence[float]]) -> Spread:
    """Of all runs of all rounds, in milliseconds."""
    values = np.concatenate([np.asarray(r, float) for r in runs])
    p10, median, p90 = (float(v) for v in np.percentile(values, [10, 50, 90]))
    return Spread(median, p10, p90, float(values.min()))


def per_round(runs: Sequence[Sequence[float]]) -> np.ndarray:
    """The median of each round's runs, (rounds,)."""
    return np.array([np.median(r) for r in runs])


def ratio(numerator: np.ndarray, denominator: np.ndarray, seed: int = 0) -> Ratio:
    """numerator / denominator round by round: median and 95 % percentile-bootstrap interval.

    Both (rounds,), of the same rounds. Rounds are drawn with replacement (Efron 1979).
    Raises ValueError where the lengths differ or there is no round.
    """
    if numerator.shape != denominator.shape or numerator.ndim != 1 or not numerator.size:
        raise ValueError(f"series of {numerator.shape} and {denominator.shape}: no common rounds")
    ratios = numerator / denominator
    rng = np.random.default_rng(seed)
    drawn = ratios[rng.integers(len(ratios), size=(RESAMPLES, len(ratios)))]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.median(drawn, axis=1), [tail, 100 - tail])
    return Ratio(float(np.median(ratios)), float(low), float(high))
