"""What mobile forms are made of: taps, named convolutions, exact folds, LayerNorm, the depthwise.

Channels-first tensors (B, C, H, W) throughout; linears are 1x1 convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.forms.means import only_takes_mean
from mobilemod.forms.merging import Merging
from mobilemod.forms.splits import split, whole_kernel


@dataclass(frozen=True)
class FormOptions:
    """What must differ between runtimes.

    most_taps: of a depthwise kernel, larger ones are split; 0 for no limit. XNNPACK has no
        depthwise kernel over 25 taps.
    norm_mean: LayerNorm's mean over channels as a 1x1 convolution with weights 1/C ("conv"),
        which XNNPACK delegates, or as a reduction ("reduce"), which coremltools fuses to
        one layer_norm.
    channels_last: the runtime holds activations channels-last, so attention's heads are split
        and merged in that order, with one transpose each.
    merge_columns: the stem reads four columns as one, which moves no data in channels-last.
    """

    most_taps: int
    norm_mean: str
    channels_last: bool
    merge_columns: bool


XNNPACK_FORM = FormOptions(25, "conv", channels_last=True, merge_columns=True)
COREML_FORM = FormOptions(0, "reduce", channels_last=False, merge_columns=False)
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


def _own(value: Tensor) -> Tensor:
    """A float32 copy, in contiguous memory."""
    return value.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)


class NamedConv2d(nn.Conv2d):
    """A convolution that knows its published module's path.

    `part` tells the pieces of one published module apart ("q", "part0"), "" where there is one.
    reads: the tensors one of which is int8 where its input is; () where that isn't known.
    """

    reads: tuple[str, ...] = ()

    def __init__(self, module: str, part: str, weight: Tensor, bias: Tensor | None, **kwargs):
        groups = kwargs.get("groups", 1)
        out_channels, in_channels, *kernel = weight.shape
        # On the meta device: start values take time, and move the caller's seed.
        super().__init__(
            in_channels * groups, out_channels, tuple(kernel), bias=bias is not None,
            device="meta", **kwargs,
        )  # fmt: skip
        self.module = module
        self.part = part
        self.role = "weight"
        self.weight = nn.Parameter(_own(weight))
        self.bias = None if bias is None else nn.Parameter(_own(bias))

    def with_weights(
        self,
        weight: Tensor,
        bias: Tensor | None,
        part: str | None = None,
        stride: tuple[int, int] | None = None,
    ) -> NamedConv2d:
        """A convolution of the same geometry and name, but for what is given."""
        return NamedConv2d(
            self.module,
            self.part if part is None else part,
            weight,
            bias,
            stride=stride or self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    @property
    def takes_mean(self) -> bool:
        """Whether it only takes a mean, over channels or a window."""
        lowest, highest = (float(v) for v in self.weight.detach().aminmax())
        return only_takes_mean(lowest, highest, self.weight[0].numel())

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

    groups: of channels, each over positions too, as GroupNorm; 0 for LayerNorm.
    """

    def __init__(
        self,
        module: str,
        channels: int,
        eps: float,
        options: FormOptions,
        groups: int = 0,
        role: str = "norm.out",
    ):
        super().__init__()
        self.eps, self.groups = eps, groups
        self.reduce = options.norm_mean == "reduce" and groups < 2
        if not self.reduce:
            # Of several groups every channel gets its own group's mean.
            rows, width = channels if groups > 1 else 1, channels // max(groups, 1)
            for part, bias in (("mean", None), ("variance", torch.full((rows,), eps))):
                # Not one for both: a constant in two layouts fails in ExecuTorch.
                average = torch.full((rows, width, 1, 1), 1.0 / width)
                conv = NamedConv2d(module, part, average, bias, groups=max(groups, 1))
                conv.role = "norm.weight"
                self.add_module(part, conv)
        for part in ("mean", "centered", "square", "variance", "rstd"):
            self.add_module(f"tap_{part}", Tap(f"{module}:{part}", role=f"norm.{part}"))
        self.tap_out = Tap(f"{module}:out", role=role)

    def forward(self, x: Tensor) -> Tensor:
        d = self.tap_centered(x - self.tap_mean(self.averaged(x, "mean")))
        square = self.tap_square(d * d)
        rstd = self.tap_rstd(torch.rsqrt(self.tap_variance(self.averaged(square, "variance"))))
        return self.tap_out(d * rstd)

    def averaged(self, x: Tensor, part: str) -> Tensor:
        """The mean of `x`, for the variance plus eps."""
        if self.reduce:
            mean = x.mean((1, 2, 3) if self.groups else 1, keepdim=True)
            return mean + self.eps if part == "variance" else mean
        # Over positions first: delegates know that mean, and one over channels as a convolution.
        x = x.mean((2, 3), keepdim=True) if self.groups else x
        return self.mean(x) if part == "mean" else self.variance(x)


