"""Observers: the range that a tensor's int8 grid covers, from a histogram of its values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quantization.params import ACTIVATION_MAX, ACTIVATION_MIN

LEVELS = ACTIVATION_MAX - ACTIVATION_MIN
SHRINK_STEPS = np.linspace(1.0, 0.4, 31)
PERCENTILE = 99.99

Range = tuple[float, float]


def minmax_range(histogram: np.ndarray, low: float, high: float) -> Range:
    """All that was observed."""
    return low, high


def mse_range(histogram: np.ndarray, low: float, high: float) -> Range:
    """The shrunk range with the least expected squared error on an affine int8 grid.

    Clipping error from the histogram, rounding error as step^2 / 12. Source of the trade: Banner
    et al., NeurIPS 2019.
    """
    centres, weight = _centres(histogram, low, high), histogram / histogram.sum()

    def error(lo: float, hi: float) -> float:
        step = (hi - lo) / LEVELS
        clipped = np.clip(centres, lo, hi)
        inside = clipped == centres
        return float(
            (weight * (clipped - centres) ** 2).sum() + weight[inside].sum() * step**2 / 12
        )

    return _shrink(low, high, error)


def percentile_range(histogram: np.ndarray, low: float, high: float) -> Range:
    """From the values' (100 - `PERCENTILE`)th to the `PERCENTILE`th percentile."""
    edges = np.linspace(low, high, len(histogram) + 1)
    below = np.concatenate([[0], np.cumsum(histogram)]) / histogram.sum()
    tail = 1 - PERCENTILE / 100
    return float(np.interp(tail, below, edges)), float(np.interp(1 - tail, below, edges))


def entropy_range(histogram: np.ndarray, low: float, high: float) -> Range:
    """The shrunk range whose int8 codes' distribution is nearest in Kullback-Leibler divergence.

    What is clipped counts to the end bins of the observed distribution, and not to that of the
    codes, as in Migacz, "8-bit inference with TensorRT", GTC 2017; here with both ends free.
    """
    centres = _centres(histogram, low, high)

    def divergence(lo: float, hi: float) -> float:
        step = (hi - lo) / LEVELS
        inside = (centres >= lo) & (centres <= hi)
        kept = np.where(inside, histogram, 0)
        if not kept.any():
            return np.inf
        codes = np.clip(np.rint((centres - lo) / step), 0, LEVELS).astype(np.int64)
        mass = np.bincount(codes, kept, LEVELS + 1)
        bins = np.bincount(codes, kept > 0, LEVELS + 1)
        spread = np.where(kept > 0, mass[codes] / np.maximum(bins[codes], 1), 0)
        first, last = np.flatnonzero(inside)[[0, -1]]
        observed = kept.astype(np.float64)
        observed[first] += histogram[:first].sum()
        observed[last] += histogram[last + 1 :].sum()
        p, q = observed / observed.sum(), spread / spread.sum()
        # An end bin may hold only what was clipped; its codes never occur.
        both = (p > 0) & (q > 0)
        missing = p[(p > 0) & (q == 0)].sum()
        return float((p[both] * np.log(p[both] / q[both])).sum() + missing * np.log(1e6))

    return _shrink(low, high, divergence)


OBSERVERS: dict[str, Callable[[np.ndarray, float, float], Range]] = {
    "minmax": minmax_range,
    "mse": mse_range,
    "percentile": percentile_range,
    "entropy": entropy_range,
}


def ranges(values: np.ndarray, low: float, high: float, bins: int) -> dict[str, Range]:
    """The range of every observer for a sample of a tensor whose extremes are `low` and `high`.

    A tensor that is constant, or whose spread float64 can't cut into `bins`, has its extremes for
    a range: their int8 grid, which holds 0, meets the constant. Raises ValueError for extremes
    that aren't finite or in order.
    """
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise ValueError(f"no range from {low} to {high}")
    if high - low <= bins * np.spacing(max(abs(low), abs(high))):
        return dict.fromkeys(OBSERVERS, (low, high))
    # In float32, the values' own format, two neighbouring edges are often the same number.
    histogram, _ = np.histogram(values.astype(np.float64), bins, (low, high))
    return {name: find(histogram, low, high) for name, find in OBSERVERS.items()}


def _centres(histogram: np.ndarray, low: float, high: float) -> np.ndarray:
    edges = np.linspace(low, high, len(histogram) + 1)
    return (edges[:-1] + edges[1:]) / 2


def _shrink(low: float, high: float, cost: Callable[[float, float], float]) -> Range:
    """The range of least cost, each end shrunk on its own, high first; the grid always holds 0."""

    def of(pair: Range) -> float:
        return cost(min(pair[0], 0.0), max(pair[1], 0.0))

    best = (low, high)
    for _ in range(2):
        last = best
        if high > 0:
            best = min(((best[0], high * s) for s in SHRINK_STEPS), key=of)
        if low < 0:
            best = min(((low * s, best[1]) for s in SHRINK_STEPS), key=of)
        if best == last or low >= 0 or high <= 0:
            break
    return float(best[0]), float(best[1])
