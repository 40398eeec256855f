"""Where models differ from each other, whatever the true label is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mobilemod.evaluation.accuracy import Predictions, finite, top1_class

_ROWS = 4096  # images per block of float64 work


@dataclass(frozen=True)
class Pair:
    """Two models on the same images; the signal of the SQNR is `reference`'s logits.

    top1_percent: share of images with the same top-1. sqnr_db: infinite where the logits are
    identical, NaN where some aren't finite.
    """

    reference: str
    other: str
    top1_percent: float
    sqnr_db: float


@dataclass(frozen=True)
class Disagreement:
    """One image on which an int8 file differs; lists are in the order of the predictions.

    top1: classes (-1 where the logits aren't finite). margin: largest logit less the second.
    """

    index: int
    top1: list[int]
    margin: list[float]


def top1_agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Percent of images with the same top-1 in `a` and `b`, both (N, K). NaN agrees with none."""
    if len(a) == 0:
        raise ValueError("no images: agreement is undefined")
    first, second = top1_class(a), top1_class(b)
    return 100.0 * float(np.mean((first == second) & (first >= 0)))


def sqnr_db(reference: np.ndarray, other: np.ndarray) -> float:
    """10 log10(sum reference² / sum (reference - other)²) over (N, K), in dB.

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


def pairs(predictions: Sequence[Predictions]) -> list[Pair]:
    """Every pair, the earlier one being the reference of the SQNR."""
    return [
        Pair(a.name, b.name, top1_agreement(a.logits, b.logits), sqnr_db(a.logits, b.logits))
        for i, a in enumerate(predictions)
        for b in predictions[i + 1 :]
    ]


def margins(logits: np.ndarray) -> np.ndarray:
    """float64 (N,): the largest logit less the second largest; 0 where not finite or K is 1."""
    if logits.shape[1] < 2:
        return np.zeros(len(logits))
    second, first = np.partition(logits, -2, axis=1)[:, -2:].T.astype(np.float64)
    return np.where(finite(logits), first, 0.0) - np.where(finite(logits), second, 0.0)


def disagreements(predictions: Sequence[Predictions]) -> list[Disagreement]:
    """The images where an int8 file's top-1 differs from the reference's or another int8 file's.

    Without a reference only the int8 files are compared. Sorted by index.
    """
    if not predictions:
        return []
    classes = np.stack([top1_class(p.logits) for p in predictions])
    compared = [i for i, p in enumerate(predictions) if p.role in ("int8", "reference")]
    if not any(p.role == "int8" for p in predictions):
        return []
    kept = classes[compared]
    differs = ((kept != kept[0]) | (kept < 0)).any(axis=0)
    margin = np.stack([margins(p.logits) for p in predictions])
    return [
        Disagreement(int(i), classes[:, i].tolist(), margin[:, i].tolist())
        for i in np.flatnonzero(differs)
    ]


def worst_images(
    reference: np.ndarray, logits: np.ndarray, count: int = 6
) -> list[tuple[int, float]]:
    """(index, RMS logit error) of the `count` images farthest from `reference`, worst first.

    An image whose logits aren't finite has an infinite error.
    """
    error = np.empty(len(logits))
    for start in range(0, len(logits), _ROWS):
        block = slice(start, start + _ROWS)
        usable = finite(reference[block]) & finite(logits[block])
        difference = np.zeros(logits[block].shape)
        np.subtract(logits[block], reference[block], out=difference, where=usable[:, None])
        error[block] = np.where(usable, np.sqrt((difference**2).mean(axis=1)), np.inf)
    order = np.argsort(-error, kind="stable")[:count]
    return [(int(i), float(error[i])) for i in order]
