"""What mobile forms are made of: taps, named convolutions, exact folds, LayerNorm, the depthwise.

Channels-first tensors (B, C, H, W) throughout; linears are 1x1 convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Piece:
    """A part of the 7x7 kernel: the taps at `rows` x `columns`, evenly spaced around the centre.

    Dilation and equal padding on both sides place it, so that no slice or pad is needed.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def dilation(self) -> tuple[int, int]:
        """Distance between taps."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    @property
    def padding(self) -> tuple[int, int]:
        """Rows above and below, columns left and right."""
        return 3 - self.rows[0], 3 - self.columns[0]


ALL = (0, 1, 2, 3, 4, 5, 6)
EVEN = (0, 2, 4, 6)
# XNNPACK's depthwise kernels compute 9 or 25 taps, used or not: 25 + 25 + 9 of them for 49.
# Three pieces of whole rows cost 75, and no two pieces of at most 25 taps make up the kernel.
GRID_SPLIT = (Piece((1, 3, 5), ALL), Piece(EVEN, (1, 2, 3, 4, 5)), Piece(EVEN, (0, 6)))


@dataclass(frozen=True)
class FormOptions:
    """What must differ between runtimes.

    split: pieces that add up to the 7x7 depthwise kernel, none for the whole kernel; XNNPACK has
        no depthwise kernel over 25 taps.
    norm_mean: LayerNorm's mean over channels as a 1x1 convolution with weights 1/C ("conv"),
        which XNNPACK delegates, or as a reduction ("reduce"), which coremltools fuses to
        one layer_norm.
    channels_last: the runtime holds activations channels-last, so attention's heads are split
        and merged in that order, with one transpose each.
    merge_columns: the stem reads four columns as one, which moves no data in channels-last.
    """

    split: tuple[Piece, ...]
    norm_mean: str
    channels_last: bool
    merge_columns: bool


XNNPACK_FORM = FormOptions(GRID_SPLIT, "conv", channels_last=True, merge_columns=True)
COREML_FORM = FormOptions((), "reduce", channels_last=False, merge_columns=False)
# Where torch runs it: nothing that only a delegate wants.
PLAIN_FORM = COREML_FORM


class Tap(nn.Module):
    """The identity at a named tensor; quantization replaces it.

    source: the tensor whose values these are, moved or repeated; it shares that one's parameters.
    role: what kind of tensor it is, for recipes.
    """

    def __init__(self, tensor: str, source: str | None = None, role: str = ""):
        super().__init__()
        self.tensor = tensor
        self.source = source
        self.role = role

    def forward(self, x: Tensor) -> Tensor:
        return x


class Constant(nn.Module):
    """A named constant of an elementwise op: per channel, (1, C, 1, 1), or of any shape."""

    def __init__(self, tensor: str, value: Tensor, role: str = ""):
        super().__init__()
        self.tensor, self.role = tensor, role
        value = value.detach().clone()
        self.value = nn.Parameter(value[None, :, None, None] if value.ndim == 1 else value)

    def forward(self) -> Tensor:
        return self.value


class NamedConv2d(nn.Conv2d):
    """A convolution that knows its published module's path.

    `part` tells the pieces of one published module apart ("q", "part0"), "" where there is one.
    """

    def __init__(self, module: str, part: str, weight: Tensor, bias: Tensor | None, **kwargs):
        groups = kwargs.get("groups", 1)
        out_channels, in_channels, *kernel = weight.shape
        super().__init__(
            in_channels * groups, out_channels, tuple(kernel), bias=bias is not None, **kwargs
        )
        self.module = module
        self.part = part
        self.role = "weight"
        with torch.no_grad():
            self.weight.copy_(weight)
            if bias is not None:
                self.bias.copy_(bias)

    def with_weights(
        self, weight: Tensor, bias: Tensor | None, part: str | None = None
    ) -> NamedConv2d:
        """A convolution of the same geometry and name with other weights."""
        return NamedConv2d(
            self.module,
            self.part if part is None else part,
            weight,
            bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    @property
    def tensor(self) -> str:
        """Name of the weight tensor in the parameter table."""
        return f"{self.module}.{self.part}:weight" if self.part else f"{self.module}:weight"


def pointwise(module: str, weight: Tensor, bias: Tensor | None, part: str = "") -> NamedConv2d:
    """A linear layer as a 1x1 convolution; weight (out, in)."""
    return NamedConv2d(module, part, weight[:, :, None, None], bias)


def fold_norm(linear: nn.Linear, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Weight and bias of `linear` after `norm`'s scale and shift are moved into it."""
    weight, bias = linear.weight.double(), norm.bias.double()
    shift = weight @ bias
    if linear.bias is not None:
        shift = shift + linear.bias.double()
    return (weight * norm.weight.double()).float(), shift.float()


