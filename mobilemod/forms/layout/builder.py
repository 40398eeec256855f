"""Building the graph: values are followed through moves, and moved only where an op asks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.layout.axes import (
    Axis,
    Dim,
    Dims,
    View,
    matched,
    new_dims,
    settled,
    size_of,
)
from mobilemod.forms.ops import Call, Fixed, Hole, Rearrange, Repeat, Tile, has_hole

BATCH = 2  # of the captured program: a size that tells the batch from dimensions of one


class Builder:
    """A graph in the making.

    path: the module that the next nodes come from. left: a line for each op left as it was.
    """

    def __init__(self, shape: Sequence[int]):
        self.graph = Graph()
        self.path = ""
        self.left: list[str] = []
        node = self.add(None, [], shape)
        dims = ((Axis(BATCH, batch=True),), *new_dims(shape[1:]))
        self.batch = dims[0][0]
        self.input = View(node, dims, dims)

    # nodes

    def add(
        self, op: nn.Module | None, inputs: Sequence[Node], shape: Sequence[int], role: str = ""
    ) -> Node:
        """A new node at the end."""
        node = Node(op, list(inputs), tuple(shape), self.path, role)
        node.dtype = inputs[0].dtype if inputs else node.dtype
        self.graph.nodes.append(node)
        return node

    def call(
        self, name: str, inputs: Sequence[Node], args: Sequence[Any] = (), role: str = "",
        item: int | None = None, **options: Any,
    ) -> Node:  # fmt: skip
        """A node of one torch op: tensors first, then `args`, unless these hold their places.

        item: which of several results it is.
        """
        places = [] if has_hole(list(args)) else map(Hole, range(len(inputs)))
        op = Call(name, [*places, *args], options, item)
        result = op(*_shapes(inputs))
        if not isinstance(result, Tensor):
            raise TypeError("it gives several tensors")
        if result.dtype.is_complex:
            raise TypeError("it gives complex numbers, which no runtime here computes with")
        node = self.add(op, inputs, result.shape, role)
        node.dtype = result.dtype
        return node

    def several(
        self, name: str, inputs: Sequence[Node], args: Sequence[Any], options: Mapping[str, Any]
    ) -> int | None:
        """How many results an op gives, None where one; `args` hold the places of tensors."""
        result = Call(name, args, dict(options))(*_shapes(inputs))
        return None if isinstance(result, Tensor) else len(result)

    def leave(self, op: str, reason: str) -> None:
        """Note that an op stays as it is."""
        self.left.append(f"{self.path or 'the network'}: {op.partition('.')[0]}: {reason}")

    def constant(self, value: Tensor) -> Node:
        """A node of a constant as it is."""
        node = self.add(Fixed(value), [], value.shape)
        node.dtype = value.dtype
        return node

    # layouts

    def rearranged(self, view: View, dims: Dims) -> View:
        """The same tensor laid out as `dims`, which may hold axes that it repeats along."""
        dims = tuple(map(settled, dims))
        if view.node_dims == dims:
            return view
        have = set(itertools.chain(*view.node_dims))
        wanted = [a for dim in dims for a in dim]
        extra = [a for a in wanted if a not in have]
        node, source = view.node, view.node_dims
        if extra:
            node, source = self._expanded(view, extra)
            if source == dims:
                return View(node, dims, view.axes)
        axes = list(dict.fromkeys(itertools.chain(*source)))
        place = {a: i for i, a in enumerate(axes)}
        sizes = [0 if a.batch else a.size for a in axes]
        op = Rearrange(sizes, [[place[a] for a in d] for d in source],
                       [[place[a] for a in d] for d in dims])  # fmt: skip
        new = self.add(op, [node], tuple(map(size_of, dims)), "moved")
        return View(new, dims, view.axes)

    def _expanded(self, view: View, extra: list[Axis]) -> tuple[Node, Dims]:
        """A node in which the values stand along `extra` axes too."""
        dims = view.node_dims
        if len(dims) == 4 and len(extra) == 1 and not extra[0].batch:
            times = extra[0].size
            shape = (view.node.shape[0], times * view.node.shape[1], *view.node.shape[2:])
            node = self.add(Repeat(times), [view.node], shape, "repeat")
            return node, (dims[0], (extra[0], *dims[1]), *dims[2:])
        node = view.node
        for axis in extra:
            shape = (axis.size, *node.shape)
            if axis.batch:
                raise Mixed("values repeated over the batch")
            node = self.call("unsqueeze.default", [node], (0,), "moved")
            node = self.call("cat.default", [node], ([Hole(0)] * axis.size, 0), "moved")
            assert node.shape == shape
            dims = ((axis,), *dims)
        return node, dims

    def plain(self, view: View) -> View:
        """Laid out as the captured program sees it."""
        return self.rearranged(view, view.dims)

    def image(self, view: View, features: Dim) -> View:
        """Laid out as an image (B, features, H, W), whatever else there is in H and W."""
        features = settled(features)
        dims = view.node_dims
        is_image = len(dims) == 4 and dims[:2] == ((self.batch,), features)
        if is_image and not view.missing:
            return view
        if self.batch not in view.flat:
            raise Unsupported("a tensor without the batch")
        rest = [a for a in view.flat if a not in features and a is not self.batch]
        rest.sort(key=lambda a: a.key)
        roots = list(dict.fromkeys(a.root for a in rest))
        height = tuple(a for a in rest if a.root == roots[0]) if roots else ()
        width = tuple(a for a in rest if a not in height)
        return self.rearranged(view, ((self.batch,), features, height, width))

    def stack(self, view: View, rows: Dim, columns: Dim) -> View:
        """Laid out as matrices (…, rows, columns)."""
        rows, columns = settled(rows), settled(columns)
        rest = tuple(a for a in view.flat if a not in rows and a not in columns)
        if view.node_dims == (rest, rows, columns):
            return view
        return self.rearranged(view, (rest, rows, columns))

    # constants

    def fixed(self, value: Tensor, like: View) -> Node:
        """A constant of the tensor's dimensions as a node that goes with `like`'s node."""
        laid, tiled = self.laid(value, like)
        node = self.add(Fixed(laid), [], laid.shape)
        return self.add(Tile(), [node, like.node], like.node.shape) if tiled else node

    def laid(self, value: Tensor, like: View) -> tuple[Tensor, bool]:
        """A constant in the layout of `like`'s node, size 1 where it is the same for all; whether
        it has to be repeated for a batch."""
        value = value.reshape((1,) * (len(like.dims) - value.ndim) + tuple(value.shape))
        for i, dim in enumerate(like.dims):
            if value.shape[i] > 1 and settled(dim)[:1] == (self.batch,) and dim:
                value = without_batch(value, i, like.dims[i])
        axes, shape = [], []
        for size, dim in zip(value.shape, like.dims, strict=True):
            for a in dim:
                axes.append(a)
                shape.append(1 if size == 1 or a is self.batch else a.size)
        value = value.reshape(shape)
        order, groups, tiled = [], [], False
        for dim in like.node_dims:
            present = [a for a in dim if a in axes]
            sizes = [shape[axes.index(a)] for a in present]
            full = any(n > 1 for n in sizes)
            groups.append((dim, full))
            order += present
            tiled |= full and self.batch in dim
        value = value.permute([axes.index(a) for a in order]) if order else value
        target, out = [], []
        for dim, full in groups:
            inner = [a.size if full and a is not self.batch else 1 for a in dim]
            target += [n for a, n in zip(dim, inner, strict=True) if a in axes]
            size = 1
            for n in inner:
                size *= n
            out.append(size)
        return value.expand(target).reshape(out).contiguous(), tiled


class Unsupported(Exception):
    """What can't be rewritten; the message says why."""


