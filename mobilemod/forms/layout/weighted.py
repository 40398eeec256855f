"""Convolutions, linears and norms: what has weights works on images, channels first."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mobilemod.forms.graph import Node
from mobilemod.forms.layout.axes import Axis, Dim, View, size_of
from mobilemod.forms.layout.builder import Builder, Unsupported
from mobilemod.forms.layout.elementwise import with_constant
from mobilemod.forms.layout.handlers import handles, is_view, pair
from mobilemod.forms.layout.views import pixel_shuffle
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import Affine, Call, ChannelNorm


def pointwise(
    b: Builder, x: View, dim: int, weight: Tensor, bias: Tensor | None, lead: Dim = ()
) -> View:
    """A linear layer over dimension `dim`, as a 1x1 convolution; weight (out, in).

    lead: axes for each value of which the layer is another; weight (values x out, in) then.
    """
    x = b.image(x, (*lead, *x.dims[dim]))
    groups = size_of(lead)
    conv = NamedConv2d(b.path, "", weight[:, :, None, None].contiguous(), bias, groups=groups)
    node = b.add(conv, [x.node], (x.node.shape[0], len(weight), *x.node.shape[2:]))
    new = (Axis(len(weight) // groups),) if len(weight) > groups else ()
    dims = tuple(new if i == dim % len(x.axes) else d for i, d in enumerate(x.axes))
    return View(node, (x.node_axes[0], (*lead, *new), *x.node_axes[2:]), dims)


@handles("linear.default")
def linear(b: Builder, x: View, weight: Tensor, bias: Tensor | None = None) -> View:
    """A linear layer over the last dimension."""
    if not is_view(x) or is_view(weight) or is_view(bias):
        raise Unsupported("a linear layer whose weight depends on the image")
    return pointwise(b, x, len(x.axes) - 1, weight, bias)


@handles("addmm.default")
def addmm(b: Builder, bias: Any, x: Any, weight: Any, *, beta: float = 1, alpha: float = 1) -> View:
    """beta * bias + alpha * x @ weight."""
    if not is_view(x) or is_view(weight) or is_view(bias) or bias.ndim != 1:
        raise Unsupported("a linear layer whose weight or bias depends on the image")
    return pointwise(b, x, len(x.axes) - 1, weight.t() * alpha, bias.expand(weight.shape[1]) * beta)


@handles("conv2d.default", "conv2d.padding", "convolution.default")
def conv2d(
    b: Builder, x: View, weight: Tensor, bias: Tensor | None = None, stride: Any = 1,
    padding: Any = 0, dilation: Any = 1, *rest: Any,
) -> View:  # fmt: skip
    """A convolution; (B, C, H, W) to the same."""
    groups = rest[-1] if rest else 1
    if not is_view(x) or is_view(weight) or is_view(bias):
        raise Unsupported("a convolution whose weight depends on the image")
    if weight.ndim != 4:
        raise Unsupported(f"a convolution of {weight.ndim - 2} dimensions")
    stride, dilation = pair(stride), pair(dilation)
    kernel = tuple(weight.shape[2:])
    if len(rest) == 3 and (rest[0] or any(rest[1])):
        plain = groups == 1 and dilation == (1, 1) and not any((*padding, *rest[1]))
        if not plain or not kernel == stride == (kernel[0],) * 2:
            raise Unsupported("a transposed convolution of other than square patches side by side")
        return _patches(b, x, weight, bias)
    if padding == "valid":
        padding = 0
    x = b.rearranged(x, x.dims)
    node, before = x.node, None
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        before = [t // 2 for t in total]
        after = [t - s for t, s in zip(total, before, strict=True)]
        if before != after:
            amounts = [before[1], after[1], before[0], after[0]]
            node = b.call("constant_pad_nd.default", [node], (amounts, 0.0), "moved")
            before = [0, 0]
        padding = before
    node, padding = _padded(node, pair(padding))
    conv = NamedConv2d(b.path, "", weight, bias, stride=stride, padding=padding,
                       dilation=dilation, groups=groups)  # fmt: skip
    with torch.no_grad():
        shape = torch.nn.functional.conv2d(
            torch.empty(node.shape, device="meta"), weight.to("meta"), None, conv.stride,
            conv.padding, conv.dilation, groups,
        ).shape  # fmt: skip
    out = b.add(conv, [node], shape)
    dims = (x.axes[0], *((Axis(n),) if n > 1 else () for n in shape[1:]))
    return View(out, dims, dims)


def _padded(node: Node, padding: tuple[int, int]) -> tuple[Node, tuple[int, int]]:
    """What a convolution reads, and its padding: as many zeros on either side become its own."""
    if not isinstance(node.op, Call) or node.op.name != "constant_pad_nd.default":
        return node, padding
    _, pads, value = node.op.args
    left, right, above, below = (*pads, 0, 0, 0, 0)[:4]
    if value != 0 or any(pads[4:]) or not left == right >= 0 or not above == below >= 0:
        return node, padding
    return node.inputs[0], (padding[0] + above, padding[1] + left)


def _patches(b: Builder, x: View, weight: Tensor, bias: Tensor | None) -> View:
    """A transposed convolution of square patches side by side, weight (in, out, k, k): a 1x1 one
    that gives all pixels of a patch, then these in their places."""
    side = weight.shape[2]
    rows = weight.permute(1, 2, 3, 0).flatten(0, 2)
    own = None if bias is None else bias.repeat_interleave(side * side)
    return pixel_shuffle(b, pointwise(b, x, 1, rows, own), side)


@handles("conv1d.default", "conv1d.padding")
def conv1d(b: Builder, x: View, weight: Tensor, bias: Any = None, stride: Any = 1,
           padding: Any = 0, dilation: Any = 1, groups: int = 1) -> View:  # fmt: skip
    """A convolution along one dimension, as one of an image of height N and width 1."""
    y = x.seen_as((*x.axes, ()))
    if is_view(weight):
        raise Unsupported("a convolution whose weight depends on the image")
    if not isinstance(padding, str):
        padding = (pair(padding)[0], 0)
    stride, dilation = (pair(stride)[0], 1), (pair(dilation)[0], 1)
    y = conv2d(b, y, weight[..., None], bias, stride, padding, dilation, groups)
    return y.seen_as(y.axes[:3])


@handles("batch_norm.default", "_native_batch_norm_legit_no_training.default")
def batch_norm(b: Builder, x: View, weight: Any, bias: Any, mean: Any, variance: Any,
               *rest: Any) -> Any:  # fmt: skip
    """A batch norm by stored statistics: a scale and shift per channel."""
    legit = len(rest) == 2
    eps = rest[1] if legit else rest[2]
    if mean is None:
        raise Unsupported("a batch norm without stored statistics")
    scale = (1.0 if weight is None else weight.double()) / torch.sqrt(variance.double() + eps)
    shift = (0.0 if bias is None else bias.double()) - mean.double() * scale
    x = b.image(x, x.dims[1])
    out = View(b.add(Affine(scale, shift), [x.node], x.node.shape), x.node_axes, x.axes)
    return [out, None, None] if legit else out


@handles("layer_norm.default", "native_layer_norm.default")
def layer_norm(b: Builder, x: View, shape: Any, weight: Any = None, bias: Any = None,
               eps: float = 1e-5, *rest: Any) -> View:  # fmt: skip
    """A norm over the last dimension, as one over an image's channels."""
    if len(shape) == 1:
        return _normed(b, x, x.dims[-1], eps, 0, weight, bias)
    if len(shape) == len(x.axes) - 1 == 3:
        y = _normed(b, x, x.dims[1], eps, 1)
        y = y if weight is None else with_constant(b, y, weight, "mul.Tensor")
        return y if bias is None else with_constant(b, y, bias, "add.Tensor")
    raise Unsupported("a layer norm over several dimensions")


