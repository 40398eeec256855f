"""GELU's tanh approximation from what the delegate takes: its own GELU is the exact one."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from mobilemod.forms.ops import Call

INNER = 2 * math.sqrt(2 / math.pi)  # (1 + tanh(y)) / 2 is sigmoid(2 y)
CUBIC = 0.044715


class TanhGelu(nn.Module):
    """x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x³)), for a tensor of so many dimensions."""

    def __init__(self, rank: int):
        super().__init__()
        for name, value in (("linear", INNER), ("cubic", INNER * CUBIC)):
            self.register_buffer(name, torch.full((1,) * rank, value))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x * (x * x * self.cubic + self.linear))


def without_tanh_gelu(module: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """`module`, or a copy with each such GELU written out; shape: of its input."""
    paths = [path for path, m in module.named_modules() if _is_tanh_gelu(m)]
    if not paths:
        return module
    module = copy.deepcopy(module)
    ranks: dict[nn.Module, int] = {}
    ops = [module.get_submodule(path) for path in paths]
    hooks = [
        op.register_forward_hook(lambda m, args, out: ranks.update({m: out.ndim})) for op in ops
    ]
    module(torch.zeros(shape))
    for path, op, hook in zip(paths, ops, hooks, strict=True):
        hook.remove()
        parent, _, name = path.rpartition(".")
        module.get_submodule(parent).register_module(name, TanhGelu(ranks[op]))
    return module


def _is_tanh_gelu(module: nn.Module) -> bool:
    tanh = isinstance(module, Call) and module.options.get("approximate") == "tanh"
    return tanh and module.kind == "gelu"
