"""Where models name different classes, whatever the true one is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mobilemod.evaluation.accuracy import Predictions, finite
from mobilemod.tasks.classification.accuracy import top1_class


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


def disagreements(predictions: Sequence[Predictions]) -> list[tuple[int, dict[str, Any]]]:
    """The images where an int8 file's top-1 differs from the reference's or another int8 file's.

    By index, sorted, each with lists in the order of the predictions: `top1`, classes (-1 where
    the logits aren't finite), and `margin`, the largest logit less the second. Without a reference
    only the int8 files are compared.
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
    return [
        (int(i), {"top1": classes[:, i].tolist(), "margin": margin[:, i].tolist()})
        for i in np.flatnonzero(differs)
    ]
