"""The quantized program: a mobile form with every int8 tensor's quantize and dequantize in place.

The program is an ordinary module that `torch.export` turns into the q/dq graph that all three
lowerings take. It runs in torch as well: int8 values held in float, as the runtimes compute them
but for the rounding inside a kernel.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed  # noqa: F401  (registers quantized_decomposed)
import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.errors import UserError
from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import Constant, MobileDepthwise, NamedConv2d, Tap
from mobilemod.forms.ops import Call, Fixed
from mobilemod.targets import TARGETS
from quantization.calibration import Calibration
from quantization.hooks import forward_hooks
from quantization.params import (
    MIN_SCALE,
    ParameterTable,
    TensorParams,
    activation_params,
    constant_params,
    summand_params,
    unit_params,
    weight_params,
    weight_scales,
    widened_params,
)
from quantization.placement import FOLLOWS, coded_modules
from quantization.recipe import Recipe

Q = torch.ops.quantized_decomposed
# A bit of int32 is left for the products that are summed upon the bias.
BIAS_MAX = 2**30
BIAS_NOTE = "scale raised where the bias wouldn't fit int32"
FLOAT16_MAX = 65504.0
# Roles of tensors from 0 to 1, whose parameters TFLite fixes.
UNIT = ("softmax", "gate")
FLOAT16_NOTE = "Core ML stores the scale rounded to float16"


def on_grid(x: Tensor, scale: float | Tensor, low: int, high: int) -> Tensor:
    """The nearest whole number of `scale` steps, from `low` to `high` of them.

    Equal in every bit to the operators of `quantized_decomposed`; `low` and `high` are the codes'
    limits less the zero point.
    """
    return x.mul(1.0 / scale).round_().clamp_(low, high).mul_(scale)


def limits(params: TensorParams) -> tuple[int, int]:
    """The codes' limits, counted from a per-tensor zero point."""
    zero_point = params.zero_point[0]
    return params.quant_min - zero_point, params.quant_max - zero_point


def code_args(params: TensorParams) -> tuple[float, int, int, int, torch.dtype]:
    """Per-tensor parameters as the operators of `quantized_decomposed` take them."""
    dtype = getattr(torch, params.dtype)
    return params.scale[0], params.zero_point[0], params.quant_min, params.quant_max, dtype


class QuantizeDequantize(nn.Module):
    """Per-tensor quantize to int8 or int16, then dequantize."""

    def __init__(self, params: TensorParams):
        super().__init__()
        self.tensor = params.tensor
        self.params = params
        self.args = code_args(params)

    def forward(self, x: Tensor) -> Tensor:
        q = Q.quantize_per_tensor.default(x, *self.args)
        return Q.dequantize_per_tensor.default(q, *self.args)


class QuantizedConstant(nn.Module):
    """A constant operand held as codes."""

    def __init__(self, value: Tensor, params: TensorParams, fold: bool):
        super().__init__()
        self.tensor = params.tensor
        self.args = code_args(params)
        self.fold = fold
        codes = Q.quantize_per_tensor.default(value, *self.args)
        real = Q.dequantize_per_tensor.default(codes, *self.args)
        self.register_buffer("value", codes if fold else real)

    def forward(self) -> Tensor:
        x = self.value
        if not self.fold:
            x = Q.quantize_per_tensor.default(x, *self.args)
        return Q.dequantize_per_tensor.default(x, *self.args)


class QuantizedConv2d(nn.Module):
    """A convolution whose weight is int8 per output channel; the bias stays float32.

    fold: hold int8 codes and dequantize them (ExecuTorch, Core ML), or hold the dequantized
    weight and quantize it in the graph (litert-torch takes only this).
    """

    def __init__(self, conv: NamedConv2d, params: TensorParams, fold: bool):
        super().__init__()
        self.tensor = params.tensor
        self.module = conv.module
        self.fold = fold
        self.geometry = (conv.stride, conv.padding, conv.dilation, conv.groups)
        self.range = (params.quant_min, params.quant_max)
        self.register_buffer("scales", torch.tensor(params.scale, dtype=torch.float32))
        self.register_buffer("zero_points", torch.tensor(params.zero_point, dtype=torch.int64))
        codes = self._quantize(conv.weight.detach())
        self.register_buffer("weight", codes if fold else self.dequantized(codes))
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().clone())

    def _quantize(self, weight: Tensor) -> Tensor:
        return Q.quantize_per_channel.default(
            weight, self.scales, self.zero_points, 0, *self.range, torch.int8
        )

    def dequantized(self, codes: Tensor) -> Tensor:
        """The real weight of int8 `codes`."""
        return Q.dequantize_per_channel.default(
            codes, self.scales, self.zero_points, 0, *self.range, torch.int8
        )

    def round_bias(self, input_scale: float) -> None:
        """Round the bias to multiples of input scale x weight scale: the int32 that files hold."""
        if self.bias is not None:
            self.bias = nn.Parameter(rounded_bias(self.bias.detach(), self.scales, input_scale))

    def forward(self, x: Tensor) -> Tensor:
        codes = self.weight if self.fold else self._quantize(self.weight)
        return F.conv2d(x, self.dequantized(codes), self.bias, *self.geometry)


