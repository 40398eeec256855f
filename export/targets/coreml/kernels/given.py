"""What a kernel is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from export.targets.coreml.reader import constant

Result = Tensor | tuple[Tensor, ...]
Kernel = Callable[["Given"], Result]


@dataclass(frozen=True)
class Given:
    """The inputs of an op by name. constants: arrays, floats as tensors in float32; variables:
    what was computed."""

    constants: dict[str, Any]
    variables: dict[str, Tensor]

    def __call__(self, name: str = "x") -> Any:
        """A tensor, None where the op has no such input."""
        value = self.variables.get(name)
        value = self.constants.get(name) if value is None else value
        return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value

    def number(self, name: str, default: float = 0.0) -> float:
        """A setting that is one number or truth value."""
        value = self.constants.get(name)
        return default if value is None else np.asarray(value).reshape(-1)[0].item()

    def ints(self, name: str, default: tuple[int, ...] = ()) -> list[int]:
        """A setting that is a list of whole numbers or truth values."""
        value = self.constants.get(name)
        return [int(v) for v in np.asarray(default if value is None else value).reshape(-1)]

    def text(self, name: str, default: str = "") -> str:
        """A setting that is a word."""
        value = self.constants.get(name)
        return default if value is None else str(value)


def constants_of(op: Any) -> dict[str, Any]:
    """What an op is given that the file alone tells."""
    found = {}
    for name, var in op.inputs.items():
        several = isinstance(var, list | tuple)
        value = None if var is None or several else constant(var)
        if value is not None:
            real = value.dtype.kind == "f"
            found[name] = torch.from_numpy(np.array(value, np.float32)) if real else value
    return found
