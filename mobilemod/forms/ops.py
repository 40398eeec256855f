"""What canonical forms are made of, beside convolutions: norms, moves, products, single torch ops.

An image is (B, C, H, W), a stack of matrices (B, M, N). Every op is a module on tensors, so that
quantization and lowering find it by its kind; what a runtime wants otherwise is another
module in its place (`mobilemod.forms.form`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Of a tensor, at most: of XNNPACK's, which are channels-last, and of Core ML's.
CHANNELS_LAST_DIMS, OTHER_DIMS = 6, 5


class Hole:
    """The place of the n-th tensor in a call's arguments."""

    def __init__(self, index: int):
        self.index = index

    def __repr__(self) -> str:
        return f"${self.index}"


def filled(value: Any, tensors: Sequence[Any]) -> Any:
    """`value` with each `Hole` replaced by its tensor."""
    if isinstance(value, Hole):
        return tensors[value.index]
    if isinstance(value, list | tuple):
        return [filled(v, tensors) for v in value]
    return value


def has_hole(value: Any) -> bool:
    """Whether a tensor goes in somewhere."""
    if isinstance(value, list | tuple):
        return any(map(has_hole, value))
    return isinstance(value, Hole)


class Call(nn.Module):
    """One torch op; `args` and `options` as torch takes them, tensors as `Hole`s.

    name: as in torch.ops.aten, with its overload. item: which of its results, None where there is
    one. makes: the tensor that it gives in a form, as lowerings name it.
    """

    makes = ""

    def __init__(
        self,
        name: str,
        args: Sequence[Any],
        options: dict[str, Any] | None = None,
        item: int | None = None,
    ):
        super().__init__()
        self.name, self.args, self.options, self.item = name, list(args), dict(options or {}), item
        self.function: Callable[..., Tensor] = resolve(name)

    @property
    def kind(self) -> str:
        """The op's name without its overload."""
        return self.name.partition(".")[0]

    def forward(self, *tensors: Tensor) -> Tensor:
        result = self.function(*filled(self.args, tensors), **self.options)
        return result if self.item is None else result[self.item]

    def extra_repr(self) -> str:
        return f"{self.name}, {self.args}"


def resolve(name: str) -> Callable[..., Tensor]:
    """The op of `torch.ops.aten` called `name`, "gelu.default"."""
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


class Affine(nn.Module):
    """x * scale + shift per channel of an image; until it is folded into what stands beside it.

    scale, shift: (C,), or (1,) for every value alike; shift None for none.
    """

    def __init__(self, scale: Tensor, shift: Tensor | None = None):
        super().__init__()
        self.scale, self.shift = scale.detach().double(), None
        if shift is not None and bool(shift.any()):
            self.shift = shift.detach().double()

    def forward(self, x: Tensor) -> Tensor:
        y = x * per_channel(self.scale, x.ndim)
        return y if self.shift is None else y + per_channel(self.shift, x.ndim)


def per_channel(value: Tensor, rank: int) -> Tensor:
    """(C,) or (1,) as float32 beside a tensor of `rank` dimensions, channels second."""
    return value.float().reshape((1, -1, *[1] * (rank - 2)) if len(value) > 1 else (1,) * rank)


class ChannelNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) over the channels of an image at each position.

    groups: of channels, each with one mean and variance over all positions; 0 for a mean and
    variance at each position.
    """

    def __init__(self, eps: float, groups: int = 0):
        super().__init__()
        self.eps, self.groups = eps, groups

    def forward(self, x: Tensor) -> Tensor:
        y = x.reshape(x.shape[0], self.groups, -1) if self.groups else x
        dim = -1 if self.groups else 1
        d = y - y.mean(dim, keepdim=True)
        return (d * torch.rsqrt((d * d).mean(dim, keepdim=True) + self.eps)).reshape(x.shape)


class ChannelMean(nn.Module):
    """The mean over an image's channels, (B, C, H, W) to (B, 1, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)


