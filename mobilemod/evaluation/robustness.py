"""The top-1 drop over several conditions of the same images, as one figure with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mobilemod.evaluation.statistics import CONFIDENCE, RESAMPLES


@dataclass(frozen=True)
class MeanDrop:
    """Top-1 points lost in the mean over the conditions (positive: worse), 95 % interval."""

    points: float
    low: float
    high: float


def mean_drop(
    before: np.ndarray, now: np.ndarray, seed: int = 0, resamples: int = RESAMPLES
) -> MeanDrop:
    """The mean drop from `before` to `now`, bool (C, N): right under condition c on image n.

    The C answers on one image are no independent ones: an image near a class boundary tends to
    change under several conditions. So whole images are drawn with replacement, each with all its
    conditions (the bootstrap over clusters: Davison and Hinkley 1997, section 3.8). An image
    counts by how many conditions it is lost under less those it is won under, a whole number from
    -C to C; drawing N images and counting these numbers is one multinomial draw.

    Raises ValueError for other shapes and for no image or condition.
    """
    if before.shape != now.shape or before.ndim != 2 or before.size == 0:
        raise ValueError(f"shapes {before.shape} and {now.shape}: expected the same (C, N)")
    conditions, images = before.shape
    lost = (before & ~now).sum(0) - (~before & now).sum(0)
    values, counts = np.unique(lost, return_counts=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(images, counts / images, size=resamples) @ values
    share = 100.0 / (conditions * images)
    tail = 100.0 * (1.0 - CONFIDENCE) / 2.0
    low, high = np.percentile(drawn * share, [tail, 100.0 - tail])
    return MeanDrop(float(lost.sum()) * share, float(low), float(high))