def rounded_bias(bias: Tensor, weight_scales: Tensor, input_scale: float) -> Tensor:
    """`bias` (C,) in whole steps of input scale times weight scale (C,)."""
    step = weight_scales.double() * input_scale
    return (torch.round(bias.double() / step) * step).float()


def make_table(
    form: Form, form_name: str, recipe: Recipe, calibration: Calibration
) -> ParameterTable:
    """Parameters of every tensor of `form` that `recipe` makes codes."""
    entries: dict[str, TensorParams] = {}
    roles = {m.tensor: m.role for m in form.modules() if isinstance(m, Tap)}
    unit = {tensor for tensor, role in roles.items() if role in UNIT}
    for module, dtype in coded_modules(form, form_name, recipe):
        name, role = module.tensor, module.role
        if isinstance(module, NamedConv2d):
            entries[name] = weight_params(name, module.weight.detach().numpy())
        elif isinstance(module, Constant):
            entries[name] = constant_params(name, module.value.detach().numpy(), dtype)
        elif name in unit or module.source in unit:
            entries[name] = unit_params(name, module.source, dtype)
        elif module.source in entries and entries[module.source].kind == "constant":
            entries[name] = dataclasses.replace(
                entries[module.source], tensor=name, kind="activation", source=module.source
            )
        elif dtype == "int16" and getattr(entries.get(module.source), "dtype", "") == "int8":
            entries[name] = widened_params(name, entries[module.source])
        else:
            key = module.source or name
            if key not in calibration.observed:
                raise UserError(
                    f"the calibration table lacks the tensor {key}; calibrate again with images"
                )
            same = getattr(entries.get(module.source), "dtype", "") == dtype
            if role in FOLLOWS or same:
                role = roles.get(key, role)  # else the copy would have another range
            low, high = calibration.observed[key].range(recipe.observer_of(key, form_name, role))
            entries[name] = activation_params(name, low, high, module.source, dtype)
    share_joined(form, entries)
    for module in form.modules():
        if isinstance(module, MobileDepthwise):
            fit_summands(module, entries)
    fit_biases(form, entries)
    if any(t.form == form_name and t.float16_scales for t in TARGETS.values()):
        for name, entry in entries.items():
            _require_float16(entry)
            note = "; ".join(filter(None, (entry.note, FLOAT16_NOTE)))
            entries[name] = dataclasses.replace(entry, note=note)
    return ParameterTable(form_name, recipe.name, entries)


def share_joined(form: Form, entries: dict[str, TensorParams]) -> None:
    """One range for codes of a width that are joined, and for what they make: runtimes put codes
    side by side as they are, and constants by the result's range. Where one's parameters are fixed,
    nothing is changed."""
    fixed = {m.makes for m in form.modules() if isinstance(m, Fixed)}
    fixed |= {m.tensor for m in form.modules() if isinstance(m, Constant)}
    groups: list[set[str]] = []
    for cat in (m for m in form.modules() if isinstance(m, Call) and m.joins):
        names = {cat.makes, *cat.joins} & entries.keys()
        if cat.makes in names:
            dtype = entries[cat.makes].dtype
            names = {name for name in names if entries[name].dtype == dtype}
            touched = [g for g in groups if g & names]
            groups = [g for g in groups if not g & names] + [names.union(*touched)]
    for group in groups:
        joined = [entries[name] for name in group]
        if any(e.kind != "activation" or e.note for e in joined):
            continue
        low, high = min(e.low for e in joined), max(e.high for e in joined)
        for name, entry in entries.items():
            if name in group or entry.source in group:
                entries[name] = activation_params(name, low, high, entry.source, entry.dtype)


