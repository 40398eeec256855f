"""The drop over several conditions of the same images, as one figure with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mobilemod.evaluation.statistics import RESAMPLES, percentile_interval


@dataclass(frozen=True)
class MeanDrop:
    """Points lost in the mean over the conditions (positive: worse), 95 % interval."""

    points: float
    low: float
    high: float


def mean_drop(
    worse_by: np.ndarray, counted: bool = True, seed: int = 0, resamples: int = RESAMPLES
) -> MeanDrop:
    """The mean drop, from how much worse each image became: (C, N), image n under condition c.

    counted: an image is right or wrong, `worse_by` is -1, 0 or 1, and points are percent.

    The C answers on one image are no independent ones: an image near a class boundary tends to
    change under several conditions. So whole images are drawn with replacement, each with all its
    conditions (the bootstrap over clusters: Davison and Hinkley 1997, section 3.8). An image
    counts by the sum over its conditions; drawing N images and counting the different sums is one
    multinomial draw.

    Raises ValueError for another shape and for no image or condition.
    """
    if worse_by.ndim != 2 or worse_by.size == 0:
        raise ValueError(f"shape {worse_by.shape}: expected (C, N)")
    conditions, images = worse_by.shape
    lost = worse_by.sum(0)
    values, counts = np.unique(lost, return_counts=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(images, counts / images, size=resamples) @ values
    share = (100.0 if counted else 1.0) / (conditions * images)
    return MeanDrop(float(lost.sum()) * share, *percentile_interval(drawn * share))
