"""The optimizer and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import nn


def weight_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups of a decoupled decay: matrices and kernels decay, vectors do not.

    What needs no gradient is in none.
    """
    decay, rest = [], []
    for p in parameters:
        if not p.requires_grad:
            continue
        matrix = sum(length > 1 for length in p.shape) > 1
        (decay if matrix else rest).append(p)
    return [
        {"params": decay, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]


def cosine_rate(at: float, warmup: float, total: float, peak: float, least: float) -> float:
    """Linear from 0 to `peak` at `warmup`, then a cosine to `least` at `total`.

    Source: Loshchilov and Hutter, 2017.
    """
    if at < warmup:
        return peak * max(at, 1e-3) / warmup
    done = (at - warmup) / max(1e-9, total - warmup)
    return least + (peak - least) * 0.5 * (1 + math.cos(math.pi * min(1, done)))
