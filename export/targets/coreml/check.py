"""The teacher-forced check: a saved Core ML package, op by op, against the program it came from.

Free-running int8 outputs differ by thousands of codes after one rounding flips, so they can't
tell a wrong scale from float16. Here the evaluator's result of every quantize and every
convolution is compared with the program's own, which then takes its place: what is left in each
comparison is the rounding of the few ops since the last one. Attributes that move the numbers by
less than that (GELU's mode, the norms' eps) are compared as such.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.targets.comparison import Parting, compare_outputs
from export.targets.coreml.evaluator import MilProgram, Step, compile_program
from export.targets.coreml.kernels.arithmetic import INT_RANGE
from export.targets.coreml.kernels.given import Given
from export.targets.coreml.reader import attribute, constant, open_package, scale_and_zero
from export.targets.coreml.running import load, pixels_of
from mobilemod.errors import UserError
from mobilemod.evaluation.runs import CLASSES
from mobilemod.forms.mobile_ops import MobileNorm, NamedConv2d
from mobilemod.forms.ops import Call
from quantization.hooks import forward_hooks
from quantization.program import QuantizedConv2d, QuantizeDequantize

# Limits of what float16 does to a right file. How far a value before rounding lies outside the
# program's code, in steps: the farthest and the mean. Seen on random and trained weights: 2.3
# behind attention in float16, 0.33 elsewhere; 0.0014 on average. Of
# convolutions: 57 dB, and 47 dB in one channel.
MAX_BEYOND = 4.0
MAX_MEAN_BEYOND = 0.03
MIN_SQNR_DB = 50.0
MIN_CHANNEL_SQNR_DB = 40.0
MIN_CHANNEL_VALUES = 16
# A channel whose terms cancel keeps their rounding: efficientmod_xs has 37.4 dB in one with 8 dB
# less power than its terms. It may count as so many times as powerful, and no scale that is 5 %
# off hides in it (26 dB).
MAX_CANCELLED = 10.0
# Below float16's normal numbers a step is as long as at their least: a layer whose scale is next
# to nothing (1e-4 at the start of a training) has its outputs there.
SILENT = 2.0**-14
# float16's smallest number: coremltools raises an eps below it to it.
LEAST_EPS = 2.0**-24
MODES = {"none": "EXACT", "tanh": "TANH_APPROXIMATION"}  # of GELU, torch's and MIL's
FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass
class CheckResult:
    """What the check found.

    failure: None, or one line that names the first op that parts. quantizes, convolutions: how
    many were compared, of all images. worst_step: the largest difference of a code.
    """

    failure: str | None = None
    quantizes: int = 0
    convolutions: int = 0
    worst_step: int = 0

    @property
    def passed(self) -> bool:
        """Whether every op agrees."""
        return self.failure is None


@dataclass(frozen=True)
class Record:
    """What the program computed at one module: `value` of (N, ...), real.

    scale, zero_point: of a quantize, else None. optional: a moved or repeated tensor, whose
    second quantize coremltools may drop.
    """

    tensor: str
    value: Tensor
    scale: float | None = None
    zero_point: int = 0
    optional: bool = False


class _Parting(Exception):
    pass


def check(path: Path, program: nn.Module, images: np.ndarray) -> CheckResult:
    """Compare the package with the program (quantized, or the float form) on `images`.

    images: normalized float32 (N, 3, H, W) made from 8-bit pixels; few suffice, all of the
    program's tensors are held. Raises `UserError` for a damaged package, and where the program's
    values are beyond float16, in which Core ML computes.
    """
    mil = compile_program(open_package(path))
    return check_program(mil, program, images, lambda x: pixels_of(x, mil.package.preprocess))


def check_program(
    mil: MilProgram,
    program: nn.Module,
    images: np.ndarray,
    given: Callable[[np.ndarray], np.ndarray],
) -> CheckResult:
    """As `check`, of an opened program; given: normalized images as it takes them."""
    x = torch.from_numpy(np.ascontiguousarray(images, np.float32))
    result = CheckResult(_static_difference(mil.steps, program))
    for one in x:
        if result.failure is not None:
            break
        comparison = _Comparison(_records(program, one[None]), result)
        try:
            taken = torch.from_numpy(given(one[None].numpy()))
            mil.run(taken, comparison.visit)
            comparison.finish()
        except _Parting as parting:
            result.failure = str(parting)
    return result


def check_file(path: Path, program: nn.Module, images: np.ndarray) -> None:
    """As `check`, on the first image alone for time's sake; `Parting` with the first op that
    parts. A map of classes is held to the program's, on all images."""
    if CLASSES in open_package(path).output_names:
        compare_outputs(path, program, images, load(path).run_many(images))
        return
    require_passed(path, check(path, program, images[:1]))


