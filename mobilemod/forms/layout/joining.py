"""Joins and padding: tensors after one another, constant values around one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mobilemod.forms.layout.axes import Axis, View, matched, size_of
from mobilemod.forms.layout.builder import Builder, Mixed, Unsupported
from mobilemod.forms.layout.handlers import Value, dim_of, handles, is_view
from mobilemod.forms.layout.views import unsqueeze
from mobilemod.forms.ops import Fixed, Hole, Tile


@handles("cat.default", "concat.default")
def cat(b: Builder, parts: Sequence[Value], dim: int = 0) -> View:
    """Tensors after one another along a dimension."""
    first = next(p for p in parts if is_view(p))
    dim = dim_of(first, dim)
    views = [p for p in parts if is_view(p)]
    host = max(views, key=lambda v: (not v.missing, len(v.node_dims) == 4))
    host = b.plain(host) if host.missing else host
    # The dimension joined has to be one of the node's own, or its channels.
    axes = host.dims[dim]
    if any(b.batch in v.dims[dim] for v in views):
        raise Mixed("images joined")
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
    sizes = [1 if d == (b.batch,) and n == 1 else size_of(d)
             for n, d in zip(part.shape, dims, strict=True)]  # fmt: skip
    laid, _ = b.laid(part.expand(sizes), like)
    node = b.add(Fixed(laid), [], laid.shape)
    return b.add(Tile(), [node, pattern.node], (pattern.node.shape[0], *laid.shape[1:]))


@handles("stack.default")
def stack(b: Builder, parts: Sequence[Any], dim: int = 0) -> View:
    """Tensors along a new dimension."""
    rank = len(next(p for p in parts if is_view(p)).axes) + 1
    dim = dim % rank
    return cat(b, [unsqueeze(b, p, dim) if is_view(p) else p.unsqueeze(dim) for p in parts], dim)


@handles("constant_pad_nd.default", "pad.default")
def pad(
    b: Builder, x: View, amounts: Sequence[int], mode: Any = "constant", value: Any = 0
) -> View:
    """Constant values around, from the last dimension on."""
    if not isinstance(mode, str):
        mode, value = "constant", mode
    if mode != "constant":
        raise Unsupported(f"padding by {mode}")
    if not any(amounts):
        return x
    touched = {len(x.axes) - 1 - i // 2: i for i in range(0, len(amounts), 2)
               if amounts[i] or amounts[i + 1]}  # fmt: skip
    if any(b.batch in x.dims[d] for d in touched):
        raise Mixed("images added to the batch")
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
