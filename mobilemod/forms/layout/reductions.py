"""Means, sums and extremes over dimensions; pooling and resizing of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from mobilemod.forms.layout.axes import Axis, View, size_of
from mobilemod.forms.layout.builder import Builder, Mixed, Unsupported
from mobilemod.forms.layout.elementwise import binary, scaled, square, unary
from mobilemod.forms.layout.handlers import dim_of, handles, pair
from mobilemod.forms.layout.joining import pad
from mobilemod.forms.layout.weighted import pointwise
from mobilemod.forms.ops import ChannelMean

SPATIAL = [2, 3]
INSIDE = ([0, 0], False, False)  # no padding, so none that counts: what delegates ask for


def reduced(b: Builder, x: View, dims: Sequence[int], keep: bool, name: str) -> View:
    """One torch op over whole dimensions."""
    chosen = [dim_of(x, d) for d in dims]
    if any(b.batch in x.dims[d] for d in chosen):
        raise Mixed("a reduction over the batch")
    gone = {a for d in chosen for a in x.dims[d]}
    where = [i for i, d in enumerate(x.node_dims) if d and set(d) <= gone]
    covered = {a for i in where for a in x.node_dims[i]}
    # A largest value is delegated as one of a window.
    window = name == "amax.default"
    on_image = len(x.node_dims) == 4 and set(where) <= set(SPATIAL)
    if covered != gone - x.missing or (window and where and not on_image):
        whole = tuple(a for i, d in enumerate(x.dims) if i not in chosen for a in d)
        rest = [a for a in x.flat if a in gone and a not in x.missing]
        others = tuple(a for a in whole if a is not b.batch and a not in x.missing)
        x = b.rearranged(x, ((b.batch,), others, tuple(rest), ()))
        where = [2]
    if x.missing & gone and name != "mean.dim":
        raise Unsupported("a reduction over repeated values")
    node = x.node
    if name == "mean.dim" and where == [1] and len(x.node_dims) == 4:
        node = b.add(ChannelMean(), [node], (node.shape[0], 1, *node.shape[2:]), "mean")
    elif where:
        # Empty dimensions beside those of an image are taken along: delegates know (2, 3).
        if len(x.node_dims) == 4 and set(where) < set(SPATIAL):
            where = SPATIAL if all(i in where or not x.node_dims[i] for i in SPATIAL) else where
        size = [n if i in where else 1 for i, n in enumerate(node.shape)][2:]
        if window:
            node = b.call("max_pool2d.default", [node], (size, size), "maximum")
        elif name == "mean.dim" and len(x.node_dims) == 4 and where in ([2], [3]):
            # Delegates know means over both dimensions of an image, and windows of any shape.
            node = b.call("avg_pool2d.default", [node], (size, size, *INSIDE), "mean")
        else:
            role = "pooled" if where == SPATIAL and name == "mean.dim" else ""
            node = b.call(name, [node], (where, True), role)
    node_dims = tuple(() if i in where else d for i, d in enumerate(x.node_dims))
    left = [() if i in chosen else d for i, d in enumerate(x.dims)]
    if not keep:
        left = [d for i, d in enumerate(left) if i not in chosen]
    return View(node, node_dims, tuple(left))


@handles("mean.dim")
def mean(b: Builder, x: View, dims: Any, keep: bool = False, **options: Any) -> View:
    """The mean over dimensions."""
    return reduced(b, x, _listed(x, dims), keep, "mean.dim")


@handles("sum.dim_IntList")
def sum_(b: Builder, x: View, dims: Any, keep: bool = False, **options: Any) -> View:
    """The sum, as a mean times the number of values: delegates know means."""
    dims = _listed(x, dims)
    count = size_of(a for d in dims for a in x.dims[dim_of(x, d)])
    return scaled(b, reduced(b, x, dims, keep, "mean.dim"), float(count))


@handles("amax.default")
def amax(b: Builder, x: View, dims: Any = (), keep: bool = False) -> View:
    """The largest value."""
    return reduced(b, x, _listed(x, dims), keep, "amax.default")


@handles("amin.default")
def amin(b: Builder, x: View, dims: Any = (), keep: bool = False) -> View:
    """The smallest value."""
    return reduced(b, x, _listed(x, dims), keep, "amin.default")


@handles("max.dim")
def max_(b: Builder, x: View, dim: int, keep: bool = False) -> list[View]:
    """The largest value and where it is."""
    return [amax(b, x, dim, keep), _place(b, x, dim, keep, "argmax.default")]


@handles("min.dim")
def min_(b: Builder, x: View, dim: int, keep: bool = False) -> list[View]:
    """The smallest value and where it is."""
    return [amin(b, x, dim, keep), _place(b, x, dim, keep, "argmin.default")]


def _place(b: Builder, x: View, dim: int, keep: bool, name: str) -> View:
    node = b.call(name, [b.plain(x).node], (dim, keep), "other")
    dims = list(x.axes)
    dims[dim : dim % len(dims) + 1] = [()] if keep else []
    return View(node, tuple(dims), tuple(dims))


@handles("var.correction", "var.dim")
def var(b: Builder, x: View, dims: Any = None, unbiased: bool = True, keep: bool = False, *,
        correction: float | None = None, keepdim: bool = False) -> View:  # fmt: skip
    """The mean square of what is left without the mean, times n / (n - correction)."""
    dims, keep = _listed(x, dims), keep or keepdim
    correction = float(unbiased) if correction is None else float(correction)
    count = size_of(a for d in dims for a in x.dims[dim_of(x, d)])
    inner = binary(b, x, reduced(b, x, dims, True, "mean.dim"), "sub.Tensor")
    mean_square = reduced(b, square(b, inner), dims, keep, "mean.dim")
    return scaled(b, mean_square, count / (count - correction))


@handles("std.correction", "std.dim")
def std(b: Builder, x: View, *args: Any, **options: Any) -> View:
    """The root of the variance."""
    return unary(b, var(b, x, *args, **options), "sqrt.default")


@handles("var_mean.correction", "var_mean.dim")
def var_mean(b: Builder, x: View, dims: Any = None, *args: Any, **options: Any) -> list[View]:
    """The variance and the mean."""
    keep = options.get("keepdim", False) or any(args[1:])
    mean_ = reduced(b, x, _listed(x, dims), keep, "mean.dim")
    return [var(b, x, dims, *args, **options), mean_]


def _listed(x: View, dims: Any) -> Sequence[int]:
    """Dimensions as a list: all where none are given."""
    if isinstance(dims, int):
        return [dims]
    return list(dims) if dims else range(len(x.axes))


@handles("linalg_vector_norm.default", "norm.ScalarOpt_dim")
def vector_norm(
    b: Builder, x: View, order: float = 2, dims: Any = None, keep: bool = False, **options: Any
) -> View:
    """The Euclidean length along dimensions."""
    if order != 2:
        raise Unsupported(f"a norm of order {order}")
    total = sum_(b, square(b, x), dims, keep)
    return unary(b, total, "sqrt.default")


@handles("adaptive_avg_pool2d.default", "_adaptive_avg_pool2d.default")
def adaptive_pool(b: Builder, x: View, size: Any) -> View:
    """Average pooling: by windows that are alike, or, of sizes without a step, by a matrix for rows
    and one for columns."""
    out, shape = pair(size), x.shape[2:]
    if out == (1, 1):
        return reduced(b, x, (2, 3), True, "mean.dim")
    step = _step(x, out)
    if step == [1, 1]:
        return x
    if step:
        return avg_pool2d(b, x, step)
    for dim, (n, k) in enumerate(zip(shape, out, strict=True), 2):
        if n != k:
            x = pointwise(b, x, dim, F.adaptive_avg_pool1d(torch.eye(n), k).t(), None)
    return x


def _step(x: View, out: tuple[int, int]) -> list[int]:
    """From one window to the next, where all are alike."""
    sides = list(zip(x.shape[2:], out, strict=True))
    return [] if any(n % k for n, k in sides) else [n // k for n, k in sides]


@handles("adaptive_avg_pool1d.default")
def adaptive_pool1d(b: Builder, x: View, size: Any) -> View:
    """The mean over the last dimension."""
    if list(size) != [1]:
        raise Unsupported("adaptive pooling along one dimension")
    return reduced(b, x, (2,), True, "mean.dim")


def _on_image(b: Builder, x: View, name: str, *args: Any, role: str = "") -> View:
    """One torch op on (B, C, H, W) that gives another height and width."""
    x = b.rearranged(x, x.dims)
    node = b.call(name, [x.node], args, role)
    dims = (*x.axes[:2], *((Axis(n),) if n > 1 else () for n in node.shape[2:]))
    return View(node, dims, dims)


@handles("avg_pool2d.default")
def avg_pool2d(
    b: Builder, x: View, kernel: Any, stride: Any = (), padding: Any = 0, ceil: bool = False,
    padded: bool = True, divisor: int | None = None,
) -> View:  # fmt: skip
    """Average pooling; zeros that count are padded before, which delegates want."""
    kernel, padding = pair(kernel), pair(padding)
    if _one_window(x, kernel, padding):
        y = reduced(b, x, SPATIAL, True, "mean.dim")
        return y if divisor is None else scaled(b, y, x.shape[2] * x.shape[3] / divisor)
    stride = pair(stride or kernel)
    count = kernel[0] * kernel[1]
    spans = [(n + 2 * p - k, s) for n, p, k, s in
             zip(x.shape[2:], padding, kernel, stride, strict=True)]  # fmt: skip
    if ceil and any(span % step for span, step in spans):
        return _on_image(b, x, "avg_pool2d.default", kernel, stride, padding, ceil, padded,
                         divisor, role="pool")  # fmt: skip
    if any(padding) and (padded or divisor):
        x = pad(b, x, [padding[1], padding[1], padding[0], padding[0]])
        padding = (0, 0)
    y = _on_image(b, x, "avg_pool2d.default", kernel, stride, padding, False, False, role="pool")
    return y if divisor is None else scaled(b, y, count / divisor)


def _one_window(x: View, kernel: Any, padding: Any) -> bool:
    """Whether one window takes the whole image: some are written larger than that, and rounded
    up, which a runtime would really fill."""
    return not any(padding) and all(k >= n for k, n in zip(kernel, x.shape[2:], strict=True))


@handles("adaptive_max_pool2d.default")
def adaptive_max_pool(b: Builder, x: View, size: Any) -> list[View | None]:
    """Maximum pooling to a size that divides the image's, without the places."""
    if pair(size) == (1, 1):
        return [amax(b, x, (2, 3), True), None]
    step = _step(x, pair(size))
    if not step:
        raise Unsupported("adaptive maximum pooling by windows of several sizes")
    return [_on_image(b, x, "max_pool2d.default", step, step, role="maximum"), None]


