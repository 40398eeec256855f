"""Equalization: channels of one tensor brought to like ranges by exact rewrites of the weights.

A per-tensor scale follows the widest channel. Where two layers are linear in a channel of the
tensor between them, the channel can be divided by a factor in the first and multiplied by it in
the second (Nagel et al., "Data-free quantization through weight equalization and bias
correction", ICCV 2019). Factors are powers of two, so that the float network stays the same to
the last bit. Which layers are such pairs is said by the network's family.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from mobilemod.forms.mobile import MobileForm
from mobilemod.forms.mobile_ops import Tap
from mobilemod.networks.family import Pair
from mobilemod.networks.registry import family_of
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


def pairs(model: nn.Module) -> Iterator[Pair]:
    """The exact linear pairs of the network, in its order."""
    return family_of(model).pairs(model)


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


def choose(model: nn.Module, ranges: Mapping[str, Tensor]) -> Exponents:
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
def equalize(model: nn.Module, exponents: Exponents) -> None:
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
