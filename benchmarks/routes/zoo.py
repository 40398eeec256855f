"""Networks that nobody here wrote, built from `transformers`' configurations without a download.

Their weights have a trained network's spread, and their batch norms the statistics of real images:
without these, activations fade from layer to layer and int8 has nothing to round.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mobilemod.errors import unknown
from mobilemod.networks.synthetic import trained_like

CLASSES = 100


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
    state = trained_like({k: v.shape for k, v in module.state_dict().items() if _is_weight(v)})
    module.load_state_dict(state, strict=False)
    return _with_statistics(module, images)


def _is_weight(value: Tensor) -> bool:
    return value.is_floating_point()


def _built(name: str, shallow: bool) -> nn.Module:
    entry = ZOO[name]
    if not entry.config:
        from mobilemod.networks.registry import build

        return build(name, CLASSES)
    import transformers

    options = {**entry.options, **(entry.shallow if shallow else {}), "num_labels": CLASSES}
    config = getattr(transformers, entry.config)(**options)
    return Logits(transformers.AutoModelForImageClassification.from_config(config))


@torch.no_grad()
def _with_statistics(module: nn.Module, images: Tensor) -> nn.Module:
    """Batch norms divide by the size that activations of `images` have, as trained ones do."""

    def measure(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        dims = [d for d in range(args[0].ndim) if d != 1]
        norm.running_var.mul_((args[0] ** 2).mean(dims))

    kind = nn.modules.batchnorm._BatchNorm
    norms = [m for m in module.eval().modules() if isinstance(m, kind)]
    hooks = [m.register_forward_pre_hook(measure) for m in norms]
    if norms:
        module(images)
    for hook in hooks:
        hook.remove()
    return module