@handles("max_pool2d.default")
def max_pool2d(
    b: Builder, x: View, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1,
    ceil: bool = False,
) -> View:  # fmt: skip
    """Maximum pooling."""
    if pair(dilation) == (1, 1) and _one_window(x, pair(kernel), pair(padding)):
        return amax(b, x, SPATIAL, True)
    return _on_image(b, x, "max_pool2d.default", kernel, stride or kernel, padding, dilation, ceil,
                     role="maximum")  # fmt: skip


def upsample(b: Builder, x: View, size: Any, *rest: Any, name: str) -> View:
    """A resize of (B, C, H, W)."""
    *corners, factors = rest
    if size is None:
        sizes = [n * f for n, f in zip(x.shape[2:], factors, strict=True)]
        if not all(float(n).is_integer() for n in sizes):
            # Places are then counted by the factors, not by the sizes.
            return _on_image(b, x, name, None, *rest, role="upsample")
        size = [int(n) for n in sizes]
    if list(size) == list(x.shape[2:]):
        return x
    return _on_image(b, x, name, list(size), *corners, None, role="upsample")


@handles("upsample_bilinear2d.vec")
def bilinear(b: Builder, x: View, *args: Any) -> View:
    """A resize by the four pixels around."""
    return upsample(b, x, *args, name="upsample_bilinear2d.vec")


@handles("upsample_bicubic2d.vec")
def bicubic(b: Builder, x: View, *args: Any) -> View:
    """A resize by the sixteen pixels around."""
    return upsample(b, x, *args, name="upsample_bicubic2d.vec")


@handles("upsample_nearest2d.vec")
def nearest(b: Builder, x: View, size: Any, factors: Any) -> View:
    """A resize by the nearest pixel."""
    return upsample(b, x, size, factors, name="upsample_nearest2d.vec")