class Mixed(Exception):
    """What would let one image change the answer of another; the message says how."""


def _shapes(nodes: Sequence[Node]) -> list[Tensor]:
    """Tensors without values, of what the nodes give."""
    return [torch.empty(n.shape, dtype=n.dtype, device="meta") for n in nodes]


def without_batch(value: Tensor, i: int, dim: Dim) -> Tensor:
    """A constant that was made for the captured batch, for one image."""
    rest = size_of(settled(dim)) // BATCH
    if value.shape[i] != rest * BATCH:
        return value
    parts = value.unflatten(i, (BATCH, rest))
    first = parts.select(i, 0)
    if not bool((parts == first.unsqueeze(i)).all()):
        raise Mixed("a constant that differs from image to image")
    return first


def aligned(a: View, b: View) -> dict[Axis, Axis] | None:
    """Axes of `b` -> those of `a` where both have the same place, by the rules of broadcasting.

    None where they can't be brought together by splitting.
    """
    for _ in range(8):
        pairs: dict[Axis, Axis] = {}
        count = min(len(a.dims), len(b.dims))
        for x, y in zip(a.dims[len(a.dims) - count :], b.dims[len(b.dims) - count :], strict=True):
            if not x or not y:
                continue
            found = matched(x, y)
            if found is None:
                return None
            pairs |= found
        if not any(p.split or q.split for p, q in pairs.items()):
            return pairs
    return None
