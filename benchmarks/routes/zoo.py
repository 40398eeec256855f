"""Networks that nobody here wrote, built from `transformers`' configurations without a download.

Their weights have a trained network's spread, their batch norms the statistics of real images:
without these, activations fade from layer to layer and int8 has nothing to round. As in trained
networks, kernels are smooth and most units are on: else a network is chaotic, rounding in the
first layers drowns its output, and files can't be told apart by it.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mobilemod.data.imagefolder import ImageFolder
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import unknown
from mobilemod.networks.synthetic import trained_like
from mobilemod.training.images import load_images

CLASSES = 100
STATISTICS_IMAGES = 8
SMOOTH = 0.8  # the part of a kernel's variance that all its taps share
SHIFT = 1.0  # of what batch norms give, in standard deviations
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class ZooEntry:
    """config: the configuration's class in `transformers`, "" for a network of this project.

    options: its arguments. shallow: others for a network of the same ops with few layers. size:
    of images.
    """

    config: str
    options: dict[str, Any] = field(default_factory=dict)
    shallow: dict[str, Any] = field(default_factory=dict)
    size: int = 224


_VIT = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}
ZOO: dict[str, ZooEntry] = {
    "convnextv2": ZooEntry(
        "ConvNextV2Config",
        {"hidden_sizes": [40, 80, 160, 320], "depths": [2, 2, 6, 2]},
        {"hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1]},
    ),
    "mobilenetv2": ZooEntry("MobileNetV2Config", {}, {"depth_multiplier": 0.35}),
    "efficientnet": ZooEntry(
        "EfficientNetConfig",
        {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280, "image_size": 224},
        {"width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320},
    ),
    "poolformer": ZooEntry(
        "PoolFormerConfig",
        {},
        {"hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1]},
    ),
    "regnet": ZooEntry(
        "RegNetConfig",
        {
            "embedding_size": 32, "hidden_sizes": [24, 56, 152, 368], "depths": [1, 1, 4, 7],
            "groups_width": 8, "layer_type": "y",
        },
        {"hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1]},
    ),
    "swiftformer": ZooEntry(
        "SwiftFormerConfig",
        {"depths": [3, 3, 6, 4], "embed_dims": [48, 56, 112, 220]},
        {"depths": [1, 2, 1, 1], "embed_dims": [16, 24, 32, 40]},
    ),
    "mobilevitv2": ZooEntry(
        "MobileViTV2Config",
        {"width_multiplier": 0.5, "image_size": 256},
        {"n_attn_blocks": [1, 1, 1], "base_attn_unit_dims": [32, 48, 64]},
        256,
    ),
    "efficientformerv2_s0": ZooEntry(""),
    "vit": ZooEntry(
        "ViTConfig",
        {**_VIT, "num_hidden_layers": 4},
        {"num_hidden_layers": 1, "hidden_size": 48, "intermediate_size": 96, "image_size": 96},
    ),
    "levit": ZooEntry(
        "LevitConfig",
        {},
        {
            "hidden_sizes": [32, 48, 64], "depths": [1, 1, 1], "num_attention_heads": [2, 3, 4],
            "image_size": 224,
        },
    ),
    "focalnet": ZooEntry(
        "FocalNetConfig",
        {"embed_dim": 48, "depths": [2, 2, 4, 2]},
        {"embed_dim": 16, "depths": [1, 1, 1, 1], "image_size": 96},
    ),
    "swin": ZooEntry(
        "SwinConfig",
        {"embed_dim": 48, "depths": [2, 2, 2, 2], "num_heads": [2, 4, 8, 16]},
        {"embed_dim": 16, "depths": [2, 1], "num_heads": [2, 4], "image_size": 112},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class ZooNetwork:
    """A network of the zoo to build files of, as `benchmarks.routes.network.CalibratedNetwork` is.

    folder: what it is calibrated on, prepared by `preprocess`.
    """

    name: str
    folder: ImageFolder
    preprocess: Preprocess
    module: str = __name__

    @functools.cached_property
    def images(self) -> np.ndarray:
        """The calibration images, float32 (N, 3, S, S), normalized."""
        pixels = load_images(self.folder, "reading train", self.preprocess).pixels
        return self.preprocess.normalize(pixels)

    @property
    def mean(self) -> tuple[float, ...]:
        """Of the images' normalization."""
        return self.preprocess.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Of the images' normalization."""
        return self.preprocess.std

    def published(self) -> nn.Module:
        """As its authors wrote it, in eval mode."""
        return zoo_network(self.name, torch.from_numpy(self.images[:STATISTICS_IMAGES]))

    def sample(self) -> tuple[Tensor]:
        """The example input for tracing: one image, float32 (1, 3, S, S)."""
        return (torch.from_numpy(self.images[:1]),)

    def batches(self) -> list[Tensor]:
        """The calibration images one by one, float32 (1, 3, S, S)."""
        return [torch.from_numpy(x[None]) for x in self.images]

    def digest(self) -> str:
        """sha256 of all that decides a file of this network but the code."""
        parts = self.name, ZOO[self.name], self.folder.digest(), self.preprocess
        return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()


class Logits(nn.Module):
    """A `transformers` classifier as (B, 3, S, S) to (B, K)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(pixel_values=x, return_dict=True).logits


def zoo_network(name: str, images: Tensor, shallow: bool = False) -> nn.Module:
    """A network of the zoo in eval mode; the same weights each time.

    images: float32 (N, 3, S, S), for batch norms' statistics. `UserError` for an unknown name.
    """
    if name not in ZOO:
        raise unknown("network", name, ZOO)
    module = _built(name, shallow)
    shapes = {k: v.shape for k, v in module.state_dict().items() if v.is_floating_point()}
    state = {k: smooth(v) for k, v in trained_like(shapes).items()}
    module.load_state_dict(state, strict=False)
    return _with_statistics(module, images)


def smooth(weight: Tensor) -> Tensor:
    """A kernel (O, I, H, W) whose taps vary together, of the same variance; others as they are."""
    if weight.ndim < 4 or weight[0, 0].numel() == 1:
        return weight
    shared = weight.mean((2, 3), keepdim=True) * weight[0, 0].numel() ** 0.5
    return SMOOTH**0.5 * shared + (1 - SMOOTH) ** 0.5 * weight


def _built(name: str, shallow: bool) -> nn.Module:
    entry = ZOO[name]
    if not entry.config:
        from mobilemod.networks.registry import build

        return build(name, CLASSES)
    import transformers

    options = {**entry.options, **(entry.shallow if shallow else {}), "num_labels": CLASSES}
    config = getattr(transformers, entry.config)(**options)
    kind = entry.config.removesuffix("Config") + "ForImageClassification"
    return Logits(getattr(transformers, kind)(config))


@torch.no_grad()
def _with_statistics(module: nn.Module, images: Tensor) -> nn.Module:
    """Batch norms with the mean and variance of activations of `images`, as trained ones have."""
    norms = [m for m in module.eval().modules() if isinstance(m, BATCH_NORMS)]
    for norm in norms:
        norm.momentum = 1.0  # the statistics are those of one batch
        norm.bias += SHIFT
        norm.train()
    if norms:
        module(images)
    return module.eval()
