"""Forward hooks for as long as something runs, and what they may see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mobilemod.errors import UserError


@contextmanager
def forward_hooks(modules: Iterable[nn.Module], hook: Callable) -> Iterator[None]:
    """`hook(module, args, output)` after every run of `modules`, within the block."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def require_finite(tensor: str, values: Tensor) -> None:
    """`UserError` that names `tensor` where `values`, of it or of its extremes, aren't finite."""
    if not torch.isfinite(values).all():
        raise UserError(
            f"tensor {tensor} is not finite on these images: the weights make it overflow; give "
            "another checkpoint"
        )
