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
    """The kernels that give, of an image before its pixels are repeated, what `weight` gives behind
    that: (rows, columns, out, in, ...), one for each new pixel of an old one. All are odd and
    padded by half their size."""
    rows, columns = (_taps(k, f) for k, f in zip(weight.shape[2:], factors, strict=True))
    return torch.einsum("oiyx,ray,scx->rsoiac", weight, rows, columns)


def reached(size: int, factor: int) -> list[tuple[int, int]]:
    """How many pixels before and behind an old one its new pixels are made of, along a dimension,
    by a kernel of an odd size."""
    reach = size // 2
    return [((reach - i + factor - 1) // factor, (i + reach) // factor) for i in range(factor)]


def _taps(size: int, factor: int) -> Tensor:
    """(factor, taps before, size): 1 where a tap of a new pixel falls on one of the old pixels."""
    most = max(before for before, _ in reached(size, factor))
    found = torch.zeros(factor, 2 * most + 1, size, dtype=torch.float64)
    for phase in range(factor):
        for tap in range(size):
            found[phase, (phase + tap - size // 2) // factor + most, tap] = 1
    return found
