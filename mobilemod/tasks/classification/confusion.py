"""Which classes models take for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mobilemod.evaluation.accuracy import Predictions
from mobilemod.tasks.classification.accuracy import top1_class

MAX_PAIRS = 1000  # that a record holds


def confused(predictions: Sequence[Predictions], targets: np.ndarray) -> list[dict[str, Any]]:
    """Every pair of classes of which a model takes one for the other, the most frequent first.

    targets: int (N,). Each has `target`, `answer` (-1: logits that aren't finite) and `images`, how
    many of each prediction; what is right is left out. At most `MAX_PAIRS`.
    """
    found: dict[tuple[int, int], list[int]] = {}
    for i, p in enumerate(predictions):
        answers = top1_class(p.outputs)
        wrong = answers != targets
        pairs = np.stack([targets[wrong], answers[wrong]], axis=1)
        for (target, answer), count in zip(
            *np.unique(pairs, axis=0, return_counts=True), strict=True
        ):
            row = found.setdefault((int(target), int(answer)), [0] * len(predictions))
            row[i] = int(count)
    ranked = sorted(found.items(), key=lambda kv: (-max(kv[1]), kv[0]))
    return [
        {"target": target, "answer": answer, "images": images}
        for (target, answer), images in ranked[:MAX_PAIRS]
    ]
