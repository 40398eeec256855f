"""An evaluator of the MIL programs that this project writes, for machines without Core ML.

It is not Core ML. It computes what the program says, in torch, batch by batch:
- a tensor that the program calls float16 is rounded to float16 after every op;
- inside an op, arithmetic is float32 on those rounded values (convolution and matmul sums,
  means, variances, softmax). Core ML's kernels sum in at least float16, which one depends on the
  processor, so a device may differ from this by float16 rounding inside an op;
- `quantize` divides by the file's float16 scale, rounds half to even, adds the zero point, clamps;
- int8 weights are expanded to float16 as `constexpr_affine_dequantize` says.

Source of the op semantics: the MIL op reference of coremltools.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from export.targets.coreml.reader import Package, attribute, constant, scale_and_zero
from mobilemod.errors import UserError

INT_RANGE = {"int8": (-128, 127), "uint8": (0, 255)}
LOGITS = "logits"
Kernel = Callable[..., Tensor]
Visitor = Callable[["Step", list[Tensor], Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """One op, compiled. `kernel` maps the values of `inputs` to the value of `output`.

    half: round the result to float16. release: values that no later step needs. op: the MIL op.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    output: str
    kernel: Kernel
    half: bool
    release: tuple[str, ...]
    op: Any


@dataclass(frozen=True)
class MilProgram:
    """A compiled program; the batch is free although the file's is 1.

    A value whose shape in the file starts with 1 carries the images in that dimension; every
    other value has one more dimension, in front.
    """

    package: Package
    input: str
    output: str
    size: int
    steps: tuple[Step, ...]

    @torch.inference_mode()
    def run(self, pixels: Tensor, visit: Visitor | None = None) -> Tensor:
        """Logits float32 (N, K) of RGB pixels, float32 (N, 3, S, S) in 0..255.

        visit: called after each step with its inputs and result; what it returns takes the
            result's place.
        """
        if tuple(pixels.shape[1:]) != (3, self.size, self.size):
            raise UserError(
                f"{self.package.path}: takes images of {self.size} pixels, not {pixels.shape}"
            )
        values: dict[str, Tensor] = {self.input: pixels}
        for step in self.steps:
            inputs = [values[name] for name in step.inputs]
            y = step.kernel(*inputs)
            if step.half:
                y = half(y)
            values[step.output] = y if visit is None else visit(step, inputs, y)
            for name in step.release:
                del values[name]
        return values[self.output]


def half(x: Tensor) -> Tensor:
    """`x` rounded to float16, held in float32."""
    return x.half().float()


def compile_program(package: Package) -> MilProgram:
    """Compile an opened package: constants become tensors once, ops become closures.

    `UserError` for a program that this project doesn't write.
    """
    output = LOGITS if LOGITS in package.output_names else None
    if output is None:
        raise UserError(f"{package.path}: has no output {LOGITS!r}; not written by this project")
    ops = _needed([o for o in package.operations if constant(o.outputs[0]) is None], output)
    last = {v.name: i for i, op in enumerate(ops) for v in _variables(op)}
    last[output] = len(ops)
    steps = []
    for i, op in enumerate(ops):
        build = KERNELS.get(op.op_type)
        if build is None:
            raise UserError(
                f"{package.path}: the evaluator doesn't know the op {op.op_type!r} ({op.name}); "
                f"it runs only programs that this project writes"
            )
        inputs = tuple(v.name for v in _variables(op))
        var = op.outputs[0]
        rounds = op.op_type not in MOVES and _is_half(var)
        release = tuple(dict.fromkeys(n for n in inputs if last[n] == i))
        steps.append(Step(op.op_type, op.name, inputs, var.name, build(op), rounds, release, op))
    size = package.spec.description.input[0].type.imageType.width
    return MilProgram(package, package.input_name, output, int(size), tuple(steps))


