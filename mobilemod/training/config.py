"""Training recipes as frozen dataclasses, read from and saved as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from mobilemod.errors import UserError, unknown

PRECISIONS = ("auto", "bf16", "fp32")
T = TypeVar("T")


def read_values(file: Path | None) -> dict[str, Any]:
    """The keys and values of a recipe's JSON file, none without a file; `UserError` otherwise."""
    if file is None:
        return {}
    try:
        values = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"training recipe {file}: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"training recipe {file}: expected an object of keys and values")
    return values


def from_values(cls: type[T], values: dict[str, Any]) -> T:
    """A recipe dataclass of JSON values, lists as tuples; a misspelled key is a `UserError`."""
    known = {f.name for f in dataclasses.fields(cls)}
    for key in values:
        if key not in known:
            raise UserError(f"training recipe: {unknown('key', key, sorted(known))}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@dataclass(frozen=True)
class Phase:
    """`epochs` epochs at `size` x `size` pixels."""

    size: int
    epochs: int


@dataclass(frozen=True)
class RunConfig:
    """What decides a training run, whatever the task; the batch is in images, the rates per step.

    A task's recipe adds what is its own. selection: share of the training images that the course
    is measured on, chosen by the seed; they train nothing. color_jitter: strength. precision:
    "bf16", "fp32", or "auto" for bf16 where the device computes it itself. checkpoint: what it
    starts from. frozen: the backbone stays as it starts.
    """

    model: str = "efficientmod_xxs"
    num_classes: int = 10
    phases: tuple[Phase, ...] = ()
    batch_size: int = 64
    lr: float = 2e-3
    min_lr: float = 1e-5
    warmup_epochs: float = 1.5
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = 1.0
    color_jitter: float = 0.2
    drop_path: float = 0.05
    ema_decay: float = 0.998
    gamma_init: float = 0.5
    precision: str = "auto"
    seed: int = 0
    selection: float = 0.1
    checkpoint: str | None = None
    frozen: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UserError(
                f"training recipe: precision {self.precision!r} is not one of {PRECISIONS}"
            )
        if not self.phases:
            raise UserError("training recipe: phases is empty; give SIZE:EPOCHS,…")
        if not 0 < self.selection < 1:
            raise UserError(f"training recipe: selection {self.selection} is not between 0 and 1")

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

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """From the values of `asdict` or JSON; a misspelled key is a `UserError`."""
        if "phases" in values:
            values = {**values, "phases": [_phase(p) for p in values["phases"]]}
        return from_values(cls, values)


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """The recipe of a classifier.

    crop_scale: share of the area that a crop keeps. erase_probability: how often a part is erased.
    plain_epochs: how many of the last epochs run without mixup and cutmix. teacher: a checkpoint
    whose answers are learned too, for `distillation` of the loss, at a temperature.
    """

    phases: tuple[Phase, ...] = (
        Phase(96, 20),
        Phase(128, 6),
        Phase(160, 2),
        Phase(192, 2),
        Phase(224, 2),
    )
    label_smoothing: float = 0.1
    mixup: float = 0.2
    cutmix: float = 1.0
    mix_probability: float = 0.25
    plain_epochs: int = 6
    crop_scale: tuple[float, float] = (0.35, 1.0)
    erase_probability: float = 0.0
    teacher: str | None = None
    distillation: float = 0.5
    temperature: float = 2.0


@dataclass(frozen=True)
class FineTuneConfig(TrainConfig):
    """The recipe of a classifier that starts from another's weights."""

    phases: tuple[Phase, ...] = (Phase(128, 4), Phase(160, 2))
    batch_size: int = 32
    lr: float = 5e-4
    warmup_epochs: float = 0.5
    ema_decay: float = 0.99
    mix_probability: float = 0.0
    plain_epochs: int = 0
    crop_scale: tuple[float, float] = (0.5, 1.0)


def _phase(value: Any) -> Phase:
    if isinstance(value, dict) and value.keys() == {"size", "epochs"}:
        return Phase(**value)
    expected = json.dumps({"size": 128, "epochs": 6})
    raise UserError(f"training recipe: phase {json.dumps(value)}: expected as {expected}")


def parse_phases(text: str) -> tuple[Phase, ...]:
    """`96:24,128:8` as phases; `UserError` otherwise."""
    try:
        pairs = [part.split(":") for part in text.split(",")]
        return tuple(Phase(int(size), int(epochs)) for size, epochs in pairs)
    except ValueError:
        raise UserError(f"--phases {text!r}: expected SIZE:EPOCHS,SIZE:EPOCHS") from None
