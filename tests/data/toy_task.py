"""The mean brightness of an image, in grey levels: a task as one file.

Tests put it into `mobilemod/tasks` as `brightness.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobilemod.data.dataset import DataSet
from mobilemod.data.imagefolder import ImageFolder, Sample, load_pixels
from mobilemod.data.listing import list_images
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.tasks.task import Agreement, Metric, Task


@dataclass(frozen=True)
class Brightness(Task):
    """Outputs (N, 1) and targets (N,) in grey levels; every image of a folder counts."""

    def read(
        self, data: Path | DataSet, split: str, ids: Sequence[str], outputs: int
    ) -> ImageFolder:
        root = DataSet.of(data).folder(split)
        files, others = list_images(root)
        if not files or outputs != 1:
            raise UserError(f"{root}: {len(files)} images for {outputs} outputs; give some for 1")
        return ImageFolder(root, (), tuple(Sample(p, None) for p in files), dict(others), split)

    def targets(
        self, images: ImageFolder, indices: Sequence[int], preprocess: Preprocess
    ) -> np.ndarray:
        return np.array([load_pixels(images.samples[i].path, preprocess).mean() for i in indices])

    def scores(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return np.abs(outputs[:, 0] - targets)


TASK = Brightness(
    name="brightness",
    metrics=(
        Metric(
            "mean_absolute_error",
            "mean absolute error",
            "grey levels",
            most=255.0,
            more_is_better=False,
            points="grey levels",
        ),
    ),
    agreement=Agreement(same="a brightness within one grey level"),
    output="brightness",
    truths="grey levels",
    tolerance=1.0,
)