def require_passed(path: Path, result: CheckResult) -> None:
    """`Parting` where an op of the file at `path` doesn't agree."""
    if result.failure is not None:
        raise Parting(path, result.failure)


class _Comparison:
    def __init__(self, records: list[Record], result: CheckResult):
        self.records = records
        self.next = 0
        self.result = result

    def visit(self, step: Step, name: str, inputs: list[Tensor], y: Tensor) -> Tensor:
        """The program's value in place of `y`, after the comparison."""
        if step.kind == "quantize":
            return self._quantize(step, inputs[0], y)
        if step.kind == "conv":
            return self._conv(step, inputs, y)
        return y

    def finish(self) -> None:
        rest = [r.tensor for r in self.records[self.next :] if not r.optional]
        if rest:
            raise _Parting(f"the file has no op for {rest[0]}")

    def _take(self, step: Step, count: int, int8: bool) -> Record:
        """The record of `step`, in the program's order; optional ones that differ are passed."""
        while self.next < len(self.records):
            record = self.records[self.next]
            self.next += 1
            fits = (record.scale is not None) == int8 and record.value.numel() == count
            if fits and int8 and record.optional:
                fits = _same_parameters(step, record)
            if fits:
                return record
            if not record.optional:
                raise _Parting(f"{step.name} stands where the program has {record.tensor}")
        raise _Parting(f"{step.name} is not in the program")

    def _quantize(self, step: Step, x: Tensor, codes: Tensor) -> Tensor:
        record, (scale, zero) = self._take(step, codes.numel(), True), scale_and_zero(step.op)
        own = (record.value / record.scale).round_().add_(record.zero_point).reshape(codes.shape)
        if not _same_parameters(step, record):
            raise _Parting(
                f"{record.tensor} ({step.name}) has scale {scale:g}, zero point {zero:g} in the "
                f"file, {record.scale:g} and {record.zero_point} in the program"
            )
        difference = (codes - own).abs_()
        worst = int(difference.max())
        share = float((difference > 0).double().mean())
        before = (x / scale + zero).clamp_(*INT_RANGE["int8"])
        outside = ((before - own).abs_() - 0.5).clamp_(min=0)
        self.result.quantizes += 1
        self.result.worst_step = max(self.result.worst_step, worst)
        if not (float(outside.max()) <= MAX_BEYOND and float(outside.mean()) <= MAX_MEAN_BEYOND):
            raise _Parting(
                f"{record.tensor} ({step.name}): {share:.2%} of the codes differ, by up to {worst}"
            )
        return own

    def _conv(self, step: Step, inputs: list[Tensor], y: Tensor) -> Tensor:
        record = self._take(step, y.numel(), False)
        peak = float(record.value.abs().max())
        if not peak <= FLOAT16_MAX:
            raise UserError(
                f"Core ML: {record.tensor} makes values up to {peak:.3g}, beyond float16 "
                f"({FLOAT16_MAX:,.0f}), in which it computes; give weights that stay below, or "
                "leave coreml out of --targets (TARGETS=…)"
            )
        signal = record.value.double().square().mean((0, 2, 3))
        noise = (record.value - y).double().square().mean((0, 2, 3))
        total = _decibel(max(float(signal.mean()), SILENT**2), float(noise.mean()))
        # A channel that is nearly silent is measured against the tensor's mean power, and so is
        # one of a few values only (the head's), whose own power says little.
        few = record.value[:, 0].numel() < MIN_CHANNEL_VALUES
        floor = max(float(signal.mean()) * (1.0 if few else 1e-2), SILENT**2)
        channels = _by_channel(signal.clamp(min=floor), noise)
        if min(channels) < MIN_CHANNEL_SQNR_DB:
            terms = _terms(step, inputs).minimum(MAX_CANCELLED * signal)
            channels = _by_channel(signal.maximum(terms).clamp(min=floor), noise)
        worst = min(channels)
        self.result.convolutions += 1
        if not (total >= MIN_SQNR_DB and worst >= MIN_CHANNEL_SQNR_DB):
            raise _Parting(
                f"{record.tensor} ({step.name}): output SQNR {total:.1f} dB, "
                f"{worst:.1f} dB in channel {channels.index(worst)}"
            )
        return record.value


