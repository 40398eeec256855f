"""Views, permutes, slices, joins: what moves values or takes some of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from mobilemod.forms.layout.axes import Axis, View, matched, refine, settled, size_of
from mobilemod.forms.layout.builder import Builder, Unsupported
from mobilemod.forms.layout.handlers import Value, dim_of, handles, is_view
from mobilemod.forms.ops import Fixed, Hole, Select, Tile


@handles(
    "alias.default", "clone.default", "contiguous.default", "detach.default", "dropout.default",
    "native_dropout.default", "lift_fresh_copy.default", "feature_dropout.default",
    "alpha_dropout.default", "_to_copy.default", "to.dtype", "to.device", "to.dtype_layout",
    "_assert_tensor_metadata.default", "view_as.default", "type_as.default",
)  # fmt: skip
def same(b: Builder, x: Value, *args: Any, **options: Any) -> Value:
    """What changes no value."""
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
        flat = b.plain(x)
        node = b.call("reshape.default", [flat.node], ([-1, *full[1:]],), "moved")
        if not x.axes or not x.dims[0] or full[0] != x.shape[0]:
            raise Unsupported("a reshape over the batch")
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


# taking some


def take(b: Builder, x: View, dim: int, index: Sequence[int]) -> View:
    """The values of `x` at `index` along a dimension; the whole dimension costs nothing."""
    dim = dim_of(x, dim)
    axes = x.dims[dim]
    if list(index) == list(range(size_of(axes))):
        return x
    missing = x.missing
    if axes and all(a in missing for a in axes):
        return x.seen_as(
            (Axis(len(index)),) if len(index) > 1 and i == dim else () if i == dim else d
            for i, d in enumerate(x.axes)
        )
    place = next((i for i, d in enumerate(x.node_dims) if axes and set(axes) <= set(d)), None)
    if place is None or not _inside(x.node_dims[place], axes):
        x = b.image(x, x.dims[-1]) if dim != len(x.axes) - 1 else b.image(x, axes)
        axes = x.dims[dim]
        place = next((i for i, d in enumerate(x.node_dims) if set(axes) <= set(d)), None)
        if place is None or not _inside(x.node_dims[place], axes):
            x = b.plain(x)
            axes, place = x.dims[dim], dim
    whole = x.node_dims[place]
    start = whole.index(axes[0])
    outer, inner = size_of(whole[:start]), size_of(whole[start + len(axes) :])
    count = size_of(axes)
    full = [(o * count + i) * inner + k for o in range(outer) for i in index for k in range(inner)]
    new = (Axis(len(index)),) if len(index) > 1 else ()
    shape = list(x.node.shape)
    shape[place] = len(full)
    if len(x.node_dims) == 4 and place == 1:
        node = b.add(Select(full), [x.node], shape, "moved")
    else:
        node = _sliced(b, x.node, place, full)
    dims = (*whole[:start], *new, *whole[start + len(axes) :])
    node_dims = tuple(dims if i == place else d for i, d in enumerate(x.node_dims))
    return View(node, node_dims, tuple(new if i == dim else d for i, d in enumerate(x.dims)))


def _inside(dim: Sequence[Axis], axes: Sequence[Axis]) -> bool:
    """Whether `axes` stand side by side in `dim`."""
    start = dim.index(axes[0])
    return tuple(dim[start : start + len(axes)]) == tuple(axes)


def _sliced(b: Builder, node: Any, place: int, index: Sequence[int]) -> Any:
    step = index[1] - index[0] if len(index) > 1 else 1
    if step > 0 and list(index) == list(range(index[0], index[-1] + 1, step)):
        return b.call("slice.Tensor", [node], (place, index[0], index[-1] + 1, step), "moved")
    runs: list[list[int]] = []
    for i in index:
        if runs and runs[-1][-1] + 1 == i:
            runs[-1].append(i)
        else:
            runs.append([i])
    if len(runs) > 8:
        chosen = b.add(Fixed(torch.tensor(list(index))), [], (len(index),))
        return b.call("index_select.default", [node, chosen], (Hole(0), place, Hole(1)), "moved")
    parts = [b.call("slice.Tensor", [node], (place, r[0], r[-1] + 1), "moved") for r in runs]
    return b.call("cat.default", parts, ([Hole(i) for i in range(len(parts))], place), "moved")


@handles("slice.Tensor")
def slice_(b: Builder, x: View, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> View:  # noqa: E501
    """A range of a dimension."""
    n = x.shape[dim_of(x, dim)]
    end = None if end is None or end > n else end
    return take(b, x, dim, range(n)[slice(start, end, step)])


@handles("select.int")
def select(b: Builder, x: View, dim: int, index: int) -> View:
    """One place of a dimension, without the dimension."""
    dim = dim_of(x, dim)
    found = take(b, x, dim, [index % x.shape[dim]])
    return found.seen_as(d for i, d in enumerate(found.axes) if i != dim)


@handles("narrow.default")
def narrow(b: Builder, x: View, dim: int, start: int, length: int) -> View:
    """As `slice`."""
    return take(b, x, dim, range(start, start + length))


@handles("index_select.default")
def index_select(b: Builder, x: View, dim: int, index: Any) -> View:
    """Places of a dimension by a constant index."""
    if is_view(index):
        raise Unsupported("an index that depends on the image")
    return take(b, x, dim, index.tolist())


@handles("unbind.int")
def unbind(b: Builder, x: View, dim: int = 0) -> list[View]:
    """Every place of a dimension."""
    return [select(b, x, dim, i) for i in range(x.shape[dim_of(x, dim)])]


@handles("split.Tensor", "split.default", "split.sizes", "split_with_sizes.default")
def split(b: Builder, x: View, sizes: int | Sequence[int], dim: int = 0) -> list[View]:
    """Pieces of a dimension, one after the other."""
    n = x.shape[dim_of(x, dim)]
    if isinstance(sizes, int):
        sizes = [min(sizes, n - i) for i in range(0, n, sizes)]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [take(b, x, dim, range(e - s, e)) for s, e in zip(sizes, ends, strict=True)]


@handles("chunk.default")
def chunk(b: Builder, x: View, count: int, dim: int = 0) -> list[View]:
    """So many pieces of a dimension."""
    n = x.shape[dim_of(x, dim)]
    return split(b, x, -(-n // count), dim)


@handles("roll.default")
def roll(b: Builder, x: View, shifts: Any, dims: Any = ()) -> View:
    """Values moved along dimensions, from the end to the front."""
    for shift, dim in zip(*(v if isinstance(v, list | tuple) else [v] for v in (shifts, dims)), strict=True):  # noqa: E501
        n = x.shape[dim_of(x, dim)]
        x = take(b, x, dim, [(i - shift) % n for i in range(n)])
    return x


@handles("flip.default")
def flip(b: Builder, x: View, dims: Sequence[int]) -> View:
    """A dimension from its end."""
    for dim in dims:
        x = take(b, x, dim, range(x.shape[dim_of(x, dim)])[::-1])
    return x


# joining


@handles("cat.default", "concat.default")
def cat(b: Builder, parts: Sequence[Value], dim: int = 0) -> View:
    """Tensors after one another along a dimension."""
    first = next(p for p in parts if is_view(p))
    dim = dim_of(first, dim)
    host = max((p for p in parts if is_view(p)), key=lambda v: len(v.node_dims) == 4)
    # The dimension joined has to be one of the node's own, or its channels.
    axes = host.dims[dim]
    if axes not in host.node_dims or (not axes):
        host = b.image(host, host.dims[-1 if dim != len(host.axes) - 1 or axes else dim])
        if axes and axes not in host.node_dims:
            host = b.plain(host)
    where = host.node_dims.index(axes) if axes else _free(host)
    sizes, nodes, pattern = [], [], host
    for part in parts:
        size = part.shape[dim]
        sizes.append(size)
        if is_view(part):
            nodes.append(_like(b, part, pattern, dim, where).node)
        else:
            nodes.append(_constant_like(b, part, pattern, dim, where))
    total = sum(sizes)
    node = b.call("cat.default", nodes, ([Hole(i) for i in range(len(nodes))], where), "cat")
    new = (Axis(total),)
    dims = list(host.axes)
    dims[dim] = new
    node_dims = list(host.node_axes)
    node_dims[where] = new
    return View(node, tuple(node_dims), tuple(dims))


def _free(host: View) -> int:
    """A dimension of a node of size 1."""
    empty = [i for i, d in enumerate(host.node_dims) if not d]
    if not empty:
        raise Unsupported("a join along a dimension of size 1")
    return empty[-1]


def _like(b: Builder, part: View, pattern: View, dim: int, where: int) -> View:
    """`part` laid out as `pattern`, but for the joined dimension."""
    mapping = {}
    for i, (x, y) in enumerate(zip(pattern.dims, part.dims, strict=True)):
        if i != dim:
            found = matched(x, y)
            if found is None:
                raise Unsupported("a join of tensors whose dimensions are made otherwise")
            mapping |= {v: k for k, v in found.items()}
    # `matched` may have split axes of either since.
    own = part.dims[dim]
    dims = []
    for i, d in enumerate(pattern.node_dims):
        dims.append(own if i == where else tuple(_renamed(mapping, a) for a in d))
    return b.rearranged(part, tuple(dims))


def _renamed(mapping: dict[Axis, Axis], axis: Axis) -> Axis:
    found = mapping.get(axis)
    if found is None or found.split:
        raise Unsupported("a join of tensors whose dimensions are made otherwise")
    return found


def _constant_like(b: Builder, part: Any, pattern: View, dim: int, where: int) -> Any:
    new = (Axis(part.shape[dim]),) if part.shape[dim] > 1 else ()
    dims = tuple(new if i == dim else d for i, d in enumerate(pattern.dims))
    nodes = tuple(new if i == where else d for i, d in enumerate(pattern.node_dims))
    like = View(pattern.node, nodes, dims)
    full = part.expand([1 if d[:1] == (b.batch,) and len(d) == 1 and part.shape[i] == 1 else size_of(d) for i, d in enumerate(dims)])  # noqa: E501
    laid, _ = b.laid(full, like)
    node = b.add(Fixed(laid), [], laid.shape)
    return b.add(Tile(), [node, pattern.node], (pattern.node.shape[0], *laid.shape[1:]))


@handles("stack.default")
def stack(b: Builder, parts: Sequence[Any], dim: int = 0) -> View:
    """Tensors along a new dimension."""
    rank = len(next(p for p in parts if is_view(p)).axes) + 1
    dim = dim % rank
    return cat(b, [unsqueeze(b, p, dim) if is_view(p) else p.unsqueeze(dim) for p in parts], dim)


@handles("constant_pad_nd.default", "pad.default")
def pad(b: Builder, x: View, amounts: Sequence[int], mode: Any = "constant", value: Any = 0) -> View:  # noqa: E501
    """Constant values around, from the last dimension on."""
    if not isinstance(mode, str):
        mode, value = "constant", mode
    if mode != "constant":
        raise Unsupported(f"padding by {mode}")
    if not any(amounts):
        return x
    touched = {len(x.axes) - 1 - i // 2: i for i in range(0, len(amounts), 2)
               if amounts[i] or amounts[i + 1]}  # fmt: skip
    if any(x.dims[d] not in x.node_dims or not x.dims[d] for d in touched):
        x = b.plain(x)
    dims, node_dims = list(x.axes), list(x.node_axes)
    full = [0] * (2 * len(node_dims))
    for d, i in touched.items():
        where = d if x.node_dims == x.dims else x.node_dims.index(x.dims[d])
        start = 2 * (len(node_dims) - 1 - where)
        full[start : start + 2] = amounts[i : i + 2]
        dims[d] = node_dims[where] = (Axis(x.shape[d] + amounts[i] + amounts[i + 1]),)
    while full[-2:] == [0, 0]:
        full = full[:-2]
    node = b.call("constant_pad_nd.default", [x.node], (full, float(value or 0)), "moved")
    return View(node, tuple(node_dims), tuple(dims))
