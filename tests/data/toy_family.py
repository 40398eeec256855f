"""Two convolutions with GELU and a pooled head: a network of another family, as one file.

Tests put it beside the families of `mobilemod.networks`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.data.preprocess import Preprocess
from mobilemod.networks.family import Family


@dataclass(frozen=True)
class Variant:
    """Shape of one variant."""

    name: str
    width: int


VARIANTS = {
    "toy_small": Variant("toy_small", 16),
    # Files of some megabytes.
    "toy_large": Variant("toy_large", 512),
}


class Toy(nn.Module):
    """The classification network: (B, 3, H, W) to (B, num_classes)."""

    def __init__(self, variant: Variant, num_classes: int, drop_path: float = 0.0):
        super().__init__()
        self.variant, self.num_classes, self.drop_path = variant, num_classes, drop_path
        self.stem = nn.Conv2d(3, variant.width, 4, stride=4)
        self.body = nn.Conv2d(variant.width, 2 * variant.width, 3, stride=2, padding=1)
        self.fc = nn.Linear(2 * variant.width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.body(F.gelu(self.stem(x))))
        return self.fc(x.mean((2, 3)))


def _adapt(tensors: dict) -> dict:
    return {name.replace("classifier.", "fc."): value for name, value in tensors.items()}


FAMILY = Family(
    title="Toy",
    variant=Variant,
    build=Toy,
    preprocess=Preprocess(64, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    head="fc",
    adapt=_adapt,
    labels=("dog", "cat", "bird"),
    source="a file of ours",
)
