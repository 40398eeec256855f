"""What B loses against A on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from mobilemod.tasks.task import Task

MOST_IMAGES = 200


def paired_accuracy(
    task: Task, before: np.ndarray, now: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
    """The metric of both, the drop with its interval, and the images that became worse or better.

    before, now: `Task.scored` of A and B on the images of these names. At most `MOST_IMAGES` of
    either kind are named, those that changed most first.
    """
    worse = task.worse_by(before, now)
    order = np.argsort(-np.abs(worse), kind="stable")
    return {
        "metric": [task.figure(before), task.figure(now)],
        "drop": asdict(task.drop_of(before, now)),
        "worse": [names[i] for i in order if worse[i] > 0][:MOST_IMAGES],
        "better": [names[i] for i in order if worse[i] < 0][:MOST_IMAGES],
    }


def changed(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What differs, as [A's, B's]."""
    return {k: [a.get(k), b.get(k)] for k in {**a, **b} if a.get(k) != b.get(k)}