def fit_summands(depthwise: MobileDepthwise, entries: dict[str, TensorParams]) -> None:
    """Scales that the int8 sums of a split kernel's pieces can take, from the last sum back."""
    for i in reversed(range(len(depthwise.sums))):
        result = entries.get(depthwise.sums[i].tensor)
        first = depthwise.sums[i - 1] if i else depthwise.taps[0]
        for tap in (first, depthwise.taps[i + 1]):
            if result is not None and tap.tensor in entries:
                entries[tap.tensor] = summand_params(entries[tap.tensor], result)


def fit_biases(form: Form, entries: dict[str, TensorParams]) -> None:
    """Weight scales in whose steps int8 convolutions' biases fit int32.

    Only channels change whose weights are next to nothing beside their bias, dead ones most of all.
    """
    convs = [m for m in form.modules() if isinstance(m, NamedConv2d) and m.bias is not None]
    if not any(m.tensor in entries and _least_scales(m, MIN_SCALE, entries) for m in convs):
        return
    for conv, tap in _read(form, NamedConv2d, Tap, entries):
        narrow = entries[tap.tensor].dtype == "int8"  # else the bias has 64 bits
        if conv.bias is not None and conv.tensor in entries and narrow:
            scales = _least_scales(conv, entries[tap.tensor].scale[0], entries)
            if scales:
                entries[conv.tensor] = dataclasses.replace(
                    entries[conv.tensor], scale=scales, note=BIAS_NOTE
                )


def _least_scales(
    conv: NamedConv2d, input_scale: float, entries: dict[str, TensorParams]
) -> tuple[float, ...]:
    """The weight's scales, raised as the bias needs them; () where nothing is to raise."""
    scales = np.asarray(entries[conv.tensor].scale)
    least = conv.bias.detach().double().abs().numpy() / (BIAS_MAX * input_scale)
    raised = np.where(least.astype(np.float32) > scales, weight_scales(least), scales)
    return tuple(map(float, raised)) if (raised > scales).any() else ()


def _require_float16(entry: TensorParams) -> None:
    """`UserError` for a scale that becomes infinite where Core ML stores it."""
    if max(entry.scale) > FLOAT16_MAX:
        raise UserError(
            f"Core ML: the scale of {entry.tensor} ({max(entry.scale):.3g}, of values from "
            f"{entry.low:.3g} to {entry.high:.3g}) is beyond float16; leave that tensor float in "
            "the recipe, or give another checkpoint"
        )


def quantize(form: Form, table: ParameterTable, fold: bool) -> nn.Module:
    """The quantized program of `form`, as a copy: table entries int8, the rest float."""
    program = copy.deepcopy(form)
    for name, module in list(program.named_modules()):
        if not isinstance(module, Tap | Constant | NamedConv2d):
            continue
        params = table.entries.get(module.tensor)
        new: nn.Module
        if params is None:
            new = nn.Identity() if isinstance(module, Tap) else module
        elif isinstance(module, Tap):
            new = QuantizeDequantize(params)
        elif isinstance(module, Constant):
            new = QuantizedConstant(module.value.detach(), params, fold)
        else:
            new = QuantizedConv2d(module, params, fold)
        program.set_submodule(name, new)
    # XNNPACK and TFLite hold biases as int32 in steps of input scale times weight scale; Core ML,
    # which would keep float, gets the same values.
    for conv, tap in _read(program.eval(), QuantizedConv2d, QuantizeDequantize):
        conv.round_bias(tap.args[0])
    return program


@torch.no_grad()
def _read(
    program: nn.Module, conv_kind: type, tap_kind: type, tensors: Collection[str] | None = None
) -> list[tuple[Any, Any]]:
    """(convolution, the tap whose tensor it reads), found by running once.

    tensors: the taps that count, None for all; the others hold what came before them.
    """
    owners: dict[int, nn.Module] = {}
    alive: list[Tensor] = []  # an id is only good while its tensor lives
    found: list[tuple[Any, Any]] = []

    def made(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        owners[id(out)] = module
        alive.append(out)

    def used(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        if id(args[0]) in owners:
            found.append((module, owners[id(args[0])]))

    modules = list(program.modules())
    taps = [
        m for m in modules
        if isinstance(m, tap_kind) and (tensors is None or m.tensor in tensors)
    ]  # fmt: skip
    convs = [m for m in modules if isinstance(m, conv_kind)]
    with forward_hooks(taps, made), forward_hooks(convs, used):
        program(torch.zeros(1, *program.image_shape))
    return found
