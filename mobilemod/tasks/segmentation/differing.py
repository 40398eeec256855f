"""The images of which models make different maps, and pictures of the worst of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mobilemod.evaluation.accuracy import Predictions
from mobilemod.tasks.segmentation.label_file import IGNORED
from mobilemod.tasks.segmentation.maps import maps_of, same_percent
from mobilemod.tasks.segmentation.picture import difference, picture, small

PICTURED = 12  # images


def disagreements(
    predictions: Sequence[Predictions], targets: np.ndarray, key: str, tolerance: float
) -> list[tuple[int, dict[str, Any]]]:
    """The images of which more than `tolerance` percent of the pixels differ, by index, sorted.

    Between an int8 file and the reference; without a reference the first int8 file stands for it.
    Each with a list in the order of the predictions under `key`, percent of pixels as there; the
    `PICTURED` that agree least also with `pictures`: base64 of PNG files of the labels (`truth`),
    of each map (`answers`) and of where it differs (`differences`), None for models that aren't
    compared; `classes` are those to be seen on them.
    """
    compared = [i for i, p in enumerate(predictions) if p.role in ("int8", "reference")]
    if not any(p.role == "int8" for p in predictions):
        return []
    maps = [maps_of(p.outputs) for p in predictions]
    base = next((i for i in compared if predictions[i].role == "reference"), compared[0])
    alike = np.stack([same_percent(maps[base], m) for m in maps])
    least = alike[compared].min(axis=0)
    differing = np.flatnonzero(least < 100.0 - tolerance)
    worst = set(differing[np.argsort(least[differing], kind="stable")][:PICTURED].tolist())
    found = []
    for i in differing.tolist():
        told: dict[str, Any] = {key: alike[:, i].tolist()}
        if i in worst:
            answers = [maps[m][i] if m in compared else None for m in range(len(maps))]
            told |= _pictures(targets[i], answers, base)
        found.append((i, told))
    return found


def _pictures(truth: np.ndarray, answers: Sequence[np.ndarray | None], base: int) -> dict[str, Any]:
    right = small(truth, truth.shape)
    maps = [None if a is None else small(a, truth.shape) for a in answers]
    codes = np.unique(np.concatenate([m.ravel() for m in (right, *maps) if m is not None]))
    return {
        "pictures": {
            "truth": picture(right),
            "answers": [None if m is None else picture(m) for m in maps],
            "differences": [
                None if m is None or i == base else difference(m, maps[base])
                for i, m in enumerate(maps)
            ],
        },
        "classes": [int(c) for c in codes if c != IGNORED],
    }
