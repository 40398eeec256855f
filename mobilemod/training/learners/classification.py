"""Classifiers: label smoothing, mixup and cutmix, distillation; see `TrainConfig`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.data.imagefolder import read_folder
from mobilemod.data.listing import joined
from mobilemod.errors import UserError
from mobilemod.networks.checkpoints import create_model, expected_shapes, load_checkpoint
from mobilemod.tasks.classification import TASK
from mobilemod.training.augment import mix
from mobilemod.training.config import FineTuneConfig, TrainConfig
from mobilemod.training.distillation import divergence
from mobilemod.training.images import SOURCE_SIZE, load_images
from mobilemod.training.learner import At, Forward, Images, Learner, Sets


def class_tensors(variant: Any) -> set[str]:
    """Names of the weights whose shape tells the number of classes."""
    few, more = (expected_shapes(variant, count) for count in (2, 3))
    return {name for name in few if few[name] != more[name]}


class Classification(Learner):
    """See the module."""

    task = TASK
    config = TrainConfig
    fine_tuning = FineTuneConfig

    def read(self, data: Path) -> Sets:
        """`train/` and `val/` with a folder for each class, decoded."""
        train, val = read_folder(data / "train"), read_folder(data / "val")
        if train.classes != val.classes:
            raise UserError(f"{data}: train and val hold different classes")
        images = load_images(train, "reading train"), load_images(val, "reading val")
        return Sets(*images, train.classes, joined((train.left_out, val.left_out)))

    def start(
        self, model: nn.Module, config: TrainConfig, images: Images, classes: Sequence[str]
    ) -> str:
        """The checkpoint's weights; what is as large as the classes are many starts at random
        unless the classes are the same."""
        if config.checkpoint is None:
            return "from scratch"
        path = Path(config.checkpoint)
        loaded = load_checkpoint(path, model.variant.name)
        state = loaded.state
        if json.loads(loaded.metadata.get("labels", "null")) != list(classes):
            heads = class_tensors(model.variant)
            state = {k: v for k, v in state.items() if k not in heads}
            print(f"start: {path} without its head, its classes are others", file=sys.stderr)
        model.load_state_dict(state, strict=False)
        return f"from {path.name} (sha256 `{loaded.sha256}`)"

    def backbone(self, model: nn.Module) -> list[nn.Parameter]:
        """All but what is as large as the classes are many."""
        heads = class_tensors(model.variant)
        return [p for name, p in model.named_parameters() if name not in heads]

    def teacher(self, config: TrainConfig) -> nn.Module | None:
        """The recipe's, for as many classes."""
        if config.teacher is None:
            return None
        loaded = load_checkpoint(config.teacher, None, config.num_classes)
        return create_model(loaded.variant, config.num_classes, config.teacher)

    def loss(self, forward: Forward, x: Tensor, y: Tensor, config: TrainConfig, at: At) -> Tensor:
        """Cross-entropy of both targets of mixed images, by their shares; and with a teacher the
        divergence from its answers."""
        mixing = at.epoch < config.epochs - config.plain_epochs
        x, a, b, lam = mix(x, y, config, at.rng) if mixing else (x, y, y, 1.0)
        outputs = forward(x)
        loss = lam * F.cross_entropy(outputs, a, label_smoothing=config.label_smoothing)
        if lam < 1:
            other = F.cross_entropy(outputs, b, label_smoothing=config.label_smoothing)
            loss = loss + (1 - lam) * other
        if at.teach is None:
            return loss
        share = config.distillation
        return (1 - share) * loss + share * divergence(outputs, at.teach(x), config.temperature)

    def final_size(self, config: TrainConfig) -> int:
        """The size that the images were decoded to."""
        return SOURCE_SIZE


LEARNER = Classification()
