"""Maps of classes: from scores, as runs, in colours, enlarged, and beside a truth.

README.md says what a case holds. The values are those of the task in Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mobilemod.evaluation.runs import NONE, to_runs
from mobilemod.tasks.segmentation.maps import class_maps, laid_on
from mobilemod.tasks.segmentation.picture import PALETTE
from mobilemod.tasks.segmentation.scores import confusion, counts, mean_iou

IGNORED = NONE


def sized(codes: np.ndarray) -> dict[str, Any]:
    """A map uint8 (h, w)."""
    return {"height": codes.shape[0], "width": codes.shape[1], "codes": codes.ravel().tolist()}


def scores_case(name: str, scores: np.ndarray, order: str) -> dict[str, Any]:
    """Of scores (K, h, w), kept in one of the orders that files have."""
    kept = scores if order == "first" else scores.transpose(1, 2, 0)
    values = [None if np.isnan(v) else float(v) for v in kept.ravel()]
    (found,) = class_maps(scores[None])
    return {
        "name": name, "classes": len(scores), "order": order, "scores": values, **sized(found)
    }  # fmt: skip


def scores_cases() -> list[dict[str, Any]]:
    """Both orders, equal scores, ones that aren't finite, the most classes."""
    rng = np.random.default_rng(11)
    plain = rng.normal(size=(4, 3, 5)).astype(np.float32)
    equal = rng.integers(0, 2, (5, 4, 3)).astype(np.float32)
    equal[:, 0, 0] = [-0.0, 0.0, -1, -1, -1]
    damaged = plain.copy()
    damaged[2, 1, 4] = np.nan
    many = rng.normal(size=(255, 2, 2)).astype(np.float32)
    many[254, 1, 1] = 9
    kinds = {
        "plain": plain, "equal scores": equal, "one is no number": damaged,
        "one class": plain[:1], "255 classes": many,
    }  # fmt: skip
    return [
        scores_case(f"{name}, classes {order}", scores, order)
        for name, scores in kinds.items()
        for order in ("first", "last")
    ]


def runs_cases() -> dict[str, Any]:
    """Maps with their runs, and what are no runs of so many pixels."""
    rng = np.random.default_rng(12)
    regions = np.sort(rng.integers(0, 5, 60)).astype(np.uint8)
    maps = [
        [7], [255] * 9, [0, 1, 0, 1], [3, 3, 0, 255, 255, 255, 3], regions.tolist(),
        list(range(256)),
    ]  # fmt: skip
    broken = [
        ([], 4), ([0], 4), ([0, 4, 1], 4), ([0, 3], 4), ([0, 5], 4), ([0, 2, 0, 2], 4),
        ([256, 4], 4), ([-1, 4], 4), ([0, 0, 1, 4], 4), ([0, 5, 1, -1], 4), ([0, 2**40], 4),
        ([0, 2**53 - 1, 1, 2**53 - 1], 4),
    ]  # fmt: skip
    return {
        "good": [{"codes": m, "runs": to_runs(np.array(m, np.uint8))} for m in maps],
        "broken": [{"runs": runs, "pixels": pixels} for runs, pixels in broken],
    }


def nearest_case(codes: np.ndarray, height: int, width: int) -> dict[str, Any]:
    return {"map": sized(codes), "laid": sized(laid_on(codes, (height, width)))}


def bilinear(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """float32 (height, width) of float32 (h, w): half-pixel centres, edges repeated, corners not
    aligned, in float64 in this order, so that every language rounds alike."""

    def ends(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = np.maximum((np.arange(target) + 0.5) * (source / target) - 0.5, 0)
        low = np.minimum(at.astype(np.int64), source - 1)
        return low, np.minimum(low + 1, source - 1), at - low

    (top, bottom, down), (left, right, along) = ends(len(plane), height), ends(len(plane[0]), width)
    values = plane.astype(np.float64)

    def across(rows: np.ndarray) -> np.ndarray:
        return values[rows][:, left] * (1 - along) + values[rows][:, right] * along

    down = down[:, None]
    return (across(top) * (1 - down) + across(bottom) * down).astype(np.float32)


def enlarged_case(scores: np.ndarray, height: int, width: int) -> dict[str, Any]:
    """Scores (K, h, w), their values at the size, and the classes of these."""
    planes = np.stack([bilinear(plane, height, width) for plane in scores])
    return {
        "classes": len(scores), "height": scores.shape[1], "width": scores.shape[2],
        "scores": [float(v) for v in scores.ravel()],
        "values": [float(v) for v in planes.ravel()], "map": sized(class_maps(planes[None])[0]),
    }  # fmt: skip


def compared_case(answer: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """pixels: [true code, answered code, how many], without ignored ones."""
    matrix = confusion(answer, truth)
    pairs = [[int(t), int(a), int(matrix[t, a])] for t, a in np.argwhere(matrix)]
    mean = float(mean_iou(counts(answer[None], truth[None]).sum(axis=0)))
    return {"answer": sized(answer), "truth": sized(truth), "pixels": pairs, "mean_iou": mean}


def compared_cases() -> list[dict[str, Any]]:
    """Of one size and of two, with ignored pixels, without an answer, nothing labelled."""
    rng = np.random.default_rng(13)
    truth = rng.integers(0, 6, (12, 16)).astype(np.uint8)
    answer = np.where(rng.random(truth.shape) < 0.7, truth, 2).astype(np.uint8)
    ignored = np.where(rng.random(truth.shape) < 0.3, IGNORED, truth).astype(np.uint8)
    return [
        compared_case(answer, truth),
        compared_case(answer, ignored),
        compared_case(answer[::3, ::4], ignored),
        compared_case(np.full_like(truth, NONE), truth),
        compared_case(answer, np.full_like(truth, IGNORED)),
        compared_case(np.full((1, 1), 254, np.uint8), np.full((3, 2), 254, np.uint8)),
    ]


def contents() -> dict[str, Any]:
    """All of it."""
    rng = np.random.default_rng(14)
    codes = rng.integers(0, 7, (5, 8)).astype(np.uint8)
    scores = rng.normal(size=(3, 4, 6)).astype(np.float32)
    sizes = [(5, 8), (10, 16), (13, 21), (3, 4), (1, 1), (224, 7)]
    enlarged = [(8, 12), (9, 13), (4, 6), (3, 5), (1, 1)]
    return {
        "scores": scores_cases(),
        "runs": runs_cases(),
        "palette": PALETTE,
        "nearest": [nearest_case(codes, h, w) for h, w in sizes],
        "enlarged": [
            *(enlarged_case(scores, h, w) for h, w in enlarged),
            enlarged_case(scores[:, :1, :1], 3, 2),
        ],
        "compared": compared_cases(),
    }
