"""Means, sums and extremes over dimensions; pooling and resizing of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mobilemod.forms.layout.axes import Axis, View, size_of
from mobilemod.forms.layout.builder import Builder, Unsupported
from mobilemod.forms.layout.elementwise import scaled, square, unary
from mobilemod.forms.layout.handlers import dim_of, handles, pair
from mobilemod.forms.layout.moves import pad
from mobilemod.forms.ops import ChannelMean

SPATIAL = [2, 3]
INSIDE = ([0, 0], False, False)  # no padding, so none that counts: what delegates ask for


def reduced(b: Builder, x: View, dims: Sequence[int], keep: bool, name: str) -> View:
    """One torch op over whole dimensions."""
    chosen = [dim_of(x, d) for d in dims]
    gone = {a for d in chosen for a in x.dims[d]}
    where = [i for i, d in enumerate(x.node_dims) if d and set(d) <= gone]
    covered = {a for i in where for a in x.node_dims[i]}
    if covered != gone - x.missing:
        whole = tuple(a for i, d in enumerate(x.dims) if i not in chosen for a in d)
        rest = [a for a in x.flat if a in gone and a not in x.missing]
        others = tuple(a for a in whole if a is not b.batch and a not in x.missing)
        x = b.rearranged(x, ((b.batch,), others, tuple(rest), ()))
        where = [2]
    if x.missing & gone:
        if name != "mean.dim":
            raise Unsupported("a reduction over repeated values")
    node = x.node
    if name == "mean.dim" and where == [1] and len(x.node_dims) == 4:
        node = b.add(ChannelMean(), [node], (node.shape[0], 1, *node.shape[2:]), "mean")
    elif where:
        # Empty dimensions beside those of an image are taken along: delegates know (2, 3).
        if len(x.node_dims) == 4 and set(where) < set(SPATIAL):
            where = SPATIAL if all(i in where or not x.node_dims[i] for i in SPATIAL) else where
        if name == "mean.dim" and len(x.node_dims) == 4 and where in ([2], [3]):
            # Delegates know means over both dimensions of an image, and windows of any shape.
            window = [n if i in where else 1 for i, n in enumerate(node.shape)][2:]
            node = b.call("avg_pool2d.default", [node], (window, window, *INSIDE), "mean")
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
    dims = range(len(x.axes)) if not dims and dims != 0 else [dims] if isinstance(dims, int) else dims  # noqa: E501
    return reduced(b, x, dims, keep, "mean.dim")


@handles("sum.dim_IntList")
def sum_(b: Builder, x: View, dims: Any, keep: bool = False, **options: Any) -> View:
    """The sum, as a mean times the number of values: delegates know means."""
    dims = [dims] if isinstance(dims, int) else dims
    count = size_of(a for d in dims for a in x.dims[dim_of(x, d)])
    return scaled(b, reduced(b, x, dims, keep, "mean.dim"), float(count))


@handles("amax.default")
def amax(b: Builder, x: View, dims: Any = (), keep: bool = False) -> View:
    """The largest value."""
    return reduced(b, x, [dims] if isinstance(dims, int) else dims, keep, "amax.default")


@handles("amin.default")
def amin(b: Builder, x: View, dims: Any = (), keep: bool = False) -> View:
    """The smallest value."""
    return reduced(b, x, [dims] if isinstance(dims, int) else dims, keep, "amin.default")


@handles("linalg_vector_norm.default", "norm.ScalarOpt_dim")
def vector_norm(b: Builder, x: View, order: float = 2, dims: Any = None, keep: bool = False, **options: Any) -> View:  # noqa: E501
    """The Euclidean length along dimensions."""
    if order != 2:
        raise Unsupported(f"a norm of order {order}")
    dims = range(len(x.axes)) if dims is None else [dims] if isinstance(dims, int) else dims
    total = sum_(b, square(b, x), list(dims), keep)
    return unary(b, total, "sqrt.default")


@handles("adaptive_avg_pool2d.default", "_adaptive_avg_pool2d.default")
def adaptive_pool(b: Builder, x: View, size: Any) -> View:
    """Average pooling to a size that divides the image's."""
    out = pair(size)
    shape = x.shape[2:]
    if out == (1, 1):
        return reduced(b, x, (2, 3), True, "mean.dim")
    if shape == out:
        return x
    if any(n % k for n, k in zip(shape, out, strict=True)):
        raise Unsupported(f"adaptive pooling of {shape} to {out}")
    step = [n // k for n, k in zip(shape, out, strict=True)]
    return avg_pool2d(b, x, step)


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


@handles("max_pool2d.default")
def max_pool2d(b: Builder, x: View, *args: Any) -> View:
    """Maximum pooling."""
    return _on_image(b, x, "max_pool2d.default", *args, role="maximum")


@handles("upsample_bilinear2d.vec", "upsample_nearest2d.vec")
def upsample(b: Builder, x: View, size: Any, *rest: Any, name: str = "upsample_bilinear2d.vec") -> View:  # noqa: E501
    """A resize of (B, C, H, W)."""
    factors = rest[-1]
    if size is None:
        size = [int(n * f) for n, f in zip(x.shape[2:], factors, strict=True)]
    if list(size) == list(x.shape[2:]) and not (rest[:-1] and rest[0]):
        return x
    return _on_image(b, x, name, list(size), *rest[:-1], None, role="upsample")


@handles("upsample_nearest2d.vec")
def nearest(b: Builder, x: View, size: Any, factors: Any) -> View:
    """A resize by the nearest pixel."""
    return upsample(b, x, size, factors, name="upsample_nearest2d.vec")
