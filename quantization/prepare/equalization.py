"""Equalization: channels of one tensor brought to like ranges by exact rewrites of the weights.

A per-tensor scale follows the widest channel. Where two layers are linear in a channel of the
tensor between them, the channel can be divided by a factor in the first and multiplied by it in
the second (Nagel et al., "Data-free quantization through weight equalization and bias
correction", ICCV 2019). Factors are powers of two, so that the float network stays the same to
the last bit. Which layers are such pairs is found in the graph (`quantization.prepare.pairs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from mobilemod.forms.canonical import Canonical
from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import Tap
from mobilemod.progress import progress
from quantization.hooks import forward_hooks, require_finite
from quantization.params import ACTIVATION_MAX, ACTIVATION_MIN, MIN_SCALE
from quantization.prepare.pairs import Pair, find_pairs

# An outlier's range is over 2 sqrt(2) times the median of its tensor's channels.
OUTLIER = 2.0
MAX_EXPONENT = 10
# A channel below this part of its tensor's largest holds rounding errors, if anything.
DEAD = 2.0**-20
MIN_RANGE = MIN_SCALE * (ACTIVATION_MAX - ACTIVATION_MIN)

Exponents = dict[str, tuple[int, ...]]


@torch.no_grad()
def channel_ranges(
    form: Form, tensors: Iterable[str], batches: Iterable[Tensor], count: int
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


def choose(pairs: Iterable[Pair], ranges: Mapping[str, Tensor]) -> Exponents:
    """By which power of two each channel is divided, for the pairs where one is."""
    chosen = {}
    for pair in pairs:
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
def equalize(canonical: Canonical, exponents: Exponents) -> Canonical:
    """With each pair's channels divided by 2^exponent; the network's function stays the same.

    Raises ValueError where `exponents` name a tensor or a channel count that the network lacks.
    """
    state = canonical.state()
    known = {pair.tensor: pair for pair in find_pairs(canonical.graph)} if exponents else {}
    for tensor, values in exponents.items():
        if tensor not in known:
            raise ValueError(f"no pair of layers shares {tensor}")
        pair = known[tensor]
        if pair.channels != len(values):
            raise ValueError(f"{tensor} has {pair.channels} channels")
        _scale_rows(state, pair.module, torch.tensor(values).neg().exp2())
        for reader in pair.readers:
            factor = _gathered(values, reader.channels)
            if reader.rows:
                _scale_rows(state, reader.module, factor)
            else:
                _scale_columns(state, reader.module, factor)
    return canonical.with_state(state)


def _gathered(exponents: Sequence[int], channels: Sequence[int]) -> Tensor:
    """The factor of each column: of the channel that it holds, 1 of none."""
    return torch.tensor([0 if c < 0 else exponents[c] for c in channels]).exp2()


def _scale_rows(state: dict[str, Tensor], module: str, factor: Tensor) -> None:
    for name, shape in ((f"{module}.weight", (-1, 1, 1, 1)), (f"{module}.bias", (-1,))):
        if name in state:
            state[name] = state[name] * factor.reshape(shape)


def _scale_columns(state: dict[str, Tensor], module: str, factor: Tensor) -> None:
    """Row r of a weight (out, in / groups, …) reads the channels of its group."""
    weight = state[f"{module}.weight"]
    rows, width = weight.shape[:2]
    groups = len(factor) // width
    columns = factor.reshape(groups, width).repeat_interleave(rows // groups, 0)
    state[f"{module}.weight"] = weight * columns[:, :, None, None]
