"""The training recipe as one frozen dataclass, read from and saved as JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from mobilemod.errors import UserError


@dataclass(frozen=True)
class Phase:
    """`epochs` epochs at `size` x `size` pixels."""

    size: int
    epochs: int


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run; the batch is in images, the rates per step.

    plain_epochs: how many of the last epochs run without mixup and cutmix.
    """

    model: str = "efficientmod_xxs"
    num_classes: int = 10
    phases: tuple[Phase, ...] = (
        Phase(96, 20),
        Phase(128, 6),
        Phase(160, 2),
        Phase(192, 2),
        Phase(224, 2),
    )
    batch_size: int = 64
    lr: float = 2e-3
    min_lr: float = 1e-5
    warmup_epochs: float = 1.5
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = 1.0
    label_smoothing: float = 0.1
    mixup: float = 0.2
    cutmix: float = 1.0
    mix_probability: float = 0.25
    plain_epochs: int = 6
    crop_scale: tuple[float, float] = (0.35, 1.0)
    color_jitter: float = 0.2
    drop_path: float = 0.05
    ema_decay: float = 0.998
    gamma_init: float = 0.5
    precision: str = "bf16"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.precision not in ("bf16", "fp32"):
            raise UserError(f"training recipe: precision {self.precision!r} is not bf16 or fp32")
        if not self.phases:
            raise UserError("training recipe: phases is empty; give SIZE:EPOCHS,…")

    @property
    def epochs(self) -> int:
        """Epochs over all phases."""
        return sum(p.epochs for p in self.phases)

    def size_at(self, epoch: int) -> int:
        """Image size of epoch `epoch` (from 0)."""
        for phase in self.phases:
            if epoch < phase.epochs:
                return phase.size
            epoch -= phase.epochs
        return self.phases[-1].size

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """From `to_dict`'s form; a misspelled key is a `UserError`."""
        known = {f.name for f in dataclasses.fields(cls)}
        for key in values:
            if key not in known:
                raise UserError(f"training recipe: unknown key {key!r}; known: {sorted(known)}")
        values = dict(values)
        if "phases" in values:
            values["phases"] = tuple(Phase(**p) for p in values["phases"])
        for key in ("betas", "crop_scale"):
            if key in values:
                values[key] = tuple(values[key])
        return cls(**values)


def parse_phases(text: str) -> tuple[Phase, ...]:
    """`96:24,128:8` as phases; `UserError` otherwise."""
    try:
        pairs = [part.split(":") for part in text.split(",")]
        return tuple(Phase(int(size), int(epochs)) for size, epochs in pairs)
    except ValueError:
        raise UserError(f"--phases {text!r}: expected SIZE:EPOCHS,SIZE:EPOCHS") from None
