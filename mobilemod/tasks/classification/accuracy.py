"""Top-1, top-k, and the logarithms of probabilities."""

from __future__ import annotations

import numpy as np

from mobilemod.evaluation.accuracy import finite


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


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Of float (N, K): float64, NaN where a logit isn't finite."""
    with np.errstate(invalid="ignore"):
        x = logits.astype(np.float64) - logits.max(1, keepdims=True)
        return x - np.log(np.exp(x).sum(1, keepdims=True))
