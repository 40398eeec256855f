"""How far outputs of two models lie from each other, whatever is right."""

from __future__ import annotations

import math

import numpy as np

from mobilemod.evaluation.accuracy import finite

_ROWS = 4096  # images per block of float64 work


def sqnr_db(reference: np.ndarray, other: np.ndarray) -> float:
    """10 log10(sum reference² / sum (reference - other)²) over (N, …), in dB.

    inf where both are identical, NaN where either holds a value that isn't finite.
    """
    signal = noise = 0.0
    for start in range(0, len(reference), _ROWS):
        a = reference[start : start + _ROWS].astype(np.float64)
        b = other[start : start + _ROWS].astype(np.float64)
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            return math.nan
        signal += float((a * a).sum())
        noise += float(((a - b) ** 2).sum())
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf


def worst_images(
    reference: np.ndarray, outputs: np.ndarray, count: int = 6
) -> list[tuple[int, float]]:
    """(index, RMS error of the outputs) of the `count` images farthest off, worst first.

    An image whose outputs aren't finite has an infinite error.
    """
    error = np.empty(len(outputs))
    for start in range(0, len(outputs), _ROWS):
        block = slice(start, start + _ROWS)
        usable = finite(reference[block]) & finite(outputs[block])
        difference = np.zeros((len(usable), reference[0].size))
        own, other = (v[block].reshape(difference.shape) for v in (outputs, reference))
        np.subtract(own, other, out=difference, where=usable[:, None])
        error[block] = np.where(usable, np.sqrt((difference**2).mean(axis=1)), np.inf)
    order = np.argsort(-error, kind="stable")[:count]
    return [(int(i), float(error[i])) for i in order]
