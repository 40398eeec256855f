"""Runs, image by image, the ML programs that coremltools converts from the published form.

`export.targets.coreml.evaluator` runs the programs of this project alone; the published form's have
a few ops more and no fixed place for the batch. Arithmetic and rounding are that module's, and its
kernels are used where they fit: float16 results are rounded to float16, sums are float32.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from export.targets.coreml.evaluator import KERNELS, MOVES, half
from export.targets.coreml.reader import constant, open_package
from mobilemod.errors import UserError

Values = dict[str, Any]


def _layer_norm(v: Values) -> Tensor:
    axes = [int(a) for a in v["axes"]]
    x = v["x"]
    d = x - x.mean(axes, keepdim=True)
    y = d * torch.rsqrt(d.square().mean(axes, keepdim=True) + float(v["epsilon"]))
    y = y * v["gamma"] if "gamma" in v else y
    return y + v["beta"] if "beta" in v else y


def _split(v: Values) -> tuple[Tensor, ...]:
    sizes = v.get("split_sizes")
    x, axis = v["x"], int(v["axis"])
    parts = x.shape[axis] // int(v["num_splits"]) if sizes is None else [int(n) for n in sizes]
    return torch.split(x, parts, axis)


def _squeeze(v: Values) -> Tensor:
    axes = sorted((int(a) % v["x"].ndim for a in v["axes"]), reverse=True)
    y = v["x"]
    for axis in axes:
        y = y.squeeze(axis)
    return y


# From an op's inputs by name: variables as tensors, constants as tensors where float, else NumPy.
OWN: dict[str, Callable[[Values], Any]] = {
    "add": lambda v: v["x"] + v["y"],
    "layer_norm": _layer_norm,
    "linear": lambda v: F.linear(v["x"], v["weight"], v.get("bias")),
    "mul": lambda v: v["x"] * v["y"],
    "reduce_mean": lambda v: v["x"].mean([int(a) for a in v["axes"]], keepdim=bool(v["keep_dims"])),
    "reshape": lambda v: v["x"].reshape([int(n) for n in v["shape"]]),
    "split": _split,
    "squeeze": _squeeze,
    "sub": lambda v: v["x"] - v["y"],
    "tile": lambda v: v["x"].tile([int(n) for n in v["reps"]]),
    "transpose": lambda v: v["x"].permute([int(n) for n in v["perm"]]),
}
SHARED = ("cast", "conv", "dequantize", "gelu", "matmul", "quantize", "softmax")
WITHOUT_ROUNDING = (*MOVES, "split", "squeeze", "tile")


class MilNetwork:
    """The program of a `.mlpackage` with one float input (1, 3, S, S) and one output.

    Raises `UserError` for an op that is unknown here.
    """

    def __init__(self, path: Path):
        package = open_package(path)
        self.input, (self.output,) = package.input_name, package.output_names
        self.steps = [_Step(op) for op in package.operations if constant(op.outputs[0]) is None]

    @torch.inference_mode()
    def run(self, x: np.ndarray, keep: Collection[str] = ()) -> dict[str, np.ndarray]:
        """The output and the variables in `keep`, by name, for float32 (1, 3, S, S)."""
        values: dict[str, Tensor] = {self.input: torch.from_numpy(np.ascontiguousarray(x))}
        for step in self.steps:
            values.update(step.run(values))
        return {name: values[name].numpy() for name in {self.output, *keep} if name in values}

    def logits(self, images: np.ndarray) -> np.ndarray:
        """float32 (N, K) of float32 (N, 3, S, S)."""
        return np.stack([self.run(x[None])[self.output].ravel() for x in images])


class _Step:
    """One op, compiled."""

    def __init__(self, op: Any):
        self.outputs = [v.name for v in op.outputs]
        self.constants: Values = {}
        self.variables: dict[str, str] = {}
        for name, var in op.inputs.items():
            if var is None or isinstance(var, list | tuple):
                continue
            value = constant(var)
            if value is None:
                self.variables[name] = var.name
            elif value.dtype.kind == "f":
                self.constants[name] = torch.from_numpy(np.array(value, np.float32))
            else:
                self.constants[name] = value
        if op.op_type in OWN:
            own = OWN[op.op_type]
            self.kernel = lambda v: own({**self.constants, **v})
        elif op.op_type in SHARED:
            shared = KERNELS[op.op_type](op)
            self.kernel = lambda v: shared(*v.values())
        else:
            raise UserError(f"no kernel here for the op {op.op_type!r} ({op.name})")
        self.half = op.op_type not in WITHOUT_ROUNDING and _is_half(op.outputs[0])

    def run(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        y = self.kernel({name: values[source] for name, source in self.variables.items()})
        parts = y if isinstance(y, tuple) else (half(y) if self.half else y,)
        return dict(zip(self.outputs, parts, strict=True))


def _is_half(var: Any) -> bool:
    from coremltools.converters.mil.mil import types

    return var.dtype == types.fp16
