"""The map of classes as a network's output: ops behind the delegate, on codes where there are any.

ExecuTorch's kernel of argmax takes the first of equal values. Along the last axis, and of codes, it
is several times as fast as along the first: the delegate, which computes channels last, hands both
out so for nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mobilemod.forms.form import Form
from quantization.program import QuantizeDequantize

# By the names that the partitioner's graph has them under.
OPS = ("argmax", "_to_copy", "_to_dim_order_copy")


class Argmax(nn.Module):
    """uint8 (1, h, w) of scores or codes (1, h, w, K)."""

    makes = "answer:classes"

    def forward(self, x: Tensor) -> Tensor:
        return x.argmax(-1).to(torch.uint8)


class Classes(nn.Module):
    """A network of maps that answers with the class of the largest score, the lower of equals."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.answer = network, Argmax()
        self.codes = _codes(network)

    def forward(self, image: Tensor) -> Tensor:
        x = self.network(image).permute(0, 2, 3, 1)
        if self.codes is not None:
            x = torch.ops.quantized_decomposed.quantize_per_tensor.default(x, *self.codes)
        return self.answer(x)


def _codes(network: nn.Module) -> tuple | None:
    """How the scores are quantized last; None where they are real."""
    if not isinstance(network, Form):
        return None
    last = network.last.get_submodule(network.last.steps[-1][0])
    return last.args if isinstance(last, QuantizeDequantize) else None
