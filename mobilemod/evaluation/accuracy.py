"""Top-1, top-k, and the drop between two models on the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mobilemod.evaluation.statistics import mcnemar_exact, paired_interval

ROLES = ("reference", "program", "int8", "float")


@dataclass(frozen=True)
class Predictions:
    """What one model answered on all images.

    name: shown to people, unique in a record, e.g. "tflite int8".
    logits: float32 (N, K).
    role: "reference" (torch float), "program" (the quantized program in torch), "int8" (a
    model file) or "float" (a float twin file).
    file: the file's name in the bundle. runner: what ran it.
    """

    name: str
    logits: np.ndarray
    role: str
    file: str | None = None
    runner: str | None = None


@dataclass(frozen=True)
class Drop:
    """Top-1 lost against a reference, in points (positive: worse), with its 95 % interval.

    lost / won: images only the reference / only this model gets right.
    """

    points: float
    low: float
    high: float
    mcnemar_p: float
    lost: int
    won: int


def finite(logits: np.ndarray) -> np.ndarray:
    """bool (N,): the images whose logits are all finite."""
    return np.isfinite(logits).all(axis=1)


def top1_class(logits: np.ndarray) -> np.ndarray:
    """int64 (N,): the class of the largest logit, the lower index of equals; -1 for NaN or inf.

    Ties are common in int8 logits, so the rule for them has to be one and the same everywhere.
    """
    return np.where(finite(logits), np.argmax(logits, axis=1), -1)


def top1(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """bool (N,): whether the top-1 of float (N, K) `logits` is the target. NaN or inf: wrong."""
    return top1_class(logits) == np.asarray(targets)


def top_k(logits: np.ndarray, targets: np.ndarray, k: int = 5) -> float:
    """Percent of images whose target is among the `k` largest logits (equals: lower index)."""
    if len(logits) == 0:
        raise ValueError("no images: accuracy is undefined")
    targets = np.asarray(targets)
    own = np.take_along_axis(logits, targets[:, None], axis=1)
    earlier = np.arange(logits.shape[1])[None, :] < targets[:, None]
    rank = ((logits > own) | ((logits == own) & earlier)).sum(axis=1)
    return 100.0 * float(np.mean((rank < k) & finite(logits)))


def drop(
    reference_logits: np.ndarray, logits: np.ndarray, targets: np.ndarray, seed: int = 0
) -> Drop:
    """The top-1 drop from `reference_logits` to `logits`, both (N, K), on the same N images."""
    return drop_of(top1(reference_logits, targets), top1(logits, targets), seed)


def drop_of(before: np.ndarray, now: np.ndarray, seed: int = 0) -> Drop:
    """As `drop`, from which of the same N images are right: bool (N,), before and now."""
    lost, won, total = int((before & ~now).sum()), int((~before & now).sum()), len(before)
    low, high = paired_interval(lost, won, total, seed)
    return Drop(100.0 * (lost - won) / total, low, high, mcnemar_exact(lost, won), lost, won)
