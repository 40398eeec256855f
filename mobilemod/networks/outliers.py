"""Outlier channels, planted in an EfficientMod without changing what it computes.

A test input for that family alone: no other part needs to know where it could have outliers.

Networks trained for long on much data have channels far larger than the others, in the scale of a
LayerNorm and in the modulation: int8 with one scale per tensor then has few codes left for the
rest (for transformers: Bondarenko et al., EMNLP 2021, arXiv 2109.12948; Dettmers et al., NeurIPS
2022, arXiv 2208.07339). A network without them gets them here by moving a factor from one layer
into the next, the reverse of what equalization does (Nagel et al., ICCV 2019, arXiv 1906.04721).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mobilemod.networks.efficientmod import Variant

NORM_FACTOR = 30.0
MODULATION_FACTOR = 20.0


@dataclass(frozen=True)
class Planted:
    """`channel` of `module`'s output is `factor` times as large as it was."""

    module: str
    channel: int
    factor: float


def plant_outliers(
    state: Mapping[str, Tensor],
    variant: Variant,
    seed: int | None = None,
    norm_factor: float = NORM_FACTOR,
    modulation_factor: float = MODULATION_FACTOR,
) -> tuple[dict[str, Tensor], list[Planted]]:
    """A copy of `state` (published names, float) with one outlier in every norm and modulation.

    In every block, one channel of each LayerNorm's scale and shift is multiplied by `norm_factor`
    and the linears that read it divide by it; one row of the modulation's `g`, with its bias, is
    multiplied by `modulation_factor`, and `fc2` divides by it in every column that the repeated
    row meets. The network's function stays, up to float rounding. Without `seed` it is each
    module's largest channel, else one drawn from `seed` and the module's name.
    """
    state = {name: tensor.clone() for name, tensor in state.items()}
    planted = []
    for module, readers, repeats in _pairs(variant):
        weight, bias = state[f"{module}.weight"], state[f"{module}.bias"]
        width = len(bias)
        if seed is None:
            channel = _largest(weight, bias)
        else:
            rng = np.random.default_rng([seed, zlib.crc32(module.encode())])
            channel = int(rng.integers(width))
        factor = modulation_factor if weight.ndim == 2 else norm_factor
        for name in ("weight", "bias"):
            state[f"{module}.{name}"][channel] *= factor
        columns = [channel + i * width for i in range(repeats)]
        for reader in readers:
            state[f"{reader}.weight"][:, columns] /= factor
        planted.append(Planted(module, channel, factor))
    return state, planted


def _largest(weight: Tensor, bias: Tensor) -> int:
    """The output channel with the largest values for inputs of zero mean and unit variance."""
    squares = weight.square() if weight.ndim == 1 else weight.square().sum(1)
    return int((squares + bias.square()).argmax())


def _pairs(variant: Variant) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """(module, the linears that read its output, how often it is repeated) in network order."""
    for stage, (convs, attentions) in enumerate(
        zip(variant.blocks, variant.attention_blocks, strict=True)
    ):
        for i in range(convs):
            block = f"layers.{stage}.blocks.{i}"
            context = f"{block}.mlp.context_layer"
            yield f"{block}.norm", (f"{context}.f", f"{block}.mlp.fc1"), 1
            yield f"{context}.g", (f"{block}.mlp.fc2",), variant.modulation_ratio(i)
        for i in range(convs, convs + attentions):
            block = f"layers.{stage}.blocks.{i}"
            yield f"{block}.norm1", (f"{block}.attn.qkv",), 1
            yield f"{block}.norm2", (f"{block}.mlp.fc1",), 1
