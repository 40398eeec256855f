"""EfficientMod, the mobile form: the same function in the shape phones are fast at.

Channels-first throughout, linears as 1x1 convolutions, scales folded into the linears beside
them, LayerNorm and attention from primitives that every delegate takes. Built from the reference
form's weights by `build_mobile`; the layers that follow a norm take over its scale and shift.

Every tensor that a quantizer may want stands at a `Tap`, an identity that carries the tensor's
name: the published network's module path, a colon, and the tensor's role
(`layers.0.blocks.1.mlp.fc1:out`). Every convolution carries its published module's path too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.models import efficientmod as ref

Q_K_V = ("q", "k", "v")


@dataclass(frozen=True)
class FormOptions:
    """What must differ between runtimes.

    split_depthwise: the 7x7 depthwise kernel as three that add up to it, each of at most 25 taps,
        because XNNPACK has no depthwise kernel over 25 taps.
    norm_mean: LayerNorm's mean over channels as a 1x1 convolution with weights 1/C ("conv"),
        which XNNPACK delegates, or as a reduction ("reduce"), which coremltools fuses to
        one layer_norm.
    """

    split_depthwise: bool
    norm_mean: str


XNNPACK_FORM = FormOptions(split_depthwise=True, norm_mean="conv")
COREML_FORM = FormOptions(split_depthwise=False, norm_mean="reduce")

# A 7-row kernel as three symmetric ones: rows -1..1, rows -3 and 3, rows -2 and 2. Symmetric
# padding and dilation place them, so that no slice or pad is needed around the convolutions.
SPLIT_ROWS: tuple[tuple[tuple[int, ...], int, int], ...] = (
    ((2, 3, 4), 1, 1),
    ((0, 6), 6, 3),
    ((1, 5), 4, 2),
)


class Tap(nn.Module):
    """The identity at a named tensor; quantization replaces it.

    source: the tensor whose values these are, moved or repeated; it shares that one's parameters.
    """

    def __init__(self, tensor: str, source: str | None = None):
        super().__init__()
        self.tensor = tensor
        self.source = source

    def forward(self, x: Tensor) -> Tensor:
        return x


class Constant(nn.Module):
    """A named per-channel constant, (1, C, 1, 1), of an elementwise op."""

    def __init__(self, tensor: str, value: Tensor):
        super().__init__()
        self.tensor = tensor
        self.value = nn.Parameter(value.detach().clone()[None, :, None, None])

    def forward(self) -> Tensor:
        return self.value


class NamedConv2d(nn.Conv2d):
    """A convolution that knows its published module's path.

    `part` tells the pieces of one published module apart ("q", "rows0"), "" where there is one.
    """

    def __init__(self, module: str, part: str, weight: Tensor, bias: Tensor | None, **kwargs):
        groups = kwargs.get("groups", 1)
        out_channels, in_channels, *kernel = weight.shape
        super().__init__(
            in_channels * groups, out_channels, tuple(kernel), bias=bias is not None, **kwargs
        )
        self.module = module
        self.part = part
        with torch.no_grad():
            self.weight.copy_(weight)
            if bias is not None:
                self.bias.copy_(bias)

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
    """LayerNorm over channels of (B, C, H, W), without scale and shift (those are folded)."""

    def __init__(self, module: str, norm: nn.LayerNorm, options: FormOptions):
        super().__init__()
        channels = norm.normalized_shape[0]
        self.eps = norm.eps
        self.reduce = options.norm_mean == "reduce"
        if not self.reduce:
            average = torch.full((1, channels), 1.0 / channels)
            self.mean = pointwise(module, average, None, "mean")
            # Another copy: one constant in two layouts fails in ExecuTorch's channels-last pass.
            self.variance = pointwise(module, average.clone(), torch.tensor([norm.eps]), "variance")
        self.tap_mean = Tap(f"{module}:mean")
        self.tap_centered = Tap(f"{module}:centered")
        self.tap_square = Tap(f"{module}:square")
        self.tap_variance = Tap(f"{module}:variance")
        self.tap_rstd = Tap(f"{module}:rstd")
        self.tap_out = Tap(f"{module}:out")

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True) if self.reduce else self.mean(x)
        d = self.tap_centered(x - self.tap_mean(mean))
        square = self.tap_square(d * d)
        rstd = self.tap_rstd(torch.rsqrt(self.tap_variance(self._variance(square))))
        return self.tap_out(d * rstd)

    def _variance(self, square: Tensor) -> Tensor:
        if self.reduce:
            return square.mean(1, keepdim=True) + self.eps
        return self.variance(square)


class MobilePatchEmbed(nn.Module):
    """Strided convolution and LayerNorm with its scale and shift, which stay here."""

    def __init__(self, module: str, embed: ref.PatchEmbed, options: FormOptions):
        super().__init__()
        conv = embed.proj
        self.tap_in = Tap(f"{module}.proj:in")
        self.proj = NamedConv2d(
            f"{module}.proj", "", conv.weight, conv.bias, stride=conv.stride, padding=conv.padding
        )
        self.tap_proj = Tap(f"{module}.proj:out")
        self.norm = MobileNorm(f"{module}.norm", embed.norm, options)
        self.scale = Constant(f"{module}.norm:scale", embed.norm.weight)
        self.shift = Constant(f"{module}.norm:shift", embed.norm.bias)
        self.tap_scaled = Tap(f"{module}.norm:scaled")
        self.tap_out = Tap(f"{module}:out")

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.tap_proj(self.proj(self.tap_in(x))))
        return self.tap_out(self.tap_scaled(y * self.scale()) + self.shift())


class MobileDepthwise(nn.Module):
    """The 7x7 depthwise convolution, whole or as the three of `SPLIT_ROWS`."""

    def __init__(self, module: str, conv: nn.Conv2d, options: FormOptions):
        super().__init__()
        groups = conv.in_channels
        self.split = options.split_depthwise
        if not self.split:
            pad = conv.padding
            self.convs = nn.ModuleList(
                [NamedConv2d(module, "", conv.weight, conv.bias, padding=pad, groups=groups)]
            )
            self.taps = nn.ModuleList([Tap(f"{module}:out")])
            return
        self.convs = nn.ModuleList()
        for i, (rows, dilation, padding) in enumerate(SPLIT_ROWS):
            self.convs.append(
                NamedConv2d(
                    module,
                    f"rows{i}",
                    conv.weight[:, :, list(rows)],
                    conv.bias if i == 0 else None,
                    padding=(padding, conv.padding[1]),
                    dilation=(dilation, 1),
                    groups=groups,
                )
            )
        self.taps = nn.ModuleList(Tap(f"{module}.rows{i}:out") for i in range(len(SPLIT_ROWS)))
        self.tap_sum = Tap(f"{module}.sum:out")
        self.tap_out = Tap(f"{module}:out")

    def forward(self, x: Tensor) -> Tensor:
        parts = [tap(conv(x)) for conv, tap in zip(self.convs, self.taps, strict=True)]
        if not self.split:
            return parts[0]
        return self.tap_out(self.tap_sum(parts[0] + parts[1]) + parts[2])


class MobileModulation(nn.Module):
    """x + mlp(norm(x)), `gamma_1` folded into `fc2`; (B, C, H, W) to the same."""

    def __init__(self, module: str, block: ref.ModulationBlock, options: FormOptions):
        super().__init__()
        mlp, context = block.mlp, block.mlp.context_layer
        name = f"{module}.mlp.context_layer"
        self.ratio = mlp.ratio
        self.norm = MobileNorm(f"{module}.norm", block.norm, options)
        self.f = pointwise(f"{name}.f", *fold_norm(context.f, block.norm))
        self.tap_f = Tap(f"{name}.f:out")
        self.depthwise = MobileDepthwise(f"{name}.context_list.0", context.context_list[0], options)
        self.tap_gelu = Tap(f"{name}.context_list.0:gelu")
        self.g = pointwise(f"{name}.g", context.g.weight, context.g.bias)
        self.tap_g = Tap(f"{name}.g:out")
        self.fc1 = pointwise(f"{module}.mlp.fc1", *fold_norm(mlp.fc1, block.norm))
        self.tap_fc1 = Tap(f"{module}.mlp.fc1:out")
        if self.ratio > 1:
            self.tap_value = Tap(f"{module}.mlp.fc1:gelu")
            # The repeat is two cats: XNNPACK takes at most five inputs, so six copies need two.
            self.tap_repeat = nn.ModuleList(
                Tap(f"{name}.g:repeat{i}", source=f"{name}.g:out") for i in range(2)
            )
        self.tap_product = Tap(f"{module}.mlp:product")
        gamma = block.gamma_1
        self.fc2 = pointwise(
            f"{module}.mlp.fc2", mlp.fc2.weight * gamma[:, None], mlp.fc2.bias * gamma
        )
        self.tap_fc2 = Tap(f"{module}.mlp.fc2:out")
        self.tap_out = Tap(f"{module}:out")

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        context = self.tap_gelu(F.gelu(self.depthwise(self.tap_f(self.f(h)))))
        context = self.tap_g(self.g(context))
        value = self.tap_fc1(self.fc1(h))
        if self.ratio > 1:
            value = self.tap_value(F.gelu(value))
            pair = self.tap_repeat[0](torch.cat([context, context], 1))
            context = self.tap_repeat[1](torch.cat([pair] * (self.ratio // 2), 1))
        product = self.tap_product(value * context)
        return self.tap_out(x + self.tap_fc2(self.fc2(product)))


class MobileAttention(nn.Module):
    """Multi-head self-attention, the softmax scale folded into q, q, k and v as three layers."""

    def __init__(self, module: str, attention: ref.Attention, norm: nn.LayerNorm):
        super().__init__()
        self.width = attention.width
        weight, bias = fold_norm(attention.qkv, norm)
        scale = self.width**-0.5
        self.qkv = nn.ModuleList()
        for part, w, b in zip(Q_K_V, weight.chunk(3), bias.chunk(3), strict=True):
            factor = scale if part == "q" else 1.0
            self.qkv.append(pointwise(f"{module}.qkv", w * factor, b * factor, part))
        self.taps = nn.ModuleList(Tap(f"{module}.qkv.{part}:out") for part in Q_K_V)
        self.tap_heads = nn.ModuleList(
            Tap(f"{module}.qkv.{part}:heads", source=f"{module}.qkv.{part}:out") for part in Q_K_V
        )
        self.tap_scores = Tap(f"{module}:scores")
        self.tap_softmax = Tap(f"{module}:softmax")
        self.tap_context = Tap(f"{module}:context")
        self.tap_merged = Tap(f"{module}:merged", source=f"{module}:context")
        self.proj = pointwise(f"{module}.proj", attention.proj.weight, attention.proj.bias)
        self.tap_proj = Tap(f"{module}.proj:out")

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        q, k, v = (
            heads(tap(conv(x)).reshape(b * ref.NUM_HEADS, self.width, h * w))
            for conv, tap, heads in zip(self.qkv, self.taps, self.tap_heads, strict=True)
        )
        scores = self.tap_scores(torch.bmm(q.transpose(1, 2), k))
        weights = self.tap_softmax(torch.softmax(scores, -1))
        out = self.tap_context(torch.bmm(v, weights.transpose(1, 2)))
        out = self.tap_merged(out.reshape(b, ref.NUM_HEADS * self.width, h, w))
        return self.tap_proj(self.proj(out))


class MobileAttentionBlock(nn.Module):
    """x + attn(norm1(x)), then x + mlp(norm2(x))."""

    def __init__(self, module: str, block: ref.AttentionBlock, options: FormOptions):
        super().__init__()
        self.norm1 = MobileNorm(f"{module}.norm1", block.norm1, options)
        self.attn = MobileAttention(f"{module}.attn", block.attn, block.norm1)
        self.tap_middle = Tap(f"{module}.attn:residual")
        self.norm2 = MobileNorm(f"{module}.norm2", block.norm2, options)
        self.fc1 = pointwise(f"{module}.mlp.fc1", *fold_norm(block.mlp.fc1, block.norm2))
        self.tap_fc1 = Tap(f"{module}.mlp.fc1:out")
        self.tap_gelu = Tap(f"{module}.mlp.fc1:gelu")
        self.fc2 = pointwise(f"{module}.mlp.fc2", block.mlp.fc2.weight, block.mlp.fc2.bias)
        self.tap_fc2 = Tap(f"{module}.mlp.fc2:out")
        self.tap_out = Tap(f"{module}:out")

    def forward(self, x: Tensor) -> Tensor:
        x = self.tap_middle(x + self.attn(self.norm1(x)))
        hidden = self.tap_gelu(F.gelu(self.tap_fc1(self.fc1(self.norm2(x)))))
        return self.tap_out(x + self.tap_fc2(self.fc2(hidden)))


class MobileForm(nn.Module):
    """The whole network in mobile form.

    Input float (B, 3, H, W), normalized; output float (B, num_classes), logits.
    """

    def __init__(self, model: ref.EfficientMod, options: FormOptions):
        super().__init__()
        self.variant = model.variant
        self.num_classes = model.num_classes
        self.options = options
        layers: list[nn.Module] = [MobilePatchEmbed("patch_embed", model.patch_embed, options)]
        for s, stage in enumerate(model.layers):
            for i, block in enumerate(stage.blocks):
                kind = (
                    MobileModulation
                    if isinstance(block, ref.ModulationBlock)
                    else MobileAttentionBlock
                )
                layers.append(kind(f"layers.{s}.blocks.{i}", block, options))
            if stage.downsample is not None:
                name = f"layers.{s}.downsample"
                layers.append(MobilePatchEmbed(name, stage.downsample, options))
        self.layers = nn.ModuleList(layers)
        self.norm = MobileNorm("norm", model.norm, options)
        self.tap_pooled = Tap("norm:pooled")
        self.head = pointwise("head", *fold_norm(model.head, model.norm))
        self.tap_head = Tap("head:out")

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        x = self.tap_pooled(self.norm(x).mean((2, 3), keepdim=True))
        return self.tap_head(self.head(x)).flatten(1)


@torch.no_grad()
def build_mobile(model: ref.EfficientMod, options: FormOptions) -> MobileForm:
    """The mobile form of `model`, in eval mode; equal to it within 1e-4 per logit in float32."""
    return MobileForm(model.eval(), options).eval()