class Rearrange(nn.Module):
    """A tensor with its axes in another order and grouping.

    sizes: of the axes, 0 for the batch. source, target: the axes of each dimension, outermost
    first. channels_last: go by the order that a runtime has images in memory, (B, H, W, C).
    """

    def __init__(
        self,
        sizes: Sequence[int],
        source: Sequence[Sequence[int]],
        target: Sequence[Sequence[int]],
        channels_last: bool = True,
    ):
        super().__init__()
        self.sizes = tuple(sizes)
        self.source = tuple(map(tuple, source))
        self.target = tuple(map(tuple, target))
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> Tensor:
        source, target = list(self.source), list(self.target)
        if self.channels_last and len(source) == 4:
            source = [source[i] for i in (0, 2, 3, 1)]
            x = x.permute(0, 2, 3, 1)
        last = self.channels_last and len(target) == 4
        if last:
            target = [target[i] for i in (0, 2, 3, 1)]
        x = self._moved(x, source, target)
        return x.permute(0, 3, 1, 2) if last else x

    def _moved(
        self, x: Tensor, source: list[tuple[int, ...]], target: list[tuple[int, ...]]
    ) -> Tensor:
        dims, old = source, [a for dim in source for a in dim]
        most = CHANNELS_LAST_DIMS if self.channels_last else OTHER_DIMS
        for new in _steps(old, [a for dim in target for a in dim], most):
            runs = _runs(old, new)
            before = sorted(runs, key=lambda run: old.index(run[0]))
            if runs != before:
                if dims != before:
                    x = x.reshape([self._size(run) for run in before])
                x = x.permute([before.index(run) for run in runs])
                dims = runs
            old = new
        return x if dims == target else x.reshape([self._size(dim) for dim in target])

    def _size(self, axes: Sequence[int]) -> int:
        sizes = [self.sizes[a] for a in axes]
        return -1 if 0 in sizes else math.prod(sizes)

    def extra_repr(self) -> str:
        return f"{self.sizes}, {self.source} -> {self.target}"


def _steps(old: Sequence[int], new: list[int], most: int) -> Iterator[list[int]]:
    """Orders of axes from `old` to `new`, in each of which at most so many pieces move."""
    order = list(old)
    while len(runs := _runs(order, new)) > most:
        # Those that come first go to the front: each leaves a piece before itself.
        stands = order[: len(runs[0])] == list(runs[0])
        front = [a for run in runs[: stands + (most - stands - 1) // 2] for a in run]
        order = front + [a for a in order if a not in front]
        yield order
    yield new


def _runs(old: Sequence[int], new: Sequence[int]) -> list[tuple[int, ...]]:
    """`new` in pieces whose axes stand side by side in `old` too."""
    runs: list[list[int]] = []
    for axis in new:
        if runs and old.index(runs[-1][-1]) + 1 == old.index(axis):
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return [tuple(run) for run in runs]


class MatMul(nn.Module):
    """left @ right of stacks of matrices; transposed: which of both is taken transposed."""

    def __init__(self, transposed: tuple[bool, bool] = (False, False)):
        super().__init__()
        self.transposed = transposed

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        left = left.transpose(1, 2) if self.transposed[0] else left
        right = right.transpose(1, 2) if self.transposed[1] else right
        return torch.bmm(left, right)

    def extra_repr(self) -> str:
        return f"{self.transposed}"


class Repeat(nn.Module):
    """The channels of an image, `times` times after one another."""

    def __init__(self, times: int):
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x] * self.times, 1)


class Select(nn.Module):
    """Some channels of an image, by index."""

    def __init__(self, index: Sequence[int]):
        super().__init__()
        self.index = tuple(index)

    def forward(self, x: Tensor) -> Tensor:
        first, step = self.index[0], self.index[1] - self.index[0] if len(self.index) > 1 else 1
        if self.index == tuple(range(first, first + len(self.index))):
            return x[:, first : first + len(self.index)]
        if step > 1 and self.index == tuple(range(first, self.index[-1] + 1, step)):
            return x[:, first : self.index[-1] + 1 : step]
        return x[:, list(self.index)]


class Fixed(nn.Module):
    """A constant operand, in the layout of what it meets; until it gets its name."""

    def __init__(self, value: Tensor):
        super().__init__()
        self.register_buffer("value", value.detach().clone())

    def forward(self) -> Tensor:
        return self.value


class Tile(nn.Module):
    """`x`, repeated along its first dimension as often as `like` needs; nothing for one image."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        times = like.shape[0] // x.shape[0]
        return x if times == 1 else x.repeat(times, *[1] * (x.ndim - 1))
