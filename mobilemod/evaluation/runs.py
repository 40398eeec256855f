"""A map of classes, from a network's numbers and as the lengths of its runs: what manifests and
devices' lines hold of one. NumPy alone: this file also runs on devices.

Runs are a flat list of whole numbers, class, count, class, count, …, over the map's rows from the
top, each from the left; neighbouring runs differ in class. A map of few regions takes some hundred
numbers, the worst one two a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# What a file that makes maps answers with: a score for each class, or the map of classes itself.
ANSWERS = SCORES, CLASSES = "scores", "classes"
NONE = 255  # no class: in an answer, of numbers that aren't all finite; in a truth, ignored
MOST_CLASSES = 255


def class_map(numbers: np.ndarray) -> np.ndarray:
    """uint8 (…) of float (K, …): the class of the largest, the lower index of equals.

    `NONE` everywhere where any number isn't finite.
    """
    if not np.isfinite(numbers).all():
        return np.full(numbers.shape[1:], NONE, np.uint8)
    return numbers.argmax(axis=0).astype(np.uint8)


def map_of(outputs: np.ndarray) -> np.ndarray:
    """uint8 (…), the map that one image's outputs are, as a file answers with classes; else
    `class_map` of its scores."""
    return outputs if outputs.dtype == np.uint8 else class_map(outputs)


def to_runs(classes: np.ndarray) -> list[int]:
    """Of a map, uint8 of any shape with at least one pixel."""
    flat = np.ascontiguousarray(classes, np.uint8).ravel()
    begins = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    counts = np.diff(np.append(begins, flat.size))
    return np.stack([flat[begins], counts], axis=1).ravel().tolist()


def from_runs(runs: Sequence[int], pixels: int) -> np.ndarray:
    """The flat map, uint8 (pixels,); ValueError for what aren't the runs of one."""
    numbers = np.array(runs, dtype=object)
    if len(runs) % 2 or not all(type(n) is int for n in runs):
        raise ValueError("runs are pairs of whole numbers, class and count")
    classes, counts = numbers[::2], numbers[1::2]
    if any(not 0 <= c <= NONE for c in classes) or any(n < 1 for n in counts):
        raise ValueError("a run has a class from 0 to 255 and a count of 1 or more")
    if any(a == b for a, b in zip(classes, classes[1:], strict=False)):
        raise ValueError("neighbouring runs have different classes")
    if sum(counts) != pixels:
        raise ValueError(f"runs of {sum(counts)} pixels, not of {pixels}")
    return np.repeat(classes.astype(np.uint8), counts.astype(np.int64))


def checked_map(runs: Sequence[int], pixels: int, classes: int) -> np.ndarray:
    """As `from_runs`, of a network with so many classes; ValueError also for another class, and for
    `NONE` in a part of the map alone."""
    found = from_runs(runs, pixels)
    unknown = found == NONE
    if unknown.any() and not unknown.all():
        raise ValueError(f"{NONE} in a part of the map alone")
    if (most := int(found.max(where=~unknown, initial=0))) >= classes:
        raise ValueError(f"class {most} of {classes}")
    return found


def most_text(pixels: int, classes: int) -> int:
    """The most characters that the runs of a map can take as JSON without spaces: a run a pixel."""
    return pixels * len(f"{classes - 1},1,") + len("[]")
