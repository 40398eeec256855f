"""Classifiers: label smoothing, mixup and cutmix; see `TrainConfig`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from mobilemod.data.imagefolder import read_folder
from mobilemod.data.listing import joined
from mobilemod.errors import UserError
from mobilemod.tasks.classification import TASK
from mobilemod.training.augment import mix
from mobilemod.training.config import TrainConfig
from mobilemod.training.images import SOURCE_SIZE, load_images
from mobilemod.training.learner import Forward, Learner, Sets


class Classification(Learner):
    """See the module."""

    task = TASK
    config = TrainConfig

    def read(self, data: Path) -> Sets:
        """`train/` and `val/` with a folder for each class, decoded."""
        train, val = read_folder(data / "train"), read_folder(data / "val")
        if train.classes != val.classes:
            raise UserError(f"{data}: train and val hold different classes")
        images = load_images(train, "reading train"), load_images(val, "reading val")
        return Sets(*images, train.classes, joined((train.left_out, val.left_out)))

    def loss(
        self, forward: Forward, x: Tensor, y: Tensor, config: TrainConfig, epoch: int,
        rng: np.random.Generator,
    ) -> Tensor:  # fmt: skip
        """Cross-entropy of both targets of mixed images, by their shares."""
        mixing = epoch < config.epochs - config.plain_epochs
        x, a, b, lam = mix(x, y, config, rng) if mixing else (x, y, y, 1.0)
        outputs = forward(x)
        loss = lam * F.cross_entropy(outputs, a, label_smoothing=config.label_smoothing)
        if lam < 1:
            other = F.cross_entropy(outputs, b, label_smoothing=config.label_smoothing)
            loss = loss + (1 - lam) * other
        return loss

    def final_size(self, config: TrainConfig) -> int:
        """The size that the images were decoded to."""
        return SOURCE_SIZE


LEARNER = Classification()
