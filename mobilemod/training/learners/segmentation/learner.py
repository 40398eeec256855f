"""Networks that give a class for each pixel, on a classifier's backbone.

Source of the recipe's kind: MMSegmentation's for EfficientMod with Semantic FPN (crops of resized,
flipped, jittered images, AdamW, warm-up, cosine, cross-entropy at the labels' size, a classifier's
backbone), shortened: there it is 40,000 steps of 32 crops of 512 pixels, scale 0.5 to 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.data.dataset import MEASURED, TRAIN
from mobilemod.data.listing import joined
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError, shown
from mobilemod.tasks.segmentation import TASK
from mobilemod.tasks.segmentation.folder import (
    CLASSES_FILE,
    LabelledFolder,
    class_names_in,
    read_labelled,
)
from mobilemod.tasks.segmentation.label_file import IGNORED
from mobilemod.training.config import Phase, RunConfig
from mobilemod.training.learner import At, Forward, Images, Learner, Sets
from mobilemod.training.learners.segmentation.backbone import settle, take_weights
from mobilemod.training.learners.segmentation.crops import CropsOfBoth, crop_of_both

MEASURED_BATCH = 8


@dataclass(frozen=True)
class SegmentationConfig(RunConfig):
    """The recipe of a segmentation network.

    size: of the whole images on which the result is measured; phases are of crops. scale: an
    image's shorter side before it is cropped, of the crop's. most_of_one: share of a
    crop's labelled pixels that one class may have, else it is drawn again. checkpoint: see
    `take_weights`.
    """

    model: str = "efficientmod_xxs_fpn"
    num_classes: int = 150
    phases: tuple[Phase, ...] = (Phase(128, 15),)
    batch_size: int = 16
    lr: float = 5e-4
    min_lr: float = 1e-5
    warmup_epochs: float = 0.5
    weight_decay: float = 0.02
    drop_path: float = 0.02
    ema_decay: float = 0.995
    size: int = 256
    scale: tuple[float, float] = (0.9, 2.0)
    most_of_one: float = 0.75


@dataclass(frozen=True)
class LabelledImages:
    """Images and their labels, read when they are asked for: data sets of photographs with labels
    don't fit into memory."""

    folder: LabelledFolder
    damaged: int = 0  # one that can't be read ends the run

    def __len__(self) -> int:
        return len(self.folder.samples)

    def subset(self, chosen: np.ndarray) -> LabelledImages:
        """These images, in this order."""
        return LabelledImages(self.folder.subset([int(i) for i in chosen]))

    def batch(
        self, chosen: np.ndarray, size: int, how: CropsOfBoth, rngs: Sequence[np.random.Generator]
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Crops of those images, uint8 (size, size, 3), and of their labels (B, size, size)."""
        drawn = zip(chosen, rngs, strict=True)
        pairs = [crop_of_both(*self.folder.pair(int(i)), size, how, rng) for i, rng in drawn]
        return [pixels for pixels, _ in pairs], np.stack([codes for _, codes in pairs])

    def measured(self, preprocess: Preprocess) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Whole images, uint8 (B, H, W, 3), and labels (B, H, W), as the network sees them."""
        for begin in range(0, len(self), MEASURED_BATCH):
            part = range(begin, min(begin + MEASURED_BATCH, len(self)))
            pixels = np.stack([self.folder.pixels(i, preprocess) for i in part])
            yield pixels, self.folder.maps(part, preprocess)


def cross_entropy(outputs: Tensor, codes: Tensor) -> Tensor:
    """The mean over the labelled pixels of (B, K, h, w), resized to the labels' (B, H, W); 0
    without any."""
    size = codes.shape[-2:]
    resized = F.interpolate(outputs, size=size, mode="bilinear", align_corners=False)
    total = F.cross_entropy(resized, codes.long(), ignore_index=IGNORED, reduction="sum")
    return total / (codes != IGNORED).sum().clamp(min=1)


class Segmentation(Learner):
    """See the module."""

    task = TASK
    config = SegmentationConfig
    fine_tuning = SegmentationConfig

    def read(self, data: Path) -> Sets:
        """A folder that `mobilemod.tasks.segmentation.folder` reads, with names of its classes."""
        classes = class_names_in(data)
        if not classes:
            raise UserError(
                f"no {CLASSES_FILE} in {shown(data)}; give it with a class's name a line"
            )
        train, val = (read_labelled(data, s, True, len(classes)) for s in (TRAIN, MEASURED))
        left_out = joined((train.left_out, val.left_out))
        return Sets(LabelledImages(train), LabelledImages(val), tuple(classes), left_out)

    def start(
        self,
        model: nn.Module,
        config: SegmentationConfig,
        images: Images,
        classes: Sequence[str],
    ) -> str:
        """See `take_weights`."""
        return take_weights(model, images, config.checkpoint and Path(config.checkpoint))

    def backbone(self, model: nn.Module) -> list[nn.Parameter]:
        """The classifier's."""
        return list(model.backbone.parameters())

    def finish(self, model: nn.Module) -> None:
        """See `settle`."""
        settle(model)

    def loss(
        self, forward: Forward, x: Tensor, y: Tensor, config: SegmentationConfig, at: At
    ) -> Tensor:
        """See `cross_entropy`."""
        return cross_entropy(forward(x), y)

    def final_size(self, config: SegmentationConfig) -> int:
        """The recipe's."""
        return config.size


LEARNER = Segmentation()