def _needed(ops: list[Any], output: str) -> list[Any]:
    """The ops that the logits depend on; the softmax and `classify` behind them are left out."""
    wanted, kept = {output}, []
    for op in reversed(ops):
        if any(v.name in wanted for v in op.outputs):
            kept.append(op)
            wanted.update(v.name for v in _variables(op))
    return kept[::-1]


def _variables(op: Any) -> list[Any]:
    """The inputs of an op that are not constants, in the order the kernels take them."""
    found = []
    for name in ("x", "input", "y", "values"):
        value = op.inputs.get(name)
        if value is not None:
            found += list(value) if isinstance(value, list | tuple) else [value]
    return [v for v in found if constant(v) is None]


def _is_half(var: Any) -> bool:
    from coremltools.converters.mil.mil import types

    return var.dtype == types.fp16


def _tensor(op: Any, name: str) -> Tensor | None:
    """A constant input as float32, None where the op has none; a variable one is unknown here."""
    var = op.inputs.get(name)
    if var is None:
        return None
    value = constant(var)
    if value is None:
        raise UserError(f"the evaluator takes only a constant {name} in {op.op_type} ({op.name})")
    return torch.from_numpy(np.array(value, np.float32))


def _carries_batch(var: Any) -> bool:
    return len(var.shape) > 0 and var.shape[0] == 1


def _negative(axis: int, var: Any, op: Any) -> int:
    """`axis` counted from the end, which holds with and without the dimension in front."""
    axis = int(axis) - len(var.shape) if axis >= 0 else int(axis)
    if axis == -len(var.shape) and _carries_batch(var):
        raise UserError(f"the evaluator can't reduce or join images: {op.op_type} ({op.name})")
    return axis


def _elementwise(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Any], Kernel]:
    def build(op: Any) -> Kernel:
        x, y = op.inputs["x"], op.inputs["y"]
        if constant(y) is not None:
            other = _tensor(op, "y")
            return lambda a: function(a, other)
        if constant(x) is not None:
            other = _tensor(op, "x")
            return lambda b: function(other, b)
        if len(x.shape) != len(y.shape) or _carries_batch(x) != _carries_batch(y):
            raise UserError(f"the evaluator can't broadcast {x.shape} with {y.shape} ({op.name})")
        return function

    return build


def _quantize(op: Any) -> Kernel:
    scale, zero = scale_and_zero(op)
    low, high = INT_RANGE[str(op.inputs["output_dtype"].val)]
    return lambda x: x.div(scale).round_().add_(zero).clamp_(low, high)


def _dequantize(op: Any) -> Kernel:
    scale, zero = scale_and_zero(op)
    return lambda q: q.sub(zero).mul_(scale)


def _conv(op: Any) -> Kernel:
    weight, bias = _tensor(op, "weight"), _tensor(op, "bias")
    stride = [int(n) for n in attribute(op, "strides", (1, 1))]
    dilation = [int(n) for n in attribute(op, "dilations", (1, 1))]
    groups = int(attribute(op, "groups", 1))
    pad_type = str(attribute(op, "pad_type", "valid"))
    top = bottom = left = right = 0
    if pad_type == "custom":
        top, bottom, left, right = (int(n) for n in op.inputs["pad"].val)
    elif pad_type != "valid":
        raise UserError(f"the evaluator doesn't know the padding {pad_type!r} ({op.name})")
    if (top, left) != (bottom, right):
        raise UserError(f"the evaluator takes only symmetric padding ({op.name})")
    return lambda x: F.conv2d(x, weight, bias, stride, (top, left), dilation, groups)


def _layer_norm(op: Any) -> Kernel:
    axes = [_negative(a, op.inputs["x"], op) for a in op.inputs["axes"].val]
    eps = float(attribute(op, "epsilon", 1e-5))
    gamma, beta = _tensor(op, "gamma"), _tensor(op, "beta")
    if gamma is not None or beta is not None:
        raise UserError(f"the evaluator doesn't know layer_norm with gamma or beta ({op.name})")

    def run(x: Tensor) -> Tensor:
        d = x - x.mean(axes, keepdim=True)
        return d.mul_(torch.rsqrt(d.square().mean(axes, keepdim=True).add_(eps)))

    return run


