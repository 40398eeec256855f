"""How each torch op of a captured program becomes nodes: a function an op, found by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from mobilemod.forms.layout.axes import View

Value = View | Tensor | int | float | bool | None | list | tuple
Handler = Callable[..., Any]
HANDLERS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Registers a function for ops of `torch.ops.aten`: (builder, *the op's arguments) -> value."""

    def register(function: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = function
        return function

    return register


def is_view(value: Any) -> bool:
    """Whether a value depends on the image."""
    return isinstance(value, View)


def dim_of(view: View, dim: int) -> int:
    """A dimension counted from the front."""
    return dim % len(view.axes)


def pair(value: Any) -> tuple[int, int]:
    """Two numbers of one or two."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    return (values[0], values[-1])
