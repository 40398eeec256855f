"""Views and permutes: dimensions seen otherwise, without moving a value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from mobilemod.forms.layout.axes import Axis, View, refine, settled
from mobilemod.forms.layout.builder import Builder, Mixed, Unsupported
from mobilemod.forms.layout.handlers import Value, dim_of, handles


@handles(
    "alias.default", "clone.default", "contiguous.default", "detach.default", "dropout.default",
    "native_dropout.default", "lift_fresh_copy.default", "feature_dropout.default",
    "alpha_dropout.default", "_assert_tensor_metadata.default",
)  # fmt: skip
def same(b: Builder, x: Value, *args: Any, **options: Any) -> Value:
    """What changes no value."""
    return x


@handles(
    "_to_copy.default", "to.dtype", "to.device", "to.dtype_layout", "to.other", "type_as.default"
)
def converted(b: Builder, x: View, *args: Any, **options: Any) -> View:
    """The same values; floats stay as exact as they are."""
    given = [getattr(a, "dtype", a) for a in args if not isinstance(a, View)]
    wanted = next((d for d in given if isinstance(d, torch.dtype)), options.get("dtype"))
    own = x.node.dtype
    if wanted not in (None, own) and not (wanted.is_floating_point and own.is_floating_point):
        raise Unsupported(f"values of {str(own)[6:]} as {str(wanted)[6:]}")
    return x


@handles("permute.default")
def permute(b: Builder, x: View, order: Sequence[int]) -> View:
    """Dimensions in another order."""
    return x.seen_as(x.axes[i] for i in order)


@handles("transpose.int", "swapaxes.default")
def transpose(b: Builder, x: View, first: int, second: int) -> View:
    """Two dimensions exchanged."""
    dims = list(x.axes)
    dims[first], dims[second] = dims[second], dims[first]
    return x.seen_as(dims)


@handles("t.default", "numpy_T.default")
def t(b: Builder, x: View) -> View:
    """All dimensions in reverse."""
    return x.seen_as(reversed(x.axes))


@handles("movedim.int")
def movedim(b: Builder, x: View, source: int, target: int) -> View:
    """One dimension elsewhere."""
    dims = list(x.axes)
    dims.insert(target % len(dims), dims.pop(source))
    return x.seen_as(dims)


@handles("view.default", "reshape.default", "_unsafe_view.default", "_reshape_copy.default")
def view(b: Builder, x: View, shape: Sequence[int]) -> View:
    """Other dimensions over the same order of values."""
    known = math.prod(n for n in shape if n != -1)
    full = [math.prod(x.shape) // known if n == -1 else n for n in shape]
    dims = refine(x.flat, full)
    if dims is None:
        if not x.axes or x.dims[0] != (b.batch,) or full[0] != x.shape[0]:
            raise Mixed("a reshape over the batch")
        node = b.call("reshape.default", [b.plain(x).node], ([-1, *full[1:]],), "moved")
        new = (x.axes[0], *((Axis(n),) if n > 1 else () for n in full[1:]))
        return View(node, new, new)
    return x.seen_as(dims)


@handles("flatten.using_ints")
def flatten(b: Builder, x: View, start: int = 0, end: int = -1) -> View:
    """Several dimensions as one."""
    start, end = dim_of(x, start), dim_of(x, end)
    merged = tuple(a for dim in x.dims[start : end + 1] for a in dim)
    return x.seen_as((*x.axes[:start], merged, *x.axes[end + 1 :]))


@handles("unflatten.int")
def unflatten(b: Builder, x: View, dim: int, sizes: Sequence[int]) -> View:
    """One dimension as several."""
    dim = dim_of(x, dim)
    shape = x.shape
    return view(b, x, [*shape[:dim], *sizes, *shape[dim + 1 :]])


@handles("unsqueeze.default")
def unsqueeze(b: Builder, x: View, dim: int) -> View:
    """A dimension of size 1."""
    dims = list(x.axes)
    dims.insert(dim % (len(dims) + 1), ())
    return x.seen_as(dims)


@handles("squeeze.default", "squeeze.dim", "squeeze.dims")
def squeeze(b: Builder, x: View, dims: int | Sequence[int] | None = None) -> View:
    """Without dimensions of size 1."""
    chosen = range(len(x.axes)) if dims is None else [dims] if isinstance(dims, int) else dims
    drop = {dim_of(x, d) for d in chosen}
    return x.seen_as(d for i, d in enumerate(x.axes) if i not in drop or x.shape[i] != 1)


@handles("expand.default", "broadcast_to.default")
def expand(b: Builder, x: View, shape: Sequence[int], implicit: bool = False) -> View:
    """Values repeated along dimensions of size 1, without a copy."""
    dims = [()] * (len(shape) - len(x.axes)) + list(x.axes)
    for i, (n, dim) in enumerate(zip(shape, dims, strict=True)):
        if n not in (-1, 1) and not settled(dim):
            dims[i] = (Axis(n),)
    return x.seen_as(dims)


@handles("view_as.default", "reshape_as.default")
def view_as(b: Builder, x: View, other: Any) -> View:
    """Dimensions as another tensor has them."""
    return view(b, x, other.shape)


@handles("expand_as.default")
def expand_as(b: Builder, x: View, other: Any) -> View:
    """As `expand`."""
    return expand(b, x, other.shape)


@handles("repeat.default")
def repeat(b: Builder, x: View, times: Sequence[int]) -> View:
    """Values repeated along dimensions, the copies after one another."""
    dims = [()] * (len(times) - len(x.axes)) + list(x.axes)
    return x.seen_as((Axis(n), *d) if n > 1 else d for n, d in zip(times, dims, strict=True))


@handles("repeat_interleave.self_int")
def repeat_interleave(b: Builder, x: View, times: int, dim: int = 0, **options: Any) -> View:
    """Each value repeated along a dimension."""
    dim = dim_of(x, dim)
    dims = list(x.axes)
    dims[dim] = (*dims[dim], Axis(times))
    return x.seen_as(dims)


@handles("pixel_shuffle.default")
def pixel_shuffle(b: Builder, x: View, factor: int) -> View:
    """(B, C r r, H, W) to (B, C, H r, W r)."""
    n, c, h, w = x.shape
    y = view(b, x, [n, c // factor**2, factor, factor, h, w])
    return view(b, permute(b, y, (0, 1, 4, 2, 5, 3)), [n, c // factor**2, h * factor, w * factor])


@handles("pixel_unshuffle.default")
def pixel_unshuffle(b: Builder, x: View, factor: int) -> View:
    """(B, C, H r, W r) to (B, C r r, H, W)."""
    n, c, h, w = x.shape
    y = view(b, x, [n, c, h // factor, factor, w // factor, factor])
    return view(b, permute(b, y, (0, 1, 3, 5, 2, 4)), [n, c * factor**2, h // factor, w // factor])


@handles("channel_shuffle.default", "native_channel_shuffle.default")
def channel_shuffle(b: Builder, x: View, groups: int) -> View:
    """(g, C / g) channels to (C / g, g)."""
    n, c, *rest = x.shape
    y = view(b, x, [n, groups, c // groups, *rest])
    return flatten(b, transpose(b, y, 1, 2), 1, 2)


@handles("im2col.default")
def im2col(b: Builder, x: View, kernel: Any, dilation: Any, padding: Any, stride: Any) -> View:
    """(B, C, H, W) to (B, C k k, patches), for patches side by side."""
    if list(kernel) != list(stride) or any(padding) or any(d != 1 for d in dilation):
        raise Unsupported("patches that overlap")
    n, c, h, w = x.shape
    (kh, kw), rows, columns = kernel, h // kernel[0], w // kernel[1]
    y = view(b, x, [n, c, rows, kh, columns, kw])
    return view(b, permute(b, y, (0, 1, 3, 5, 2, 4)), [n, c * kh * kw, rows * columns])


@handles("col2im.default")
def col2im(
    b: Builder, x: View, size: Any, kernel: Any, dilation: Any, padding: Any, stride: Any
) -> View:
    """(B, C k k, patches) to (B, C, H, W), for patches side by side."""
    if list(kernel) != list(stride) or any(padding) or any(d != 1 for d in dilation):
        raise Unsupported("patches that overlap")
    (h, w), (kh, kw) = size, kernel
    c = x.shape[1] // (kh * kw)
    y = view(b, x, [x.shape[0], c, kh, kw, h // kh, w // kw])
    return view(b, permute(b, y, (0, 1, 4, 2, 5, 3)), [x.shape[0], c, h, w])
