"""Maps of classes, uint8: from a network's numbers, and two of them laid on each other.

255 in an answer: none, for its numbers weren't all finite; in a truth: ignored.
"""

from __future__ import annotations

import math

import numpy as np

from mobilemod.evaluation.runs import NONE, class_map
from mobilemod.tasks.segmentation.label_file import nearest


def class_maps(logits: np.ndarray) -> np.ndarray:
    """uint8 (N, …) of float (N, K, …), each as `class_map` has it."""
    found = np.empty((len(logits), *logits.shape[2:]), np.uint8)
    # Image by image: the comparison's results are as large as the numbers.
    for i, one in enumerate(logits):
        found[i] = class_map(one)
    return found


def kept_maps(outputs: np.ndarray, count: int) -> np.ndarray:
    """Maps of numbers (N, K, h, w) or (N, K·h·w) of `count` classes, (N, h, w) or (N, h·w); what
    are maps already, as they are."""
    if outputs.dtype == np.uint8:
        if (most := int(outputs.max(where=outputs != NONE, initial=0))) >= count:
            raise ValueError(f"class {most} of {count}")
        return outputs
    if outputs.ndim == 2 and outputs.shape[1] % count == 0:
        return class_maps(outputs.reshape(len(outputs), count, -1))
    if outputs.ndim != 4 or outputs.shape[1] != count:
        raise ValueError(f"shape {outputs.shape}: expected (N, {count}, height, width)")
    return class_maps(outputs)


def maps_of(outputs: np.ndarray) -> np.ndarray:
    """uint8 maps (N, h, w) or (N, h·w) of what was kept, or of numbers (N, K, h, w)."""
    return outputs if outputs.dtype == np.uint8 else class_maps(outputs)


def answered(maps: np.ndarray) -> np.ndarray:
    """bool (N,): the images with an answer for every pixel."""
    return (maps != NONE).reshape(len(maps), -1).all(axis=1)


def laid_on(one: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A map (h, w), or (h·w,) of the same proportions, at `shape` pixels, by the nearest one.

    ValueError where a flat map has no such proportions.
    """
    if one.ndim == 1:
        height = round(math.sqrt(one.size * shape[0] / shape[1]))
        if height == 0 or one.size % height:
            raise ValueError(f"{one.size} pixels don't make a map like {shape[0]} x {shape[1]}")
        one = one.reshape(height, -1)
    if one.shape == shape:
        return one
    rows, columns = (nearest(s, t) for s, t in zip(one.shape, shape, strict=True))
    return one[rows[:, None], columns]


def same_percent(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64 (N,): percent of the pixels to which both of two models' maps give one class.

    `NONE` agrees with nothing.
    """
    a, b = (m.reshape(len(m), -1) for m in (a, b))
    # Divided once, so that a whole percentage is one.
    return 100 * ((a == b) & (a != NONE)).sum(axis=1) / a.shape[1]
