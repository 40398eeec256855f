"""What one file answered on one image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilemod.errors import UserError
from mobilemod.evaluation.runs import to_runs
from mobilemod.evaluation.shares import ClassShare

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, eq=False)
class Prediction:
    """One file's answer.

    file: the file's name. milliseconds: of this one inference, from the input in memory to the
    outputs, preprocessing apart. classes: the largest share first; of a classifier the `top` ones,
    of a map every one that it has. outputs: what they were told from, float32 logits (K,) or a map
    of classes, uint8 (h, w). overlay: of a map, over the image as the network sees it.
    """

    file: str
    milliseconds: float
    classes: tuple[ClassShare, ...]
    outputs: np.ndarray = field(repr=False)
    overlay: Image.Image | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """Of the class with the largest share."""
        return self.classes[0].label

    @property
    def index(self) -> int:
        """The same, as a number: of the output."""
        return self.classes[0].index

    @property
    def score(self) -> float:
        """Its logit; of a map its pixels."""
        return self.classes[0].score

    @property
    def probability(self) -> float:
        """Its share, 0..1: by softmax; of a map the part of its pixels."""
        return self.classes[0].share

    @property
    def map(self) -> np.ndarray:
        """The class of each pixel, uint8 (h, w), at the outputs' own size; `UserError` where the
        network gives none."""
        if self.outputs.ndim != 2:
            raise UserError(f"{self.file}: its network gives an answer for the image, no map")
        return self.outputs

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; of a map its `runs` and their `size`, height and width."""
        values: dict[str, Any] = {
            "file": self.file,
            "milliseconds": round(self.milliseconds, 3),
            "classes": [c.to_dict() for c in self.classes],
        }
        if self.outputs.ndim == 2:
            values |= {"size": list(self.outputs.shape), "runs": to_runs(self.outputs)}
        return values