def _gelu(op: Any) -> Kernel:
    mode = str(attribute(op, "mode", "EXACT"))
    if mode == "SIGMOID_APPROXIMATION":
        return lambda x: x * torch.sigmoid(1.702 * x)
    approximate = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}[mode]
    return lambda x: F.gelu(x, approximate=approximate)


def _reshape(op: Any) -> Kernel:
    x, out = op.inputs["x"], op.outputs[0]
    shape = [int(n) for n in out.shape]
    rest = shape[1:] if _carries_batch(out) else shape
    if len(x.shape) == 0:
        raise UserError(f"the evaluator can't reshape a scalar ({op.name})")
    return lambda v: v.reshape(v.shape[0], *rest)


def _transpose(op: Any) -> Kernel:
    x, out = op.inputs["x"], op.outputs[0]
    order = [int(n) for n in op.inputs["perm"].val]
    if _carries_batch(x) != _carries_batch(out) or (_carries_batch(x) and order[0] != 0):
        raise UserError(f"the evaluator can't move the images' dimension ({op.name})")
    if not _carries_batch(x):
        order = [0, *(n + 1 for n in order)]
    return lambda v: v.permute(order)


def _concat(op: Any) -> Kernel:
    values: Sequence[Any] = op.inputs["values"]
    axis = _negative(int(op.inputs["axis"].val), values[0], op)
    if bool(attribute(op, "interleave", False)):
        raise UserError(f"the evaluator doesn't know an interleaved concat ({op.name})")
    return lambda *parts: torch.cat(parts, axis)


def _matmul(op: Any) -> Kernel:
    left, right = (bool(attribute(op, f"transpose_{n}", False)) for n in "xy")

    def run(x: Tensor, y: Tensor) -> Tensor:
        return torch.matmul(x.mT if left else x, y.mT if right else y)

    return run


def _softmax(op: Any) -> Kernel:
    axis = _negative(int(op.inputs["axis"].val), op.inputs["x"], op)
    return lambda x: torch.softmax(x, axis)


def _reduce_mean(op: Any) -> Kernel:
    axes = [_negative(int(a), op.inputs["x"], op) for a in op.inputs["axes"].val]
    keep = bool(attribute(op, "keep_dims", False))
    return lambda x: x.mean(axes, keepdim=keep)


def _rsqrt(op: Any) -> Kernel:
    eps = float(attribute(op, "epsilon", 1e-12))
    return lambda x: torch.rsqrt(x + eps)


def _upsample_bilinear(op: Any) -> Kernel:
    corners = bool(attribute(op, "align_corners", True))
    if bool(attribute(op, "half_pixel_centers", not corners)) == corners:
        raise UserError(f"the evaluator doesn't know such an upsampling ({op.name})")
    factors = [float(attribute(op, f"scale_factor_{side}", 1)) for side in ("height", "width")]
    return lambda x: F.interpolate(x, scale_factor=factors, mode="bilinear", align_corners=corners)


# Ops whose result holds the input's values or codes: nothing to round.
MOVES = ("reshape", "transpose", "concat", "quantize")
KERNELS: dict[str, Callable[[Any], Kernel]] = {
    "add": _elementwise(torch.add),
    "cast": lambda op: lambda x: x,
    "concat": _concat,
    "conv": _conv,
    "dequantize": _dequantize,
    "gelu": _gelu,
    "layer_norm": _layer_norm,
    "matmul": _matmul,
    "mul": _elementwise(torch.mul),
    "quantize": _quantize,
    "reduce_mean": _reduce_mean,
    "reshape": _reshape,
    "rsqrt": _rsqrt,
    "softmax": _softmax,
    "square": lambda op: torch.square,
    "sub": _elementwise(torch.sub),
    "transpose": _transpose,
    "upsample_bilinear": _upsample_bilinear,
}
