"""The quantized program with a switch at every tensor, which runs from any layer on.

With all switches on it is `quantize(form, table)`, with none the float form, and with some the
quantized program of that part of the table, bit for bit. Switching costs nothing, so that
thousands of parts of a table can be tried.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Collection

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import Constant, NamedConv2d, Tap
from quantization.hooks import forward_hooks, require_finite
from quantization.params import ACTIVATION_MAX, ACTIVATION_MIN, ParameterTable, TensorParams
from quantization.program import (
    QuantizedConstant,
    QuantizedConv2d,
    limits,
    on_grid,
    rounded_bias,
)

LEVELS = ACTIVATION_MAX - ACTIVATION_MIN + 1
FIRST_CODE = ACTIVATION_MIN - LEVELS  # a code histogram reaches one range beyond each end
CODE_BINS = 3 * LEVELS


class SwitchedTap(nn.Module):
    """Per-tensor int8 quantize and dequantize while `on`, else the identity.

    Equal in every bit to the operators of `quantized_decomposed`, in a seventh of the time. The
    result carries its scale: a convolution that reads it rounds its bias to that scale.
    """

    def __init__(self, params: TensorParams):
        super().__init__()
        self.tensor = params.tensor
        self.on = False
        self.scale, self.zero_point = params.scale[0], params.zero_point[0]
        self.low, self.high = limits(params)

    def forward(self, x: Tensor) -> Tensor:
        if not self.on:
            return x
        out = on_grid(x, self.scale, self.low, self.high)
        out.int8_scale = self.scale
        return out

    def codes(self, x: Tensor) -> Tensor:
        """float: `x` in whole steps from the zero point, without an end."""
        return x.mul(1.0 / self.scale).round_()


class SwitchedConstant(nn.Module):
    """A constant operand, on its int8 grid while `on`."""

    def __init__(self, value: Tensor, params: TensorParams):
        super().__init__()
        self.on = False
        self.tensor = params.tensor
        self.real = value
        self.rounded = QuantizedConstant(value, params, True)()

    def forward(self) -> Tensor:
        return self.rounded if self.on else self.real


class SwitchedConv2d(nn.Module):
    """A convolution whose weight is on its int8 grid while `on`, its bias then as in a file."""

    def __init__(self, conv: NamedConv2d, params: TensorParams):
        super().__init__()
        self.on = False
        self.tensor, self.role = params.tensor, conv.role
        self.module, self.part = conv.module, conv.part
        self.weight = conv.weight.detach()
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.geometry = (conv.stride, conv.padding, conv.dilation, conv.groups)
        quantized = QuantizedConv2d(conv, params, True)
        self.rounded, self.scales = quantized.dequantized(quantized.weight), quantized.scales
        self.biases: dict[float | None, Tensor | None] = {None: self.bias}

    def forward(self, x: Tensor) -> Tensor:
        if not self.on:
            return F.conv2d(x, self.weight, self.bias, *self.geometry)
        bias = self._bias(getattr(x, "int8_scale", None))
        return F.conv2d(x, self.rounded, bias, *self.geometry)

    def _bias(self, scale: float | None) -> Tensor | None:
        if self.bias is None:
            return None
        if scale not in self.biases:
            self.biases[scale] = rounded_bias(self.bias, self.scales, scale)
        return self.biases[scale]


Switched = SwitchedTap | SwitchedConstant | SwitchedConv2d


class SwitchedProgram:
    """A form with every tensor of a table switched, all off at first.

    Positions: 0 is the network's input, i that of layer i, `len(layers)` behind the last.
    """

    @torch.no_grad()
    def __init__(self, form: Form, table: ParameterTable):
        self.form = copy.deepcopy(form)
        self.switches: dict[str, list[Switched]] = defaultdict(list)
        for name, module in list(self.form.named_modules()):
            named = isinstance(module, Tap | Constant | NamedConv2d)
            if not named or module.tensor not in table.entries:
                continue
            params = table.entries[module.tensor]
            new: Switched
            if isinstance(module, Tap):
                new = SwitchedTap(params)
            elif isinstance(module, Constant):
                new = SwitchedConstant(module.value.detach(), params)
            else:
                new = SwitchedConv2d(module, params)
            self.form.set_submodule(name, new)
            self.switches[module.tensor].append(new)
        self.position = {name: len(self.form.layers) for name in self.switches}
        for i, layer in enumerate(self.form.layers):
            for module in layer.modules():
                if isinstance(module, Switched):
                    self.position[module.tensor] = i
        self._rests = [_rest(self.form, i) for i in range(len(self.form.layers) + 1)]

    @property
    def taps(self) -> list[SwitchedTap]:
        """The int8 activations, in the table's order."""
        return [m for ms in self.switches.values() for m in ms if isinstance(m, SwitchedTap)]

    @property
    def tail(self) -> Form:
        """What comes after the layers, as one layer."""
        return self._rests[-1]

    def select(self, tensors: Collection[str]) -> None:
        """Quantize exactly these tensors."""
        for name, modules in self.switches.items():
            for module in modules:
                module.on = name in tensors

    def run(self, position: int, x: Tensor) -> Tensor:
        """Logits (B, K) of the network from `position` on; `x` is what `inputs` gave there."""
        return self._rests[position](x)

    def inputs(self, x: Tensor) -> list[Tensor]:
        """What stands at every position for images (B, 3, H, W), under the present selection."""
        found = [x]
        for layer in self.form.layers:
            found.append(layer(found[-1]))
        return found


def _rest(form: Form, start: int) -> Form:
    """`form` without the layers before `start`; every module is shared."""
    rest = copy.copy(form)
    rest._modules = {**form._modules, "layers": nn.ModuleList(list(form.layers)[start:])}
    return rest


def code_counts(program: SwitchedProgram, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """How often the float network's values on `x` fall on each code, for `program.taps`.

    Returns int64 (T, CODE_BINS), bin 0 being code FIRST_CODE (and all below it, as the last bin
    holds all above), and float64 (T, 2): the sum of squares of the values and of their rounding.
    """
    counts: dict[str, np.ndarray] = {}
    power: dict[str, tuple[float, ...]] = {}

    def hook(tap: SwitchedTap, args: tuple[Tensor, ...], out: Tensor) -> None:
        require_finite(tap.tensor, out)
        steps = tap.codes(out)
        error = steps.clamp(tap.low, tap.high).mul_(tap.scale).sub_(out)
        codes = steps.add_(tap.zero_point - FIRST_CODE).clamp_(0, CODE_BINS - 1).flatten()
        counts[tap.tensor] = torch.bincount(codes.int(), minlength=CODE_BINS).numpy()
        squares = (v.square().sum(dtype=torch.float64) for v in (out, error))
        power[tap.tensor] = tuple(map(float, squares))

    program.select(())
    with forward_hooks(program.taps, hook):
        program.run(0, x)
    names = [tap.tensor for tap in program.taps]
    if not names:
        return np.zeros((0, CODE_BINS), np.int64), np.zeros((0, 2))
    return np.stack([counts[n] for n in names]), np.array([power[n] for n in names])
