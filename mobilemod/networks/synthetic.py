"""Weights of trained-like spread, for tests and measurements without a trained checkpoint."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

from mobilemod.networks.family import Variant
from mobilemod.networks.reading.fit import expected_shapes

NORM_WEIGHTS = ("norm.weight", "norm1.weight", "norm2.weight")


def trained_like_state(variant: Variant, num_classes: int = 1000) -> dict[str, Tensor]:
    """Float32 parameters by published name, one generator per name.

    The recipe the golden logits were made with: LayerNorm weights around 1, `gamma_1` around 0.5,
    other vectors around 0, and matrices of variance 1/fan-in.
    """
    state = {}
    for name, shape in expected_shapes(variant, num_classes).items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        a = rng.standard_normal(shape).astype(np.float32)
        if name.endswith(NORM_WEIGHTS):
            a = 1 + np.float32(0.1) * a
        elif name.endswith("gamma_1"):
            a = np.float32(0.5) + np.float32(0.1) * a
        elif len(shape) == 1:
            a = np.float32(0.1) * a
        else:
            a = a / np.float32(np.sqrt(np.prod(shape[1:])))
        state[name] = torch.from_numpy(a.astype(np.float32))
    return state
