"""Intersection over union, from pixels counted image by image, and what is lost of its mean.

IoU of a class: pixels that are of it and are called so, by those that are of it or are called so;
over all pixels of the images, ignored ones left out. Its mean is over the classes that have any.
Source: Everingham et al., The PASCAL VOC Challenge, IJCV 88 (2010), section 4.3, and ADE20K's
benchmark, Zhou et al., CVPR 2017.
"""

from __future__ import annotations

import numpy as np

from mobilemod.evaluation.statistics import RESAMPLES, percentile_interval
from mobilemod.tasks.segmentation.label_file import IGNORED
from mobilemod.tasks.segmentation.maps import laid_on

CODES = IGNORED + 1
# Resamples of which the draws are held at a time.
_BLOCK = 500


def confusion(answer: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """int64 (256, 256) of one image: pixels by true code (row) and answered code (column).

    truth: uint8 (H, W); answer: uint8 (h, w), taken at the truth's pixels. The row of ignored
    pixels is 0.
    """
    pairs = truth.astype(np.uint16) << 8 | laid_on(answer, truth.shape)
    found = np.bincount(pairs.ravel(), minlength=CODES * CODES).reshape(CODES, CODES)
    found[IGNORED] = 0
    return found


def confusions(answers: np.ndarray, truths: np.ndarray, classes: int) -> np.ndarray:
    """int64 (N, K, K) of N images; pixels without an answer are in none."""
    each = [confusion(a, t)[:classes, :classes] for a, t in zip(answers, truths, strict=True)]
    return np.array(each, np.int64).reshape(-1, classes, classes)


def counts(answers: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """int32 (N, 2, 255): the pixels of each class's intersection and union in each image.

    They add up as the confusion matrices do, and are all of these that IoU needs.
    """
    found = np.zeros((len(truths), 2, IGNORED), np.int32)
    for i, (answer, truth) in enumerate(zip(answers, truths, strict=True)):
        matrix = confusion(answer, truth)
        both = matrix.diagonal()[:IGNORED]
        found[i, 0] = both
        found[i, 1] = matrix.sum(axis=0)[:IGNORED] + matrix.sum(axis=1)[:IGNORED] - both
    return found


def iou(pixels: np.ndarray) -> np.ndarray:
    """float64 (…, K) in percent of counts (…, 2, K); NaN for a class without pixels."""
    both, either = (pixels[..., i, :].astype(np.float64) for i in range(2))
    nothing = np.full(both.shape, np.nan)
    return np.divide(100.0 * both, either, out=nothing, where=either > 0)


def mean_iou(pixels: np.ndarray) -> np.ndarray:
    """float64 (…) of counts (…, 2, K): over the classes with pixels; 0 where none has any."""
    each = iou(pixels)
    there = ~np.isnan(each)
    return np.nansum(each, axis=-1) / np.maximum(there.sum(axis=-1), 1)


def pixel_accuracy(answers: np.ndarray, truths: np.ndarray) -> float:
    """Percent of the pixels that aren't ignored; 0 where all are."""
    right = known = 0
    for answer, truth in zip(answers, truths, strict=True):
        counted = truth != IGNORED
        known += int(counted.sum())
        right += int(((laid_on(answer, truth.shape) == truth) & counted).sum())
    return 100.0 * right / max(known, 1)


def drop_interval(
    before: np.ndarray, now: np.ndarray, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % interval of how much mIoU fell in the mean over C conditions, in points.

    before, now: counts (C, N, 2, K) of the same images. Images are drawn with replacement (the
    bootstrap, Efron 1979), each with all its conditions and both models' answers, and their counts
    added: mIoU is no mean over images. ValueError for no images.
    """
    conditions, images = before.shape[:2]
    if images == 0:
        raise ValueError("no images: their mIoU is undefined")
    there = (before.any(axis=(0, 1, 2)) | now.any(axis=(0, 1, 2))).nonzero()[0]
    both = np.stack([before[..., there], now[..., there]], axis=2)
    flat = both.reshape(conditions, images, -1).astype(np.float64)
    rng = np.random.default_rng(seed)
    drops = []
    for begin in range(0, resamples, _BLOCK):
        times = _drawn(rng, min(_BLOCK, resamples - begin), images)
        fell = np.zeros(len(times))
        for one in flat:
            # Whole numbers below 2**53, so the products are exact.
            sums = (times @ one).reshape(-1, 2, 2, len(there))
            was, became = mean_iou(sums).T
            fell += was - became
        drops.append(fell / conditions)
    return percentile_interval(np.concatenate(drops))


def _drawn(rng: np.random.Generator, resamples: int, images: int) -> np.ndarray:
    """float64 (resamples, images): how often each image is drawn."""
    chosen = rng.integers(0, images, (resamples, images))
    chosen += np.arange(resamples)[:, None] * images
    times = np.bincount(chosen.ravel(), minlength=resamples * images)
    return times.reshape(resamples, images).astype(np.float64)
