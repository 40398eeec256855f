"""A level of a feature pyramid: a 1x1 convolution of a map plus a coarser map, pixels repeated."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mobilemod.forms.copies.pixels import whole_factors
from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import Affine, Call, Hole, Rearrange
from mobilemod.forms.rewrites.convolution_chain import is_pointwise
from mobilemod.forms.rewrites.pyramid.kernels import of_repeated
from mobilemod.forms.rewrites.scales.shift_move import is_sum


@dataclass(frozen=True)
class Level:
    """matrix @ fine + bias + repeat(coarse), the value of a sum.

    matrix: (channels, channels of fine), float64; bias: (channels,) or None. factors: how often
    each row and each column of `coarse` is repeated. place: the node before which others are put,
    at whose path.
    """

    graph: Graph
    place: Node
    matrix: Tensor
    bias: Tensor | None
    fine: Node
    coarse: Node
    factors: tuple[int, int]

    def unshifted(self) -> Level:
        """The same without a bias of its own, which a kernel larger than 1x1 would not see as zero
        around the image: what `coarse` is made by takes it, or where others read that too, a shift
        of their own for this level."""
        if self.bias is None:
            return self
        users, coarse = self.graph.users(), self.coarse
        made = [n for n in (coarse, *coarse.inputs) if isinstance(n.op, NamedConv2d)][:1]
        whole = made == [coarse] or (is_sum(coarse) and made and made[0].shape == coarse.shape)
        if whole and all(len(users[n]) == 1 for n in (coarse, *made)):
            conv = made[0].op
            own = 0 if conv.bias is None else conv.bias.detach().double()
            made[0].op = conv.with_weights(conv.weight, own + self.bias)
        else:
            shift = Affine(torch.ones(1), self.bias)
            coarse = self.put(shift, [coarse], coarse.shape)
        return dataclasses.replace(self, bias=None, coarse=coarse)

    def convolved(self, weight: Tensor, bias: Tensor) -> tuple[Node, Node]:
        """What a convolution, odd and padded by half its size, makes of `fine`, with the bias, and
        of `coarse`: in sum, what it makes of the level."""
        kernel = torch.einsum("omyx,mi->oiyx", weight, self.matrix)
        fine = self.conv(self.fine, kernel, bias, "fine")
        coarse = self.conv(self.coarse, of_repeated(weight, self.factors), None, "coarse")
        return fine, self._pixels(coarse, len(weight))

    def side(self, dim: int, last: bool, part: str) -> Node:
        """The level's first or last row (dim 2) or column (dim 3)."""
        fine, coarse = (
            self.cut(n, dim, n.shape[dim] - 1 if last else 0) for n in (self.fine, self.coarse)
        )
        mixed = self.conv(fine, self.matrix[:, :, None, None], None, part)
        repeat = Call("upsample_nearest2d.vec", [Hole(0), list(mixed.shape[2:]), None])
        return self.added(mixed, self.put(repeat, [coarse], mixed.shape, "upsample"))

    def conv(self, source: Node, weight: Tensor, bias: Tensor | None, part: str) -> Node:
        """A convolution padded by half its size."""
        padding = (weight.shape[2] // 2, weight.shape[3] // 2)
        made = NamedConv2d(self.place.path, part, weight, bias, padding=padding)
        return self.put(made, [source], (source.shape[0], len(weight), *source.shape[2:]))

    def cut(self, node: Node, dim: int, start: int, size: int = 1) -> Node:
        """Some rows (dim 2) or columns (dim 3) of an image."""
        shape = tuple(size if i == dim else n for i, n in enumerate(node.shape))
        op = Call("slice.Tensor", [Hole(0), dim, start, start + size])
        return self.put(op, [node], shape, "moved")

    def added(self, x: Node, y: Node) -> Node:
        """The sum of two of one shape."""
        return self.put(Call("add.Tensor", [Hole(0), Hole(1)]), [x, y], x.shape)

    def joined(self, nodes: list[Node], dim: int) -> Node:
        """Images side by side."""
        size = sum(n.shape[dim] for n in nodes)
        shape = tuple(size if i == dim else n for i, n in enumerate(nodes[0].shape))
        return self.put(
            Call("cat.default", [list(map(Hole, range(len(nodes)))), dim]), nodes, shape
        )

    def put(
        self, op: nn.Module, inputs: list[Node], shape: tuple[int, ...], role: str = ""
    ) -> Node:
        """A new node."""
        return self.graph.insert(Node(op, inputs, shape, self.place.path, role), before=self.place)

    def _pixels(self, node: Node, channels: int) -> Node:
        """(B, rows columns C, H, W), all pixels of one, to (B, C, rows H, columns W)."""
        batch, _, height, width = node.shape
        rows, columns = self.factors
        move = Rearrange(
            [0, rows, columns, channels, height, width],
            [[0], [1, 2, 3], [4], [5]],
            [[0], [3], [4, 1], [5, 2]],
        )
        return self.put(move, [node], (batch, channels, rows * height, columns * width), "moved")


def level_at(graph: Graph, total: Node, place: Node) -> Level | None:
    """The level that a sum is; None for all else."""
    users = graph.users()
    for lateral, resize in (total.inputs, total.inputs[::-1]) if is_sum(total) else ():
        conv, factors = lateral.op, whole_factors(resize)
        one = isinstance(conv, NamedConv2d) and is_pointwise(conv) and len(users[lateral]) == 1
        if one and factors and lateral.shape == resize.shape == total.shape and max(factors) > 1:
            matrix, bias = conv.weight.detach().double().flatten(1), conv.bias
            bias = None if bias is None else bias.detach().double()
            fine, coarse = lateral.inputs[0], resize.inputs[0]
            return Level(graph, place, matrix, bias, fine, coarse, factors)
    return None
