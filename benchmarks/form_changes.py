"""Other exact ways to write the network, for the table of what each way costs.

Each changes a built `MobileForm` in place; the function that it computes stays the same.
"""

from __future__ import annotations

from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.forms import mobile_ops
from mobilemod.forms.efficientmod import MobileModulation, MobilePatchEmbed
from mobilemod.forms.mobile import MobileForm
from mobilemod.forms.mobile_ops import (
    MergedColumns,
    MobileDepthwise,
    MobileNorm,
    NamedConv2d,
    Tap,
    pointwise,
)
from mobilemod.forms.splits import Piece

ALL = (0, 1, 2, 3, 4, 5, 6)
ROWS = (Piece((2, 3, 4), ALL), Piece((0, 6), ALL), Piece((1, 5), ALL))


def split_by_rows(form: MobileForm) -> None:
    """The 7x7 depthwise kernel in three pieces of whole rows."""
    for block in _blocks(form, MobileModulation):
        module, kernel = block.depthwise.module, block.depthwise.kernel()
        bias = block.depthwise.convs[0].bias
        whole = NamedConv2d(module, "", kernel, bias, padding=3, groups=len(kernel))
        with mock.patch.object(mobile_ops, "split", lambda *_: ROWS):
            block.depthwise = MobileDepthwise(module, whole, form.options)


class FoldedRepeat(MobileModulation):
    """`g` makes all copies of its output, instead of a concatenation."""

    def _repeat(self, context: Tensor) -> Tensor:
        return context


def fold_repeat(form: MobileForm) -> None:
    """The modulation's repeat as a wider `g`."""
    for block in _blocks(form, MobileModulation):
        if block.ratio > 1:
            g = block.g
            weight = g.weight.detach()[:, :, 0, 0].repeat(block.ratio, 1)
            block.g = pointwise(g.module, weight, g.bias.detach().repeat(block.ratio))
            block.__class__ = FoldedRepeat


class OneProduct(MobileModulation):
    """`f` and `fc1` as one convolution, whose result is cut in two."""

    def forward(self, x: Tensor) -> Tensor:
        both = self.tap_both(self.both(self.norm(x)))
        width = self.g.weight.shape[1]
        f, value = self.tap_f(both[:, :width]), self.tap_fc1(both[:, width:])
        context = self.tap_g(self.g(self.tap_gelu(F.gelu(self.depthwise(f)))))
        if self.ratio > 1:
            value = self.tap_value(F.gelu(value))
            context = self._repeat(context)
        return self.tap_out(x + self.tap_fc2(self.fc2(self.tap_product(value * context))))


def one_product(form: MobileForm) -> None:
    """`f` and `fc1`, which read the same tensor, as one matrix product with one int8 range."""
    for block in _blocks(form, MobileModulation):
        weights = [c.weight.detach()[:, :, 0, 0] for c in (block.f, block.fc1)]
        biases = [c.bias.detach() for c in (block.f, block.fc1)]
        block.both = pointwise(block.f.module, torch.cat(weights), torch.cat(biases), "both")
        name = f"{block.f.module}.both:out"
        block.tap_both = Tap(name)
        block.tap_f, block.tap_fc1 = (
            Tap(t.tensor, source=name) for t in (block.tap_f, block.tap_fc1)
        )
        del block.f, block.fc1
        block.__class__ = OneProduct


class RotatedNorm(MobileNorm):
    """LayerNorm of a tensor in the rotated basis, where the last channel is the mean."""

    def forward(self, x: Tensor) -> Tensor:
        variance = self.tap_variance(self.variance(self.tap_square(x * x)))
        return self.tap_out(x * self.tap_rstd(torch.rsqrt(variance)))


class RotatedPatchEmbed(MobilePatchEmbed):
    """Scale, shift and the change of basis as one convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return self.tap_out(self.rotation(self.norm(self.tap_proj(self.proj(self.tap_in(x))))))


def rotate(form: MobileForm) -> None:
    """LayerNorm without its mean: the residual stream in a basis that has the mean as one channel.

    The Householder reflection that maps (1, …, 1) / sqrt(C) to the last axis is folded into every
    linear around the stream; orthogonal, so variances stay. Source: SliceGPT (Ashkboos et al.,
    2024), which turns LayerNorm into RMSNorm so. The folded weights are others than the published
    ones, so their int8 values are too.
    """
    previous: Tensor | None = None
    for layer in form.layers:
        if isinstance(layer, MobilePatchEmbed):
            basis = _reflection(layer.scale.value.shape[1])
            conv = layer.proj.conv if isinstance(layer.proj, MergedColumns) else layer.proj
            if previous is not None:
                conv.weight.copy_(torch.einsum("oihw,ij->ojhw", conv.weight, previous))
            _rotate_outputs(conv, basis)
            inner = basis.clone()
            inner[:, -1] = 0
            weight = basis @ (layer.scale.value.flatten()[:, None] * inner)
            module = layer.norm.tap_out.tensor.partition(":")[0]
            layer.rotation = pointwise(module, weight, basis @ layer.shift.value.flatten(), "basis")
            del layer.scale, layer.shift
            layer.__class__ = RotatedPatchEmbed
            previous = basis
        elif isinstance(layer, MobileModulation):
            _rotate_inputs(previous, layer.f, layer.fc1)
            _rotate_outputs(layer.fc2, previous)
        else:
            _rotate_inputs(previous, *layer.attn.qkv, layer.fc1)
            for conv in (layer.attn.proj, layer.fc2):
                _rotate_outputs(conv, previous)
    _rotate_inputs(previous, form.head)
    for norm in [m for m in form.modules() if isinstance(m, MobileNorm)]:
        norm.variance.weight[:, -1] = 0
        del norm.mean
        norm.__class__ = RotatedNorm


def _reflection(channels: int) -> Tensor:
    v = torch.full((channels,), channels**-0.5, dtype=torch.float64)
    v[-1] -= 1
    return (torch.eye(channels, dtype=torch.float64) - 2 * torch.outer(v, v) / (v @ v)).float()


def _rotate_inputs(basis: Tensor, *convs: NamedConv2d) -> None:
    """The linears after a norm: they read the rotated tensor, and not the mean."""
    for conv in convs:
        weight = conv.weight[:, :, 0, 0] @ basis
        weight[:, -1] = 0
        conv.weight.copy_(weight[:, :, None, None])


def _rotate_outputs(conv: NamedConv2d, basis: Tensor) -> None:
    conv.weight.copy_(torch.einsum("po,oihw->pihw", basis, conv.weight))
    conv.bias.copy_(basis @ conv.bias)


def _blocks(form: MobileForm, kind: type[nn.Module]) -> list:
    return [layer for layer in form.layers if isinstance(layer, kind)]
