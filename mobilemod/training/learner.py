"""The seam between training and what is learned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from mobilemod.tasks.task import Task
from mobilemod.training.config import RunConfig
from mobilemod.training.images import ImageSet

# A batch (B, 3, H, W) to float32 outputs, in the run's precision.
Forward = Callable[[Tensor], Tensor]
# A batch of training images (B, 3, H, W).
Images = Callable[[], Tensor]


@dataclass(frozen=True)
class Sets:
    """What a run learns from. left_out: files that weren't read, by kind."""

    train: ImageSet[Any]
    val: ImageSet[Any]
    classes: tuple[str, ...]
    left_out: dict[str, int]


@dataclass(frozen=True)
class At:
    """Where a run is. rng: of the step, the same in all its processes. teach: the teacher's."""

    epoch: int
    rng: np.random.Generator
    teach: Forward | None = None


class Learner(ABC):
    """How a task's networks are trained.

    config, fine_tuning: the recipe with the task's defaults, and the one of a run that starts from
    a checkpoint.
    """

    task: Task
    config: type[RunConfig]
    fine_tuning: type[RunConfig]

    @abstractmethod
    def read(self, data: Path) -> Sets:
        """The images of a folder; `UserError` where they aren't this task's."""

    @abstractmethod
    def loss(self, forward: Forward, x: Tensor, y: Tensor, config: Any, at: At) -> Tensor:
        """Of one batch, to be minimized."""

    @abstractmethod
    def start(self, model: nn.Module, config: Any, images: Images, classes: Sequence[str]) -> str:
        """Set what doesn't start at random; what the run starts from, for people."""

    @abstractmethod
    def backbone(self, model: nn.Module) -> list[nn.Parameter]:
        """What `frozen` keeps as it starts."""

    def teacher(self, config: Any) -> nn.Module | None:
        """The network whose answers `loss` gets in `At.teach`."""
        return None

    def finish(self, model: nn.Module) -> None:  # noqa: B027
        """Bring the trained weights into the form in which they are kept, with the same outputs."""

    @abstractmethod
    def final_size(self, config: Any) -> int:
        """Pixels a side of the images on which the result is measured."""
