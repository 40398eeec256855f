"""Kernels made of kernels: of two convolutions, of one behind a 1x1, of one of repeated pixels.

Weights (out, in, rows, columns), float64.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def composed(first: Tensor, second: Tensor) -> Tensor:
    """The kernel of `second` right after `first`, strides and dilations 1: as large as both less
    one row and column."""
    return F.conv_transpose2d(second, first)


def of_repeated(weight: Tensor, factors: tuple[int, int]) -> Tensor:
    """The kernel that gives, of an image before its pixels are repeated, what `weight` gives behind
    that: for each new pixel of an old one, rows first, all its channels, (rows columns out, in, …).
    Both are odd and padded by half their size."""
    rows, columns = (_taps(k, f) for k, f in zip(weight.shape[2:], factors, strict=True))
    return torch.einsum("oiyx,ray,scx->rsoiac", weight, rows, columns).flatten(0, 2)


def _taps(size: int, factor: int) -> Tensor:
    """(factor, taps before, size): 1 where a tap of a new pixel falls on one of the old pixels."""
    reach = size // 2
    before = -(-reach // factor)
    found = torch.zeros(factor, 2 * before + 1, size, dtype=torch.float64)
    for phase in range(factor):
        for tap in range(size):
            found[phase, (phase + tap - reach) // factor + before, tap] = 1
    return found
