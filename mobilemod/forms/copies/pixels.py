"""An image's pixels, repeated: nearest upsampling by whole factors.

Delegates have no op for it; in channels-last memory it is two joins, which move codes as they are:
of every pixel with itself, of every row with itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mobilemod.forms.copies.channels import factors
from mobilemod.forms.graph import Node
from mobilemod.forms.mobile_ops import Tap
from mobilemod.forms.ops import Call


def whole_factors(node: Node) -> tuple[int, int] | None:
    """How often a nearest upsampling repeats rows and columns; None for any other op."""
    if not isinstance(node.op, Call) or node.op.kind != "upsample_nearest2d":
        return None
    rows, columns = (
        0 if after % before else after // before
        for after, before in zip(node.shape[2:], node.inputs[0].shape[2:], strict=True)
    )
    return (rows, columns) if rows and columns else None


class Pixels(nn.Module):
    """(B, C, H, W) to (B, C, rows H, columns W), each pixel repeated; every result at a tap."""

    def __init__(self, node: Node, rows: int, columns: int):
        super().__init__()
        self.columns, self.rows = ([f for f in factors(n) if f > 1] for n in (columns, rows))
        self.size = tuple(node.shape[2:])
        base, source = node.tensor, (node.source or node.inputs[0]).tensor
        count = len(self.columns) + len(self.rows) + 2
        self.moves = nn.ModuleList(Tap(f"{base}.{i}", source, "repeat") for i in range(count))
        self.tap = Tap(base, source, node.role)

    def forward(self, x: Tensor) -> Tensor:
        _, c, h, w = x.shape
        taps = iter(self.moves)
        # Of one row, as codes lie: an image of several would be turned to channels first and back.
        x = next(taps)(x.permute(0, 2, 3, 1).reshape(-1, 1, h * w, c))
        for factor in self.columns:
            x = next(taps)(torch.cat([x] * factor, 3))
        x = next(taps)(x.reshape(-1, 1, h, x.shape[3] * w))
        for factor in self.rows:
            x = next(taps)(torch.cat([x] * factor, 3))
        return self.tap(x.reshape(-1, *self.size, c).permute(0, 3, 1, 2))
