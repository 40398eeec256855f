"""An image's channels, repeated."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mobilemod.forms.graph import Node
from mobilemod.forms.mobile_ops import Tap

CATS = 5  # as many tensors as XNNPACK joins at once


class Copies(nn.Module):
    """Channels repeated by joins of few tensors each; every result at a tap."""

    def __init__(self, node: Node, times: int):
        super().__init__()
        self.factors = factors(times)
        base, source = node.tensor, (node.source or node.inputs[0]).tensor
        self.taps = nn.ModuleList(
            Tap(f"{base}{i}", source, "repeat") for i in range(len(self.factors))
        )

    def forward(self, x: Tensor) -> Tensor:
        for factor, tap in zip(self.factors, self.taps, strict=True):
            x = tap(torch.cat([x] * factor, 1))
        return x


def factors(times: int) -> list[int]:
    """Numbers of at most `CATS` whose product is `times`; `times` itself where there are none."""
    if times <= 3:
        return [times]
    for factor in range(2, CATS + 1):
        if times % factor == 0:
            return [factor, *factors(times // factor)] if times > factor else [factor]
    return [times]
