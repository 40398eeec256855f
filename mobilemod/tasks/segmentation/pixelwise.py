"""What training would lower, and how far two models' probabilities lie apart, pixel by pixel."""

from __future__ import annotations

import numpy as np

from mobilemod.tasks.classification.accuracy import log_softmax
from mobilemod.tasks.segmentation.label_file import IGNORED
from mobilemod.tasks.segmentation.maps import laid_on


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """float64 (N,), nats: the mean over the labelled pixels of logits (N, K, h, w); 0 without any.

    targets: uint8 (N, H, W), taken at the logits' pixels. NaN where a logit isn't finite.
    """
    found = np.zeros(len(logits))
    for i, (one, truth) in enumerate(zip(_maps_of_numbers(logits), targets, strict=True)):
        own = laid_on(truth, one.shape[1:]).ravel()
        known = own != IGNORED
        if known.any():
            logs = log_softmax(one.reshape(len(one), -1).T[known])
            found[i] = -np.take_along_axis(logs, own[known, None].astype(np.int64), 1).mean()
    return found


def divergence(reference: np.ndarray, outputs: np.ndarray) -> float:
    """KL(reference, outputs) in nats, the mean over pixels and images of logits (N, K, h, w)."""
    total = 0.0
    pairs = zip(_maps_of_numbers(reference), _maps_of_numbers(outputs), strict=True)
    for a, b in pairs:
        p, q = (log_softmax(one.reshape(len(one), -1).T) for one in (a, b))
        total += float((np.exp(p) * (p - q)).sum(axis=1).mean())
    return total / len(reference)


def _maps_of_numbers(logits: np.ndarray) -> np.ndarray:
    if logits.ndim != 4 or logits.dtype == np.uint8:
        raise ValueError(f"{logits.dtype} of shape {logits.shape}: expected logits (N, K, h, w)")
    return logits
