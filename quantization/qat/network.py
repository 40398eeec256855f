"""The quantized program as it is trained: rounding with a straight-through gradient.

Forward it computes what `quantization.program` computes, bit for bit; backward, rounding counts
as the identity. Weights keep the scale that follows
from their largest value; the ends of every activation's range are learned.

Sources: the straight-through estimator, Bengio et al., 2013, arXiv 1308.3432; learned step sizes,
Esser et al., ICLR 2020 (LSQ), and with an offset Bhalgat et al., CVPR workshops 2020 (LSQ+),
here in terms of a range's two ends instead of step and offset.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.errors import UserError
from mobilemod.forms.form import CANONICAL_WEIGHTS, Form
from mobilemod.forms.mobile_ops import Constant, MergedColumns, MobileDepthwise, NamedConv2d, Tap
from quantization.params import (
    ACTIVATION_MAX,
    ACTIVATION_MIN,
    MIN_SCALE,
    ParameterTable,
    TensorParams,
    activation_params,
    constant_params,
    weight_params,
)
from quantization.program import UNIT, fit_summands, limits, on_grid, rounded_bias

LEVELS = ACTIVATION_MAX - ACTIVATION_MIN
# The gradient of a range is a sum over its tensor's values; so many of them estimate it.
GRADIENT_SAMPLES = 1 << 16


class _Quantize(torch.autograd.Function):
    """Per-tensor int8 quantize and dequantize of `x`, differentiable in the range's ends too.

    ends: (2,), in units of `width`.
    """

    @staticmethod
    def forward(ctx, x: Tensor, ends: Tensor | None, params: TensorParams, width: float) -> Tensor:
        scale, (low, high) = params.scale[0], limits(params)
        ctx.save_for_backward(x)
        ctx.grid, ctx.width = (scale, low, high), width
        return on_grid(x, scale, low, high)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (x,) = ctx.saved_tensors
        scale, low, high = ctx.grid
        edges = (low - 0.5) * scale, (high + 0.5) * scale
        inside = torch.ops.aten.hardtanh_backward(grad, x, *edges)
        ends = None
        if ctx.needs_input_grad[1]:
            ends = _range_gradient(grad, x, *ctx.grid).mul_(ctx.width)
        return inside, ends, None, None


def _range_gradient(grad: Tensor, x: Tensor, scale: float, low: int, high: int) -> Tensor:
    """(2,): the loss by the low and the high end, estimated from `GRADIENT_SAMPLES` values.

    Beyond an end the result is the end. Between them it is `x` and a rounding error, which grows
    in proportion to the step.
    """
    g, v = _values(grad), _values(x)
    # Neither even nor a multiple of 3, as numbers of channels are: none is passed over.
    stride = len(v) // GRADIENT_SAMPLES // 6 * 6 + 1
    g, steps = g[::stride], v[::stride] / scale
    below, above = steps < low - 0.5, steps > high + 0.5
    error = (steps.round() - steps).masked_fill_(below | above, 0.0)
    wider = torch.dot(g, error) / LEVELS
    return torch.stack([g[below].sum() - wider, g[above].sum() + wider]).mul_(stride)


def _values(x: Tensor) -> Tensor:
    """All values, flat, in the order of channels-last memory, in which images mostly lie."""
    return (x.movedim(1, -1) if x.ndim == 4 else x).reshape(-1)


class _Replace(torch.autograd.Function):
    """`rounded` in place of `value`, which gets its gradient."""

    @staticmethod
    def forward(ctx, value: Tensor, rounded: Tensor) -> Tensor:
        return rounded

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad, None


class LearnedRange(nn.Module):
    """The range of one activation: where it started, and how far its ends have moved since.

    ends: (2,), in units of the width at the start, so that one learning rate serves all. An end
    that started at zero stays there, because no value passes it.
    """

    def __init__(self, tensor: str, low: float, high: float):
        super().__init__()
        self.tensor = tensor
        self.start = min(low, 0.0), max(high, 0.0)
        self.width = max(self.start[1] - self.start[0], MIN_SCALE * LEVELS)
        self.ends = nn.Parameter(torch.zeros(2))
        free = torch.tensor([float(low < 0), float(high > 0)])
        self.ends.register_hook(lambda grad: grad * free.to(grad.device))

    def at(self, ends: list[float]) -> tuple[float, float]:
        """(low, high) where the parameter is `ends`."""
        low, high = (s + e * self.width for s, e in zip(self.start, ends, strict=True))
        return min(low, 0.0), max(high, 0.0)


class FakeQuantTap(nn.Module):
    """A tap on its int8 grid. The result carries its scale, for the convolution that reads it.

    learned: its range, None where a runtime fixes the parameters. copied: the values are those of
    another tap, so that they are on the grid already.
    """

    def __init__(self, tap: Tap, params: TensorParams, learned: LearnedRange | None, copied: bool):
        super().__init__()
        self.tensor, self.source, self.role = tap.tensor, tap.source, tap.role
        self.params, self.learned, self.copied = params, learned, copied

    def forward(self, x: Tensor) -> Tensor:
        out = x if self.copied else self._quantize(x)
        out.int8_scale = self.params.scale[0]
        return out

    def _quantize(self, x: Tensor) -> Tensor:
        ends, width = None, 0.0
        if self.learned is not None:
            ends, width = self.learned.ends, self.learned.width
        out = _Quantize.apply(x, ends, self.params, width)
        if self.role == "norm.variance" and out.requires_grad:
            # A variance of code 0 has rsqrt inf, which is clipped; its gradient is then 0 * inf.
            out.register_hook(lambda grad: torch.nan_to_num(grad, 0.0, 0.0, 0.0))
        return out


class FakeQuantConstant(nn.Module):
    """A constant operand on the int8 grid of its extremes."""

    def __init__(self, constant: Constant):
        super().__init__()
        self.constant = constant

    def params(self) -> TensorParams:
        """The int8 parameters of the present values."""
        value = self.constant.value.detach().cpu().numpy()
        return constant_params(self.constant.tensor, value)

    def forward(self) -> Tensor:
        params, value = self.params(), self.constant.value
        return _Replace.apply(value, on_grid(value.detach(), params.scale[0], *limits(params)))


class FakeQuantConv2d(nn.Module):
    """A convolution whose weight is on the int8 grid of its largest values, per output channel."""

    def __init__(self, conv: NamedConv2d):
        super().__init__()
        self.conv = conv

    def params(self) -> TensorParams:
        """The int8 parameters of the present weight."""
        return weight_params(self.conv.tensor, self.conv.weight.detach().cpu().numpy())

    def forward(self, x: Tensor) -> Tensor:
        conv, params = self.conv, self.params()
        weight, bias = conv.weight.detach(), conv.bias
        scales = torch.tensor(params.scale, device=weight.device)
        rounded = on_grid(weight, scales[:, None, None, None], params.quant_min, params.quant_max)
        input_scale = getattr(x, "int8_scale", None)
        if bias is not None and input_scale is not None:
            bias = _Replace.apply(bias, rounded_bias(bias.detach(), scales, input_scale))
        weight = _Replace.apply(conv.weight, rounded)
        return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


class QatProgram(nn.Module):
    """`form` with every tensor of `table` on its int8 grid, trainable in `form`'s own parameters.

    table: what is int8, and where the ranges start. Taps of one source share its range.
    Input and output as `form`'s.
    """

    def __init__(self, form: Form, table: ParameterTable):
        super().__init__()
        self.form, self.table = form, table
        self._ranges: dict[str, LearnedRange] = {}
        program = copy.deepcopy(form)
        for path, module in form.named_modules():
            if isinstance(module, Tap | Constant | NamedConv2d):
                program.set_submodule(path, self._replacement(module))
        self.program = program
        self.ranges = nn.ModuleList(self._ranges.values())
        self._taps = [m for m in program.modules() if isinstance(m, FakeQuantTap) and m.learned]
        self._sums = [m for m in form.modules() if isinstance(m, MobileDepthwise)]
        _freeze_structure(form)

    def _replacement(self, module: Tap | Constant | NamedConv2d) -> nn.Module:
        """The module of `form` itself where it stays float, so that parameters are shared."""
        params = self.table.entries.get(module.tensor)
        if params is None:
            return module
        if isinstance(module, Constant):
            return FakeQuantConstant(module)
        if isinstance(module, NamedConv2d):
            return FakeQuantConv2d(module)
        if module.role in UNIT:
            return FakeQuantTap(module, params, None, False)
        key = module.source or module.tensor
        if key not in self._ranges:
            self._ranges[key] = LearnedRange(key, params.low, params.high)
        copied = module.source in self.table.entries
        return FakeQuantTap(module, params, self._ranges[key], copied)

    def forward(self, x: Tensor) -> Tensor:
        self.refresh()
        return self.program(x)

    @torch.no_grad()
    def learned(self) -> dict[str, tuple[float, float]]:
        """The present range, (low, high), by tensor name."""
        if not len(self.ranges):
            return {}
        ends = torch.stack([r.ends for r in self.ranges]).tolist()
        return {r.tensor: r.at(e) for r, e in zip(self.ranges, ends, strict=True)}

    def refresh(self) -> None:
        """Give every tap the parameters of its present range, as `make_table` would."""
        ranges = self.learned()
        for tensor, ends in ranges.items():
            if not all(map(math.isfinite, ends)):
                raise UserError(f"the range of {tensor} is not finite any more; lower --lr")
        entries = {
            t.tensor: activation_params(t.tensor, *ranges[t.learned.tensor], t.source)
            for t in self._taps
        }
        for depthwise in self._sums:
            fit_summands(depthwise, entries)
        for tap in self._taps:
            tap.params = entries[tap.tensor]

    def parameters_now(self) -> dict[str, TensorParams]:
        """The int8 parameters that `forward` uses at present, by tensor name."""
        self.refresh()
        found = {}
        for module in self.program.modules():
            if isinstance(module, FakeQuantTap):
                found[module.tensor] = module.params
            elif isinstance(module, FakeQuantConstant | FakeQuantConv2d):
                params = module.params()
                found[params.tensor] = params
        return found


@torch.enable_grad()
def _freeze_structure(form: Form) -> None:
    """Keep what isn't a weight of the network: norms' averages, and the merged stem's zeros."""
    for module in form.modules():
        if isinstance(module, NamedConv2d) and module.role not in CANONICAL_WEIGHTS:
            module.requires_grad_(False)
        elif isinstance(module, MergedColumns):
            weight = module.conv.weight
            (used,) = torch.autograd.grad(module.kernel().sum(), weight)
            weight.register_hook(lambda grad, used=used: grad * used.to(grad.device))
