"""What one image was given, class by class. Standard library alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ClassShare:
    """One of a network's outputs for an image.

    index, label: of the output. score: of a classifier its logit, of a map its pixels, of another
    network the number itself. share: 0..1, of a classifier its probability by softmax, of a map
    the part of its pixels; NaN where outputs are no classes.
    """

    index: int
    label: str
    score: float
    share: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; null for a share that is none."""
        share = self.share if math.isfinite(self.share) else None
        return {"index": self.index, "label": self.label, "score": self.score, "share": share}