def _terms(step: Step, inputs: list[Tensor]) -> Tensor:
    """Mean power of the sum of a convolution's terms if none cancelled another, float64 (C,)."""
    values = dict(zip(step.inputs, inputs, strict=True))
    constants = {
        name: value.square() if name in ("weight", "bias") and isinstance(value, Tensor) else value
        for name, value in step.constants.items()
    }
    given = {name: values[str(place)].square() for name, place in step.places.items()}
    return step.kernel(Given(constants, given)).double().mean((0, 2, 3))


def _by_channel(signal: Tensor, noise: Tensor) -> list[float]:
    return [_decibel(s, n) for s, n in zip(signal.tolist(), noise.tolist(), strict=True)]


def _decibel(signal: float, noise: float) -> float:
    if noise == 0.0:
        return math.inf
    if not math.isfinite(noise):
        return -math.inf
    return 10 * math.log10(signal / noise)


def _same_parameters(step: Step, record: Record) -> bool:
    scale, zero = scale_and_zero(step.op)
    return scale == float(np.float16(record.scale)) and zero == record.zero_point


@torch.inference_mode()
def _records(program: nn.Module, x: Tensor) -> list[Record]:
    """One forward pass's quantized tensors and convolution outputs, in the order computed."""
    records: list[Record] = []

    def hook(module: nn.Module, args: Any, out: Tensor) -> None:
        if isinstance(module, QuantizeDequantize):
            scale, zero = module.params.scale[0], module.params.zero_point[0]
            optional = module.params.source is not None
            records.append(Record(module.tensor, out, scale, zero, optional))
        else:
            records.append(Record(module.tensor, out))

    kinds = QuantizeDequantize | QuantizedConv2d | NamedConv2d
    with forward_hooks([m for m in program.modules() if isinstance(m, kinds)], hook):
        program(x)
    return records


def _static_difference(steps: tuple[Step, ...], program: nn.Module) -> str | None:
    """What the numbers may hide: GELU's mode, each norm's eps."""
    gelus = (m for m in program.modules() if isinstance(m, Call) and m.kind == "gelu")
    modes = {MODES[m.options.get("approximate", "none")] for m in gelus}
    for step in steps:
        mode = str(attribute(step.op, "mode", "EXACT")) if step.kind == "gelu" else None
        if mode is not None and mode not in modes:
            has = " and ".join(sorted(modes)) or "none"
            return f"{step.name}: GELU in mode {mode}, the program has {has}"
    # Of several groups eps is a convolution's bias, which the numbers show.
    modules = program.named_modules()
    norms = [(name, m) for name, m in modules if isinstance(m, MobileNorm) and m.reduce]
    found = [(s, eps) for s in steps if (eps := _norm_eps(s)) is not None]
    for (step, eps), (name, norm) in zip(found, norms, strict=False):
        if eps != max(float(np.float16(norm.eps)), LEAST_EPS):
            return f"{name} ({step.name}): eps {eps:g} in the file, {norm.eps:g} in the program"
    if len(found) != len(norms):
        return f"the file has {len(found)} norms, the program {len(norms)}"
    return None


def _norm_eps(step: Step) -> float | None:
    """eps of a layer_norm, or the one number added to a variance where the norm isn't fused."""
    if step.kind == "layer_norm":
        return float(step.op.inputs["epsilon"].val)
    if step.kind == "add" and any(o.op_type == "rsqrt" for o in step.op.outputs[0].child_ops):
        for name in ("x", "y"):
            value = constant(step.op.inputs[name])
            if value is not None and value.size == 1:
                return float(value.reshape(-1)[0])
    return None
