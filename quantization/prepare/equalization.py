"""Equalization: channels of one tensor brought to like ranges by exact rewrites of the weights.

A per-tensor scale follows the widest channel. Where two layers are linear in a channel of the
tensor between them, the channel can be divided by a factor in the first and multiplied by it in
the second (Nagel et al., "Data-free quantization through weight equalization and bias
correction", ICCV 2019). Factors are powers of two, so that the float network stays the same to
the last bit. EfficientMod's pairs, all found by the published names:

f -> depthwise          free: both hold one weight scale per channel, so every channel is filled
g -> product -> fc2     g's channel is repeated over the product; only outliers are brought down,
                        because what the tensor wins in steps fc2's weights lose
fc1 -> product -> fc2   as g, in blocks without GELU between (ratio 1)
v -> proj               outliers only, as above; attention is linear in v's channels
q <-> k                 outliers only; the score is their product
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mobilemod.forms.mobile import MobileForm
from mobilemod.forms.mobile_ops import Tap
from mobilemod.networks.efficientmod import Attention, EfficientMod, ModulationMlp
from mobilemod.progress import progress
from quantization.hooks import forward_hooks, require_finite
from quantization.params import ACTIVATION_MAX, ACTIVATION_MIN, MIN_SCALE

# An outlier's range is over 2 sqrt(2) times the median of its tensor's channels.
OUTLIER = 2.0
MAX_EXPONENT = 10
# A channel below this part of its tensor's largest holds rounding errors, if anything.
DEAD = 2.0**-20
MIN_RANGE = MIN_SCALE * (ACTIVATION_MAX - ACTIVATION_MIN)

Exponents = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Pair:
    """Rows of `first` and columns of `second` that hold one channel each, and what lies between.

    tensor: the tap whose channels are brought to like ranges; its (C,) ranges decide.
    rows: index into `first`'s outputs, None for all. repeat: how often `second` holds a channel.
    second_rows: where `second` holds channels in rows, not columns (the depthwise kernel, k for q).
    full: fill every channel, not only bring outliers down.
    """

    tensor: str
    first: nn.Module
    second: nn.Module
    rows: slice | None = None
    second_rows: slice | None = None
    repeat: int = 1
    full: bool = False


def pairs(model: EfficientMod) -> Iterator[Pair]:
    """The exact linear pairs of the network, in its order."""
    for name, module in model.named_modules():
        if isinstance(module, ModulationMlp):
            context, path = module.context_layer, f"{name}.context_layer"
            yield Pair(f"{path}.f:out", context.f, context.context_list[0],
                       second_rows=slice(None), full=True)  # fmt: skip
            yield Pair(f"{path}.g:out", context.g, module.fc2, repeat=module.ratio)
            if module.ratio == 1:
                yield Pair(f"{name}.fc1:out", module.fc1, module.fc2)
        elif isinstance(module, Attention):
            width = module.qkv.out_features // 3
            q, k, v = (slice(i * width, (i + 1) * width) for i in range(3))
            yield Pair(f"{name}.qkv.v:out", module.qkv, module.proj, rows=v)
            yield Pair(f"{name}.qkv.q:out", module.qkv, module.qkv, rows=q, second_rows=k)
            yield Pair(f"{name}.qkv.k:out", module.qkv, module.qkv, rows=k, second_rows=q)


@torch.no_grad()
def channel_ranges(
    form: MobileForm, tensors: Iterable[str], batches: Iterable[Tensor], count: int
) -> dict[str, Tensor]:
    """Largest magnitude of each channel, float32 (C,), of taps of `form` over (B, 3, H, W).

    Raises `UserError` for a tensor that isn't finite.
    """
    wanted, found = set(tensors), {}

    def hook(module: Tap, args: tuple[Tensor, ...], x: Tensor) -> None:
        most = x.abs().amax((0, 2, 3))
        require_finite(module.tensor, most)
        old = found.get(module.tensor)
        found[module.tensor] = most if old is None else torch.maximum(old, most)

    taps = [m for m in form.modules() if isinstance(m, Tap) and m.tensor in wanted]
    with forward_hooks(taps, hook):
        for x in progress(batches, "channel ranges", count, "batch"):
            form(x)
    return found


def choose(model: EfficientMod, ranges: Mapping[str, Tensor]) -> Exponents:
    """By which power of two each channel is divided, for the pairs where one is."""
    chosen = {}
    for pair in pairs(model):
        r = ranges[pair.tensor].double().clamp(min=1e-12)
        if pair.full:
            factor = r / r.max()
        else:
            # Dead channels say nothing about the others, and the finest scale has an end.
            median = r[r > DEAD * r.max()].median()
            factor = (r / (OUTLIER * median).clamp(min=MIN_RANGE)).clamp(min=1.0)
        exponents = factor.log2().round().clamp(-MAX_EXPONENT, MAX_EXPONENT).int()
        if bool(exponents.any()):
            chosen[pair.tensor] = tuple(exponents.tolist())
    return chosen


@torch.no_grad()
def equalize(model: EfficientMod, exponents: Exponents) -> None:
    """Divide each pair's channels by 2^exponent, in place; the network's function stays the same.

    Raises ValueError where `exponents` name a tensor or a channel count that the network lacks.
    """
    known = {pair.tensor: pair for pair in pairs(model)}
    for tensor, values in exponents.items():
        if tensor not in known:
            raise ValueError(f"no pair of layers shares {tensor}")
        pair, factor = known[tensor], torch.tensor(values).exp2()
        rows = slice(None) if pair.rows is None else pair.rows
        if len(pair.first.weight[rows]) != len(factor):
            raise ValueError(f"{tensor} has {len(pair.first.weight[rows])} channels")
        _scale_rows(pair.first, rows, 1 / factor, bias=True)
        if pair.second_rows is None:
            pair.second.weight *= factor.repeat(pair.repeat)
        else:
            _scale_rows(pair.second, pair.second_rows, factor, bias=pair.first is pair.second)


def _scale_rows(module: nn.Module, rows: slice, factor: Tensor, bias: bool) -> None:
    weight = module.weight[rows]
    weight *= factor.reshape(-1, *[1] * (weight.ndim - 1))
    if bias and module.bias is not None:
        module.bias[rows] *= factor
