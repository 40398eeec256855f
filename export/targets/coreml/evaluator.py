"""An evaluator of MIL programs, for machines without Core ML.

It is not Core ML. It computes what the program says, in torch, image by image:
- a tensor that the program calls float16 is rounded to float16 after every op;
- inside an op, arithmetic is float32 on those rounded values (convolution and matmul sums,
  means, variances, softmax). Core ML's kernels sum in at least float16, which one depends on the
  processor, so a device may differ from this by float16 rounding inside an op;
- `quantize` divides by the file's float16 scale, rounds half to even, adds the zero point, clamps;
- int8 weights are expanded to float16 as `constexpr_affine_dequantize` says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from export.targets.coreml.kernels import KERNELS, MOVES
from export.targets.coreml.kernels.given import Given, Kernel, constants_of
from export.targets.coreml.reader import Package, constant
from mobilemod.errors import UserError
from mobilemod.evaluation.runs import CLASSES

LOGITS = "logits"
# A value's step and name, the step's inputs, the value: what takes its place.
Visitor = Callable[["Step", str, list[Tensor], Tensor], Tensor]
Place = str | list[str | Tensor]


@dataclass(frozen=True)
class Step:
    """One op, compiled. inputs: names of the variables that it reads; places: input -> the name
    of its variable, of several also tensors that the file holds. outputs: name -> whether it is
    rounded to float16. release: values that no later step needs. op: the MIL op.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: dict[str, bool]
    kernel: Kernel
    constants: dict[str, Any]
    places: dict[str, Place]
    release: tuple[str, ...]
    op: Any

    def run(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the op makes of the values of its inputs, by name."""
        given: dict[str, Any] = {}
        for name, place in self.places.items():
            several = isinstance(place, list)
            given[name] = (
                [values[p] if isinstance(p, str) else p for p in place]
                if several
                else values[place]
            )
        made = self.kernel(Given(self.constants, given))
        parts = made if isinstance(made, tuple) else (made,)
        named = zip(self.outputs.items(), parts, strict=True)
        return {name: half(part) if rounds else part for (name, rounds), part in named}


@dataclass(frozen=True)
class MilProgram:
    """A compiled program of one image; sides: height and width, 0 where the file takes no image."""

    package: Package
    input: str
    output: str
    sides: tuple[int, int]
    steps: tuple[Step, ...]

    @torch.inference_mode()
    def run(self, pixels: Tensor, visit: Visitor | None = None) -> Tensor:
        """Logits float32 (N, K), or maps of classes int32 (N, h, w), of RGB pixels, float32 (N, 3,
        H, W) in 0..255.

        visit: called with each value of each image as soon as it is there; what it returns takes
            the value's place.
        """
        if any(self.sides) and tuple(pixels.shape[1:]) != (3, *self.sides):
            taken = " x ".join(map(str, self.sides))
            raise UserError(
                f"{self.package.path}: takes images of {taken} pixels, not {pixels.shape}"
            )
        return torch.cat([self._one(x[None], visit) for x in pixels])

    def _one(self, x: Tensor, visit: Visitor | None) -> Tensor:
        values: dict[str, Tensor] = {self.input: x}
        for step in self.steps:
            inputs = [values[name] for name in step.inputs] if visit else []
            for name, y in step.run(values).items():
                values[name] = y if visit is None else visit(step, name, inputs, y)
            for name in step.release:
                values.pop(name, None)
        return values[self.output]


def half(x: Tensor) -> Tensor:
    """`x` rounded to float16, held in float32."""
    return x.half().float()


def compile_program(package: Package, output: str | None = None) -> MilProgram:
    """Compile an opened package up to `output`: constants become tensors once, ops kernels.

    output: None is the map of classes where the package gives one, else the logits. `UserError` for
    an op or an output that isn't known.
    """
    if output is None:
        output = CLASSES if CLASSES in package.output_names else LOGITS
    if output not in package.output_names:
        raise UserError(f"{package.path}: has no output {output!r}; not written by this project")
    ops = _needed([o for o in package.operations if constant(o.outputs[0]) is None], output)
    last = {v.name: i for i, op in enumerate(ops) for v in _variables(op)}
    last[output] = len(ops)
    steps = []
    for i, op in enumerate(ops):
        if op.op_type not in KERNELS:
            raise UserError(
                f"{package.path}: the evaluator doesn't know the op {op.op_type!r} ({op.name})"
            )
        inputs = tuple(v.name for v in _variables(op))
        rounds = op.op_type not in MOVES
        steps.append(
            Step(
                op.op_type,
                op.name,
                inputs,
                {v.name: rounds and _is_half(v) for v in op.outputs},
                KERNELS[op.op_type],
                constants_of(op),
                _places(op),
                tuple(dict.fromkeys(n for n in inputs if last[n] == i)),
                op,
            )
        )
    image = package.spec.description.input[0].type.imageType
    sides = int(image.height), int(image.width)
    return MilProgram(package, package.input_name, output, sides, tuple(steps))


def _needed(ops: list[Any], output: str) -> list[Any]:
    """The ops that the output depends on; the softmax and `classify` behind it are left out."""
    wanted, kept = {output}, []
    for op in reversed(ops):
        if any(v.name in wanted for v in op.outputs):
            kept.append(op)
            wanted.update(v.name for v in _variables(op))
    return kept[::-1]


def _variables(op: Any) -> list[Any]:
    """The inputs of an op that are not constants, data first (x, then y, then others)."""
    found = []
    for name in sorted(op.inputs, key=lambda n: (n not in ("x", "input"), n != "y", n)):
        value = op.inputs[name]
        if value is not None:
            found += list(value) if isinstance(value, list | tuple) else [value]
    return [v for v in found if constant(v) is None]


def _places(op: Any) -> dict[str, Place]:
    places: dict[str, Place] = {}
    for name, var in op.inputs.items():
        if isinstance(var, list | tuple):
            values = [constant(v) for v in var]
            places[name] = [
                v.name if value is None else torch.from_numpy(value.astype("float32"))
                for v, value in zip(var, values, strict=True)
            ]
        elif var is not None and constant(var) is None:
            places[name] = var.name
    return places


def _is_half(var: Any) -> bool:
    from coremltools.converters.mil.mil import types

    return var.dtype == types.fp16