class MergedColumns(nn.Module):
    """A strided convolution over few channels on merged columns: the stem's, 7x7, as a 7x2 kernel.

    (B, C, H, W) to what `conv` gives, for every H and W; dilation 1, one group. A width that is no
    multiple of the stride costs a pad or a slice. size: H and W where they are fixed.
    """

    def __init__(self, module: str, conv: nn.Conv2d, size: tuple[int, int] | None = None):
        super().__init__()
        self.size = size
        # Kept here: quantization puts another module in the place of `self.conv`.
        (self.rows, columns), (self.stride, step) = conv.kernel_size, conv.stride
        self.above, beside = conv.padding
        self.merging = Merging(step, conv.in_channels, columns, beside)
        weight = self.merging.kernel(conv.weight.detach())
        self.tap = Tap(f"{module}:merged", source=f"{module}:in")
        self.conv = NamedConv2d(module, "", weight, conv.bias, stride=(self.stride, 1))

    def forward(self, x: Tensor) -> Tensor:
        (h, w), m = self.size or x.shape[2:], self.merging
        width, columns = m.width(w), w // m.step
        if w % m.step:
            columns = min(width, columns + 1)
            x = F.pad(x, (0, columns * m.step - w))
        x = m.merged(x)
        # Below and to the right only as far as the last patch reaches over the image.
        last = (h + 2 * self.above - self.rows) // self.stride * self.stride
        below = max(last + self.rows - self.above - h, 0)
        return self.conv(self.tap(F.pad(x, (m.left, width - columns, self.above, below))))

    def kernel(self) -> Tensor:
        """The convolution's weight as published, (out, C, rows, columns)."""
        return self.merging.published(self.conv.weight)


class MobileDepthwise(nn.Module):
    """A depthwise convolution, whole or as pieces of `options.most_taps`, which add up to it.

    (B, C, H, W) to what `conv` gives; dilation 1, zeros around. source: the name of the tensor it
    reads, whose parameters are those of what pieces cut out of it.
    """

    def __init__(
        self, module: str, conv: nn.Conv2d, options: FormOptions, source: str | None = None
    ):
        super().__init__()
        self.module = module
        self.pieces = split(tuple(conv.kernel_size), options.most_taps)
        self.convs, self.taps, self.cuts = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, piece in enumerate(self.pieces):
            part = f"part{i}" if self.split else ""
            padding = piece.padding(conv.padding)
            self.convs.append(
                NamedConv2d(
                    module,
                    part,
                    conv.weight[:, :, piece.rows][..., piece.columns],
                    conv.bias if i == 0 else None,
                    stride=conv.stride,
                    padding=tuple(max(p, 0) for p in padding),
                    dilation=piece.dilation,
                    groups=conv.in_channels,
                )
            )
            cut = Cut(f"{module}.{part}:in", source, padding) if min(padding) < 0 else nn.Identity()
            self.cuts.append(cut)
            self.taps.append(Tap(f"{module}.{part}:out" if part else f"{module}:out"))
        count = len(self.pieces) - 1
        names = [f"{module}.sum{i}:out" for i in range(count - 1)] + [f"{module}:out"] * (count > 0)
        self.sums = nn.ModuleList(Tap(name) for name in names)

    @property
    def split(self) -> bool:
        """Whether there are several pieces."""
        return len(self.pieces) > 1

    def forward(self, x: Tensor) -> Tensor:
        layers = zip(self.cuts, self.convs, self.taps, strict=True)
        first, *rest = (tap(conv(cut(x))) for cut, conv, tap in layers)
        for tap, part in zip(self.sums, rest, strict=True):
            first = tap(first + part)
        return first

    def kernel(self) -> Tensor:
        """The convolution's weight as published, (C, 1, rows, columns)."""
        return whole_kernel(self.pieces, [conv.weight for conv in self.convs])


class Cut(nn.Module):
    """An image without what a piece of a kernel doesn't reach: negative padding."""

    def __init__(self, tensor: str, source: str | None, padding: tuple[int, int]):
        super().__init__()
        self.rows, self.columns = (max(-p, 0) for p in padding)
        self.tap = Tap(tensor, source)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        return self.tap(x[:, :, self.rows : h - self.rows, self.columns : w - self.columns])
