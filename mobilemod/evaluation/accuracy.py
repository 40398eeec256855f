"""What one model answered, and the drop between two on the same images, whatever is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mobilemod.evaluation.statistics import (
    RESAMPLES,
    bootstrap_mean,
    mcnemar_exact,
    paired_interval,
    percentile_interval,
)

ROLES = ("reference", "program", "int8", "float")


@dataclass(frozen=True)
class Predictions:
    """What one model answered on all images.

    name: shown to people, unique in a record, e.g. "tflite int8".
    outputs: float32 (N, K), or what the task keeps of them.
    role: "reference" (torch float), "program" (the quantized program in torch), "int8" (a
    model file) or "float" (a float twin file).
    file: the file's name in the bundle. runner: what ran it.
    """

    name: str
    outputs: np.ndarray
    role: str
    file: str | None = None
    runner: str | None = None


@dataclass(frozen=True)
class Drop:
    """What is lost against a reference (positive: worse), with its 95 % interval.

    points: in points of the task's metric. lost / won: images that are worse / better than the
    reference's. mcnemar_p: of the exact sign test of lost against won; where an image is right or
    wrong that is McNemar's.
    """

    points: float
    low: float
    high: float
    mcnemar_p: float
    lost: int
    won: int


def finite(outputs: np.ndarray) -> np.ndarray:
    """bool (N,): the images whose outputs (N, …) are all finite."""
    return np.isfinite(outputs).all(axis=tuple(range(1, outputs.ndim)))


def drop_of(before: np.ndarray, now: np.ndarray, seed: int = 0) -> Drop:
    """The drop in percent points, from which of the same N images are right: bool (N,)."""
    lost, won, total = int((before & ~now).sum()), int((~before & now).sum()), len(before)
    low, high = paired_interval(lost, won, total, seed)
    return Drop(100.0 * (lost - won) / total, low, high, mcnemar_exact(lost, won), lost, won)


def loss_of(worse_by: np.ndarray, seed: int = 0) -> Drop:
    """The drop from how much worse each of N images became: float (N,), in the metric's unit."""
    lost, won = int((worse_by > 0).sum()), int((worse_by < 0).sum())
    low, high = bootstrap_mean(worse_by, seed)
    return Drop(float(worse_by.mean()), low, high, mcnemar_exact(lost, won), lost, won)


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
