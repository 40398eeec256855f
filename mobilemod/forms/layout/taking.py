"""Slices and splits: some of a tensor's values, or all in another order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mobilemod.forms.layout.axes import Axis, View, size_of
from mobilemod.forms.layout.builder import Builder, Mixed, Unsupported
from mobilemod.forms.layout.handlers import dim_of, handles, is_view
from mobilemod.forms.ops import Fixed, Hole, Select


def take(b: Builder, x: View, dim: int, index: Sequence[int]) -> View:
    """The values of `x` at `index` along a dimension; the whole dimension costs nothing."""
    dim = dim_of(x, dim)
    axes = x.dims[dim]
    if list(index) == list(range(size_of(axes))):
        return x
    if b.batch in axes:
        raise Mixed("some images of the batch")
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
def slice_(
    b: Builder, x: View, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> View:
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


@handles("index.Tensor")
def index(b: Builder, x: View, indices: Sequence[Any]) -> View:
    """Places of one dimension by a constant list or mask."""
    given = [(i, places) for i, places in enumerate(indices) if places is not None]
    if len(given) > 1 or is_view(given[0][1]) or given[0][1].ndim != 1:
        raise Unsupported("several indices, or one that depends on the image")
    dim, places = given[0]
    places = places.nonzero().flatten() if places.dtype == torch.bool else places
    return take(b, x, dim, (places % x.shape[dim]).tolist())


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
    if not isinstance(shifts, list | tuple):
        shifts, dims = [shifts], [dims]
    if not dims:
        raise Unsupported("a roll over all values")
    for shift, dim in zip(shifts, dims, strict=True):
        n = x.shape[dim_of(x, dim)]
        x = take(b, x, dim, [(i - shift) % n for i in range(n)])
    return x


@handles("flip.default")
def flip(b: Builder, x: View, dims: Sequence[int]) -> View:
    """A dimension from its end."""
    for dim in dims:
        x = take(b, x, dim, range(x.shape[dim_of(x, dim)])[::-1])
    return x
