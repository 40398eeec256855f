"""Axes of tensors, followed through views, permutes and reshapes without moving anything.

A tensor's dimension is a list of axes, outermost first; dimensions of size 1 hold none. A view is a
node of the new graph and two lists of the same axes: how the node lays them out, and how the
captured program sees them. Moves only change the second list; where an op wants another
layout, the node is rearranged once (`Builder.rearranged`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mobilemod.forms.graph import Node

_count = itertools.count()


class Axis:
    """One direction of a tensor. split: the axes that took its place, outermost first."""

    def __init__(self, size: int, batch: bool = False, parent: Axis | None = None):
        self.size, self.batch, self.split = size, batch, ()
        self.key: tuple[int, ...] = (*(parent.key if parent else ()), next(_count))

    @property
    def root(self) -> int:
        """What axes split from one have in common."""
        return self.key[0]

    def divide(self, sizes: Sequence[int]) -> None:
        """Split into axes of these sizes, everywhere."""
        batch = self.batch
        parts = []
        for size in sizes:
            parts.append(Axis(size, batch and size == self.size, self))
        self.split = tuple(parts)

    def __repr__(self) -> str:
        return f"{'b' if self.batch else 'a'}{self.key[-1]}={self.size}"


Dim = tuple[Axis, ...]
Dims = tuple[Dim, ...]


def settled(dim: Iterable[Axis]) -> Dim:
    """The axes that a dimension is made of now, without those that were split."""
    out: list[Axis] = []
    for axis in dim:
        out.extend(settled(axis.split) if axis.split else (axis,))
    return tuple(out)


def size_of(dim: Iterable[Axis]) -> int:
    """How many values a dimension has."""
    return math.prod(a.size for a in dim)


def new_dims(shape: Sequence[int]) -> Dims:
    """An axis of its own for every dimension of a tensor."""
    return tuple((Axis(n),) if n != 1 else () for n in shape)


@dataclass(frozen=True)
class View:
    """A tensor of the captured program.

    node_dims: the axes of each dimension of `node`; dims: those of each dimension of the tensor.
    An axis in `dims` alone is a broadcast: the same values at each place along it.
    """

    node: Node
    node_axes: Dims
    axes: Dims

    @property
    def node_dims(self) -> Dims:
        """`node_axes` as they are split now."""
        return tuple(map(settled, self.node_axes))

    @property
    def dims(self) -> Dims:
        """`axes` as they are split now."""
        return tuple(map(settled, self.axes))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        return tuple(map(size_of, self.dims))

    @property
    def flat(self) -> Dim:
        """All axes of the tensor, outermost first."""
        return tuple(itertools.chain(*self.dims))

    @property
    def missing(self) -> set[Axis]:
        """The axes along which values repeat."""
        return set(self.flat) - set(itertools.chain(*self.node_dims))

    def seen_as(self, dims: Iterable[Iterable[Axis]]) -> View:
        """The same node under other dimensions."""
        return View(self.node, self.node_axes, tuple(map(tuple, dims)))


def refine(flat: Sequence[Axis], shape: Sequence[int]) -> Dims | None:
    """`flat` cut into dimensions of `shape`, axes split where a border falls inside them.

    None where a border can't be met by splitting.
    """
    rest = list(settled(flat))
    out: list[Dim] = []
    for size in shape:
        dim: list[Axis] = []
        need = size
        while need > 1:
            if not rest:
                return None
            axis = rest.pop(0)
            if need % axis.size == 0:
                dim.append(axis)
                need //= axis.size
            elif axis.size % need == 0:
                axis.divide((need, axis.size // need))
                first, second = axis.split
                dim.append(first)
                rest.insert(0, second)
                need = 1
            else:
                return None
        out.append(tuple(dim))
    return tuple(out) if not rest else None


def matched(a: Dim, b: Dim) -> dict[Axis, Axis] | None:
    """Axes of `b` -> those of `a` at the same place in a dimension, both split where needed.

    None where their borders can't be brought together.
    """
    left, right = list(settled(a)), list(settled(b))
    pairs: dict[Axis, Axis] = {}
    while left and right:
        x, y = left.pop(0), right.pop(0)
        if x.batch != y.batch:
            return None
        if x.size == y.size:
            pairs[y] = x
        elif x.size % y.size == 0:
            x.divide((y.size, x.size // y.size))
            pairs[y] = x.split[0]
            left.insert(0, x.split[1])
        elif y.size % x.size == 0:
            y.divide((x.size, y.size // x.size))
            pairs[y.split[0]] = x
            right.insert(0, y.split[1])
        else:
            return None
    return pairs if not left and not right else None