class MobileNorm(nn.Module):
    """LayerNorm over channels of (B, C, H, W), without scale and shift (those are folded).

    whole: over channels and positions, as GroupNorm of one group.
    """

    def __init__(
        self,
        module: str,
        channels: int,
        eps: float,
        options: FormOptions,
        whole: bool = False,
        role: str = "norm.out",
    ):
        super().__init__()
        self.eps, self.whole = eps, whole
        self.reduce = options.norm_mean == "reduce"
        if not self.reduce:
            average = torch.full((1, channels), 1.0 / channels)
            self.mean = pointwise(module, average, None, "mean")
            # Another copy: one constant in two layouts fails in ExecuTorch's channels-last pass.
            self.variance = pointwise(module, average.clone(), torch.tensor([eps]), "variance")
            self.mean.role = self.variance.role = "norm.weight"
        for part in ("mean", "centered", "square", "variance", "rstd"):
            self.add_module(f"tap_{part}", Tap(f"{module}:{part}", role=f"norm.{part}"))
        self.tap_out = Tap(f"{module}:out", role=role)

    def forward(self, x: Tensor) -> Tensor:
        d = self.tap_centered(x - self.tap_mean(self._averaged(x, "mean")))
        square = self.tap_square(d * d)
        rstd = self.tap_rstd(torch.rsqrt(self.tap_variance(self._averaged(square, "variance"))))
        return self.tap_out(d * rstd)

    def _averaged(self, x: Tensor, part: str) -> Tensor:
        """The mean of `x`, for the variance plus eps."""
        if self.reduce:
            mean = x.mean((1, 2, 3) if self.whole else 1, keepdim=True)
            return mean + self.eps if part == "variance" else mean
        # Over positions first: delegates know that mean, and one over channels as a convolution.
        x = x.mean((2, 3), keepdim=True) if self.whole else x
        return self.mean(x) if part == "mean" else self.variance(x)


def unmerged_kernel(weight: Tensor, columns: slice) -> Tensor:
    """The published kernel, (out, 3, rows, columns), at `columns` of one of merged columns."""
    weight = weight.permute(0, 2, 3, 1).flatten(2).unflatten(2, (-1, 3))
    return weight[:, :, columns].permute(0, 3, 1, 2)


def whole_kernel(split: Sequence[Piece], parts: Sequence[Tensor]) -> Tensor:
    """The 7x7 kernel, (C, 1, 7, 7), of its pieces; a part (C, 1, 1, 1) fills its piece."""
    size = len(ALL)
    kernel = parts[0].new_zeros(len(parts[0]), 1, size, size)
    for piece, part in zip(split, parts, strict=True):
        rows, columns = torch.tensor(piece.rows), torch.tensor(piece.columns)
        kernel[:, :, rows[:, None], columns] = part
    return kernel


class MergedColumns(nn.Module):
    """The stem's 7x7 convolution, stride 4, on columns merged by fours: a 7x2 kernel.

    A kernel over 3 channels leaves most of a dot product instruction empty; over 12 it does not.
    Input column 4 b + i of channel c is channel 3 i + c of merged column b. The kernel starts 3
    columns before its patch, that is at column 1 of the merged one before.
    """

    def __init__(self, module: str, conv: nn.Conv2d):
        super().__init__()
        out_channels, channels, rows, columns = conv.weight.shape
        self.step, self.above = conv.stride[1], conv.padding[0]
        start = self.step - conv.padding[1]
        blocks = (start + columns) // self.step
        self.columns = slice(start, start + columns)
        weight = torch.zeros(out_channels, rows, blocks * self.step, channels)
        weight[:, :, self.columns] = conv.weight.detach().permute(0, 2, 3, 1)
        weight = weight.reshape(out_channels, rows, blocks, -1).permute(0, 3, 1, 2)
        self.tap = Tap(f"{module}:merged", source=f"{module}:in")
        self.conv = NamedConv2d(module, "", weight, conv.bias, stride=(self.step, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        x = x.permute(0, 2, 3, 1).reshape(b, h, w // self.step, -1).permute(0, 3, 1, 2)
        # Nothing to the right and below: the last patch ends with the image.
        return self.conv(self.tap(F.pad(x, (1, 0, self.above, 0))))

    def kernel(self) -> Tensor:
        """The convolution's weight as published, (out, 3, 7, 7)."""
        return unmerged_kernel(self.conv.weight, self.columns)


class MobileDepthwise(nn.Module):
    """The 7x7 depthwise convolution, whole or as `options.split`, which add up to it."""

    def __init__(self, module: str, conv: nn.Conv2d, options: FormOptions):
        super().__init__()
        groups = conv.groups
        self.split, self.pieces = bool(options.split), options.split
        if not self.split:
            pad = conv.padding
            self.convs = nn.ModuleList(
                [NamedConv2d(module, "", conv.weight, conv.bias, padding=pad, groups=groups)]
            )
            self.taps = nn.ModuleList([Tap(f"{module}:out")])
            self.sums = nn.ModuleList()
            return
        self.convs = nn.ModuleList()
        for i, piece in enumerate(options.split):
            self.convs.append(
                NamedConv2d(
                    module,
                    f"part{i}",
                    conv.weight[:, :, piece.rows][..., piece.columns],
                    conv.bias if i == 0 else None,
                    padding=piece.padding,
                    dilation=piece.dilation,
                    groups=groups,
                )
            )
        self.taps = nn.ModuleList(Tap(f"{module}.part{i}:out") for i in range(len(options.split)))
        names = [f"{module}.sum{i}:out" for i in range(len(options.split) - 2)] + [f"{module}:out"]
        self.sums = nn.ModuleList(Tap(name) for name in names)

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = (tap(conv(x)) for conv, tap in zip(self.convs, self.taps, strict=True))
        if not self.split:
            return first
        for tap, part in zip(self.sums, rest, strict=True):
            first = tap(first + part)
        return first

    def kernel(self) -> Tensor:
        """The convolution's weight as published, whole."""
        weights = [conv.weight for conv in self.convs]
        return whole_kernel(self.pieces, weights) if self.split else weights[0]
