"""Random crops of an image and its labels together."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from PIL import Image

from mobilemod.tasks.segmentation.label_file import IGNORED, nearest
from mobilemod.training.augment import color_jitter

TRIES = 10
PADDING = (124, 116, 104)  # the mean of ImageNet's pixels: 0 once normalized


class CropsOfBoth(Protocol):
    """How much is changed; see `SegmentationConfig`."""

    @property
    def scale(self) -> tuple[float, float]: ...
    @property
    def most_of_one(self) -> float: ...
    @property
    def color_jitter(self) -> float: ...


def crop_of_both(
    pixels: np.ndarray, codes: np.ndarray, size: int, how: CropsOfBoth, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A crop of uint8 (H, W, 3), and of labels (H, W), as (size, size, 3) and (size, size).

    Resized, cropped, flipped from left to right, its light changed; what lies outside the image is
    `IGNORED`. The image is resized bilinearly, averaging where it shrinks, labels by the nearest.
    """
    height, width = codes.shape
    scale = size * rng.uniform(*how.scale) / min(height, width)
    high, wide = max(1, round(height * scale)), max(1, round(width * scale))
    for _ in range(TRIES):
        top, bottom, below = _window(high, size, rng)
        left, right, beside = _window(wide, size, rng)
        rows, columns = nearest(height, high, top, bottom), nearest(width, wide, left, right)
        part = codes[rows[:, None], columns]
        counts = np.bincount(part[part != IGNORED], minlength=1)
        if counts.max() <= how.most_of_one * counts.sum():
            break
    down, across = height / high, width / wide
    box = (left * across, top * down, min(right * across, width), min(bottom * down, height))
    image = Image.fromarray(pixels)
    resized = image.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=box)
    cropped = np.full((size, size, 3), PADDING, np.uint8)
    labels = np.full((size, size), IGNORED, np.uint8)
    inside = slice(below, below + bottom - top), slice(beside, beside + right - left)
    cropped[inside] = color_jitter(np.asarray(resized), how.color_jitter, rng)
    labels[inside] = part
    if rng.random() < 0.5:
        cropped, labels = cropped[:, ::-1], labels[:, ::-1]
    return cropped, labels


def _window(side: int, size: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """From where to where a crop takes of a side, and where that lies in the crop."""
    begin = int(rng.integers(min(0, side - size), max(0, side - size) + 1))
    return max(begin, 0), min(begin + size, side), max(-begin, 0)
