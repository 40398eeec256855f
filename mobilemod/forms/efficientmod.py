"""EfficientMod, the mobile form: the same function in the shape phones are fast at.

Channels-first throughout, linears as 1x1 convolutions, scales folded into the linears beside
them, LayerNorm and attention from primitives that every delegate takes. Built from the reference
form's weights; the layers that follow a norm take over its scale and shift.

Every tensor that a quantizer may want stands at a `Tap`, an identity that carries the tensor's
name: the published network's module path, a colon, and the tensor's role
(`layers.0.blocks.1.mlp.fc1:out`). Every convolution carries its published module's path too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.forms.merging import pays
from mobilemod.forms.mobile import MobileForm
from mobilemod.forms.mobile_ops import (
    Constant,
    FormOptions,
    MergedColumns,
    MobileDepthwise,
    MobileNorm,
    NamedConv2d,
    Tap,
    fold_norm,
    pointwise,
)
from mobilemod.networks import efficientmod as ref

Q_K_V = ("q", "k", "v")


def norm_of(module: str, norm: nn.LayerNorm, options: FormOptions) -> MobileNorm:
    """The primitives of a published norm, without its scale and shift."""
    return MobileNorm(module, norm.normalized_shape[0], norm.eps, options)


class MobilePatchEmbed(nn.Module):
    """Strided convolution and LayerNorm with its scale and shift, which stay here."""

    def __init__(self, module: str, embed: ref.PatchEmbed, options: FormOptions):
        super().__init__()
        conv = embed.proj
        self.tap_in = Tap(f"{module}.proj:in")
        name = f"{module}.proj"
        if options.merge_columns and pays(conv):
            self.proj: nn.Module = MergedColumns(name, conv)
        else:
            self.proj = NamedConv2d(
                name, "", conv.weight, conv.bias, stride=conv.stride, padding=conv.padding
            )
        self.tap_proj = Tap(f"{module}.proj:out")
        self.norm = norm_of(f"{module}.norm", embed.norm, options)
        self.scale = Constant(f"{module}.norm:scale", embed.norm.weight)
        self.shift = Constant(f"{module}.norm:shift", embed.norm.bias)
        self.tap_scaled = Tap(f"{module}.norm:scaled")
        self.tap_out = Tap(f"{module}:out")

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.tap_proj(self.proj(self.tap_in(x))))
        return self.tap_out(self.tap_scaled(y * self.scale()) + self.shift())


class MobileModulation(nn.Module):
    """x + mlp(norm(x)), `gamma_1` folded into `fc2`; (B, C, H, W) to the same."""

    def __init__(self, module: str, block: ref.ModulationBlock, options: FormOptions):
        super().__init__()
        mlp, context = block.mlp, block.mlp.context_layer
        name = f"{module}.mlp.context_layer"
        self.ratio = mlp.ratio
        self.norm = norm_of(f"{module}.norm", block.norm, options)
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
            context = self._repeat(context)
        product = self.tap_product(value * context)
        return self.tap_out(x + self.tap_fc2(self.fc2(product)))

    def _repeat(self, context: Tensor) -> Tensor:
        """(B, C, H, W) to (B, ratio * C, H, W), all copies."""
        pair = self.tap_repeat[0](torch.cat([context, context], 1))
        return self.tap_repeat[1](torch.cat([pair] * (self.ratio // 2), 1))


class MobileAttention(nn.Module):
    """Multi-head self-attention, the softmax scale folded into q, q, k and v as three layers."""

    def __init__(
        self, module: str, attention: ref.Attention, norm: nn.LayerNorm, options: FormOptions
    ):
        super().__init__()
        self.width = attention.width
        self.channels_last = options.channels_last
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
            heads(self._split(tap(conv(x))))
            for conv, tap, heads in zip(self.qkv, self.taps, self.tap_heads, strict=True)
        )
        if self.channels_last:
            # The small matrix on the right: that one is repacked in every product.
            weights = self._weights(torch.bmm(q, k.transpose(1, 2)))
            out = self.tap_context(torch.bmm(weights, v))
            out = out.unflatten(0, (b, ref.NUM_HEADS)).transpose(1, 2).reshape(b, h, w, -1)
            out = out.permute(0, 3, 1, 2)
        else:
            weights = self._weights(torch.bmm(q.transpose(1, 2), k))
            out = self.tap_context(torch.bmm(v, weights.transpose(1, 2)))
            out = out.reshape(b, ref.NUM_HEADS * self.width, h, w)
        return self.tap_proj(self.proj(self.tap_merged(out)))

    def _split(self, x: Tensor) -> Tensor:
        """(B, heads * width, H, W) to (B * heads, H * W, width), or (…, width, H * W)."""
        b, _, h, w = x.shape
        if not self.channels_last:
            return x.reshape(b * ref.NUM_HEADS, self.width, h * w)
        x = x.permute(0, 2, 3, 1).reshape(b, h * w, ref.NUM_HEADS, self.width)
        return x.transpose(1, 2).flatten(0, 1)

    def _weights(self, scores: Tensor) -> Tensor:
        return self.tap_softmax(torch.softmax(self.tap_scores(scores), -1))


class MobileAttentionBlock(nn.Module):
    """x + attn(norm1(x)), then x + mlp(norm2(x))."""

    def __init__(self, module: str, block: ref.AttentionBlock, options: FormOptions):
        super().__init__()
        self.norm1 = norm_of(f"{module}.norm1", block.norm1, options)
        self.attn = MobileAttention(f"{module}.attn", block.attn, block.norm1, options)
        self.tap_middle = Tap(f"{module}.attn:residual")
        self.norm2 = norm_of(f"{module}.norm2", block.norm2, options)
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


class EfficientModForm(MobileForm):
    """The whole network; its layers are the stem, the blocks and the downsamplings."""

    def __init__(self, model: ref.EfficientMod, options: FormOptions):
        super().__init__(model, options)
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
        self.norm = norm_of("norm", model.norm, options)
        self.tap_pooled = Tap("norm:pooled")
        self.head = pointwise("head", *fold_norm(model.head, model.norm))
        self.tap_head = Tap("head:out")

    def finish(self, x: Tensor) -> Tensor:
        x = self.tap_pooled(self.norm(x).mean((2, 3), keepdim=True))
        return self.tap_head(self.head(x)).flatten(1)
