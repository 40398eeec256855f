"""Top-1, top-k, the logarithms of probabilities, and where models name different classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mobilemod.evaluation.accuracy import Predictions, finite


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


def same_class(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """bool (N,): whether the top-1 is the same in `a` and `b`, (N, K). NaN agrees with none."""
    first, second = top1_class(a), top1_class(b)
    return (first == second) & (first >= 0)


def margins(logits: np.ndarray) -> np.ndarray:
    """float64 (N,): the largest logit less the second largest; 0 where not finite or K is 1."""
    if logits.shape[1] < 2:
        return np.zeros(len(logits))
    second, first = np.partition(logits, -2, axis=1)[:, -2:].T.astype(np.float64)
    return np.where(finite(logits), first, 0.0) - np.where(finite(logits), second, 0.0)


def confidences(logits: np.ndarray) -> list[float | None]:
    """The largest softmax probability of each of float (N, K), 0 to 1; None where not finite."""
    usable = finite(logits)
    found: list[float | None] = [None] * len(logits)
    for i, value in zip(np.flatnonzero(usable), log_softmax(logits[usable]).max(1), strict=True):
        found[i] = float(np.exp(value))
    return found


def disagreements(predictions: Sequence[Predictions]) -> list[tuple[int, dict[str, Any]]]:
    """The images where an int8 file's top-1 differs from the reference's or another int8 file's.

    By index, sorted, each with lists in the order of the predictions: `top1`, classes (-1 where
    the logits aren't finite), `margin`, the largest logit less the second, and `confidence`, the
    probability of that class, 0 to 1 (None where not finite). Without a reference only the int8
    files are compared.
    """
    if not predictions:
        return []
    classes = np.stack([top1_class(p.outputs) for p in predictions])
    compared = [i for i, p in enumerate(predictions) if p.role in ("int8", "reference")]
    if not any(p.role == "int8" for p in predictions):
        return []
    kept = classes[compared]
    differs = ((kept != kept[0]) | (kept < 0)).any(axis=0)
    margin = np.stack([margins(p.outputs) for p in predictions])
    found = np.flatnonzero(differs)
    sure = [confidences(p.outputs[found]) for p in predictions]
    return [
        (
            int(i),
            {
                "top1": classes[:, i].tolist(),
                "margin": margin[:, i].tolist(),
                "confidence": [values[n] for values in sure],
            },
        )
        for n, i in enumerate(found)
    ]
