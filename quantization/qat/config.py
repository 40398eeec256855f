"""The recipe of quantization-aware training as one frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError
from mobilemod.networks.family import check_size
from mobilemod.training.config import from_values, read_values

POSITIVE = ("steps", "batch_size", "lr", "save_every", "eval_every", "eval_images", "temperature")


@dataclass(frozen=True)
class QatConfig:
    """Everything that decides a run but the network, the images and the quantization recipe.

    steps: of the optimizer; the images are as many as they need, each seen once where there are
    enough. size: of the images, in training and in the evaluation.
    range_lr: of the activations' ranges, in widths of the range; 0 keeps those calibrated.
    distillation: share of the loss that is the divergence from the float network, the rest being
    cross-entropy with the labels; at 1 labels aren't used. temperature: of the divergence.
    save_every, eval_every: in steps. eval_images: validation images of the curve. measure_images:
    those of the last measurement, spread over the classes; 0 for all.
    """

    steps: int = 300
    batch_size: int = 16
    size: int = 224
    lr: float = 2e-5
    range_lr: float = 1e-3
    warmup_steps: int = 20
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = 1.0
    distillation: float = 1.0
    temperature: float = 1.0
    crop_scale: tuple[float, float] = (0.5, 1.0)
    color_jitter: float = 0.1
    erase_probability: float = 0.0
    save_every: int = 25
    eval_every: int = 100
    eval_images: int = 256
    measure_images: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for key in POSITIVE:
            if not getattr(self, key) > 0:
                raise UserError(f"training recipe: {key} must be above 0")
        for key in ("range_lr", "warmup_steps", "weight_decay", "measure_images"):
            if not getattr(self, key) >= 0:
                raise UserError(f"training recipe: {key} must not be negative")
        if not 0 <= self.distillation <= 1:
            raise UserError("training recipe: distillation must be from 0 to 1")
        check_size(self.size)


def make_qat_config(file: Path | None, overrides: dict[str, Any]) -> QatConfig:
    """The recipe of a file (or the default one) with the command line's overrides."""
    return from_values(QatConfig, {**read_values(file), **overrides})
