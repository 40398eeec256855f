"""Mobile deployment of vision networks: the network, its data and its results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__version__ = "0.1.0"


def create_model(
    name: str, num_classes: int = 1000, checkpoint: str | Path | None = None, size: int = 224
) -> nn.Module:
    """The network `name`, for images of `size` pixels, with the weights of `checkpoint` if given.

    See `mobilemod.networks.checkpoints.create_model`. torch is imported here and not before.
    """
    from mobilemod.networks import checkpoints

    return checkpoints.create_model(name, num_classes, checkpoint, size)