@handles("instance_norm.default")
def instance_norm(b: Builder, x: View, weight: Any, bias: Any, mean: Any, variance: Any,
                  own: bool, momentum: float, eps: float, *rest: Any) -> View:  # fmt: skip
    """A norm over the positions of each channel."""
    if not own:
        raise Unsupported("an instance norm by stored statistics")
    return _normed(b, x, x.dims[1], eps, x.shape[1], weight, bias)


@handles("group_norm.default")
def group_norm(b: Builder, x: View, groups: int, weight: Any = None, bias: Any = None,
               eps: float = 1e-5, *rest: Any) -> View:  # fmt: skip
    """A norm of an image over positions and the channels of each group."""
    return _normed(b, x, x.dims[1], eps, groups, weight, bias)


def _normed(
    b: Builder, x: View, features: Dim, eps: float, groups: int, weight: Any = None,
    bias: Any = None,
) -> View:  # fmt: skip
    """A norm over features, then scale and shift per channel, as far as there are any."""
    x = b.image(x, features)
    node = b.add(ChannelNorm(eps, groups), [x.node], x.node.shape)
    if weight is not None or bias is not None:
        scale = torch.ones(node.shape[1]) if weight is None else weight
        node = b.add(Affine(scale, bias), [node], node.shape)
    return View(node, x.node_axes, x.axes)
