"""Weights of trained-like spread, for tests and measurements without a trained checkpoint."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mobilemod.networks.family import Variant
from mobilemod.networks.reading.fit import expected_shapes

# Mean and spread where a network has no norm before the branch, which grows block by block.
LAYER_SCALES = {"layer_scale_1": (0.2, 0.05), "layer_scale_2": (0.2, 0.05)}


def trained_like_state(variant: Variant, num_classes: int = 1000) -> dict[str, Tensor]:
    """Float32 parameters by published name, one generator per name.

    The recipe that the golden logits were made with. Norms' weights and variances are around 1,
    layer scales around 0.5 or less, biases and means around 0; matrices and kernels have the
    variance 1/fan-in, tables 1.
    """
    return trained_like(expected_shapes(variant, num_classes))


def trained_like(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """The same for the parameters of any network, by name and shape."""
    return {name: torch.from_numpy(_values(name, tuple(shape))) for name, shape in shapes.items()}


def _values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    a = rng.standard_normal(shape).astype(np.float32)
    small, last = np.float32(0.1) * a, name.rpartition(".")[2]
    if last in ("bias", "running_mean"):
        return small
    if last == "running_var":
        return 1 + np.abs(small)
    if last == "weight":
        return 1 + small if a.ndim == 1 else a / np.float32(np.sqrt(np.prod(shape[1:])))
    # A parameter that is no layer's: one number per channel, or a table.
    mean, spread = LAYER_SCALES.get(last, (0.5, 0.1))
    return np.float32(mean) + np.float32(spread) * a if a.size == len(a) else a
