"""A level of a feature pyramid: a 1x1 convolution of a map plus a coarser map, pixels repeated."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.forms.copies.pixels import whole_factors
from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import Call, Hole, Rearrange
from mobilemod.forms.rewrites.convolution_chain import is_pointwise
from mobilemod.forms.rewrites.pyramid.kernels import of_repeated, reached
from mobilemod.forms.rewrites.scales.shift_move import is_sum

MOST_LEFT = 0.75  # of the multiply-accumulates: what the moves and the border cost must be won too
MOST_WINDOWS = 4  # more are small, and many moves
SHIFT = "shift"


@dataclass(frozen=True)
class Level:
    """matrix @ fine + bias + repeat(coarse), the value of a sum.

    matrix: (channels, channels of fine), float64; bias: (channels,) or None. factors: how often
    each row and each column of `coarse` is repeated. alone: nothing else reads the sum. place: the
    node before which others are put, at whose path.
    """

    graph: Graph
    place: Node
    matrix: Tensor
    bias: Tensor | None
    fine: Node
    coarse: Node
    factors: tuple[int, int]
    alone: bool

    def unshifted(self) -> Level:
        """The same without a bias of its own, which a kernel larger than 1x1 would not see as zero
        around the image: what `coarse` is made by takes it, or where others read that or the level,
        a shift of its own."""
        if self.bias is None:
            return self
        users, coarse = self.graph.users(), self.coarse
        made = [n for n in (coarse, *coarse.inputs) if isinstance(n.op, NamedConv2d)][:1]
        whole = made == [coarse] or (is_sum(coarse) and made and made[0].shape == coarse.shape)
        if self.alone and whole and all(len(users[n]) == 1 for n in (coarse, *made)):
            conv = made[0].op
            own = 0 if conv.bias is None else conv.bias.detach().double()
            made[0].op = conv.with_weights(conv.weight, own + self.bias)
        else:
            # As a depthwise convolution, whose bias is exact where a constant beside codes isn't.
            # Wider than a twin's: the TFLite converter merges equal ones of a tensor, in float.
            twins = [n for n in users[coarse] if getattr(n.op, "part", "") == SHIFT]
            ones = F.pad(torch.ones(len(self.bias), 1, 1, 1), (len(twins),) * 2)
            padding = (0, len(twins))
            shift = NamedConv2d(
                self.place.path, SHIFT, ones, self.bias, padding=padding, groups=len(ones)
            )
            coarse = self.put(shift, [coarse], coarse.shape)
        return dataclasses.replace(self, bias=None, coarse=coarse)

    def convolved(self, weight: Tensor, bias: Tensor | None) -> tuple[Node, Node]:
        """What a convolution, odd and padded by half its size, makes of `fine`, with the bias, and
        of `coarse`: in sum, what it makes of the level."""
        kernel = torch.einsum("omyx,mi->oiyx", weight, self.matrix)
        fine = self.conv(self.fine, kernel, bias, "fine")
        kernels = of_repeated(weight, self.factors)
        if _own_windows(weight, self.factors):
            coarse = self.joined(self._windows(weight, kernels), 1)
        else:
            coarse = self.conv(self.coarse, kernels.flatten(0, 2), None, "coarse")
        return fine, self._pixels(coarse, len(weight))

    def products(self, weight: Tensor) -> float:
        """Multiply-accumulates of `convolved` at each position of the level."""
        out, _, *sizes = weight.shape
        channels, few = self.matrix.shape
        coarse = _products(weight, self.factors, _own_windows(weight, self.factors))
        return out * (few * math.prod(sizes) + channels * coarse)

    def _windows(self, weight: Tensor, kernels: Tensor) -> list[Node]:
        """A convolution for each new pixel of an old one, of what that reaches."""
        made, (high, wide) = [], [n // 2 for n in kernels.shape[4:]]
        height, width = self.coarse.shape[2:]
        rows, columns = (reached(k, f) for k, f in zip(weight.shape[2:], self.factors, strict=True))
        # Cut out of one padded image: what is padded otherwise for each has no name in a file.
        shape = (*self.coarse.shape[:2], height + 2 * high, width + 2 * wide)
        pad = Call("constant_pad_nd.default", [Hole(0), [wide, wide, high, high], 0.0])
        padded = self.put(pad, [self.coarse], shape, "moved")
        for r, (above, below) in enumerate(rows):
            strip = self.cut(padded, 2, high - above, height + above + below)
            for s, (left, right) in enumerate(columns):
                kernel = kernels[r, s, :, :, high - above : high + below + 1]
                kernel = kernel[..., wide - left : wide + right + 1]
                window = self.cut(strip, 3, wide - left, width + left + right)
                made.append(self.conv(window, kernel, None, f"coarse{r}{s}", (0, 0)))
        return made

    def side(self, dim: int, last: bool, part: str) -> Node:
        """The level's first or last row (dim 2) or column (dim 3)."""
        fine, coarse = (
            self.cut(n, dim, n.shape[dim] - 1 if last else 0) for n in (self.fine, self.coarse)
        )
        mixed = self.conv(fine, self.matrix[:, :, None, None], None, part)
        repeat = Call("upsample_nearest2d.vec", [Hole(0), list(mixed.shape[2:]), None])
        return self.added(mixed, self.put(repeat, [coarse], mixed.shape, "upsample"))

    def conv(
        self,
        source: Node,
        weight: Tensor,
        bias: Tensor | None,
        part: str,
        padding: tuple[int, int] | None = None,
    ) -> Node:
        """A convolution, padded by half its size unless told otherwise."""
        sizes = weight.shape[2:]
        padding = (sizes[0] // 2, sizes[1] // 2) if padding is None else padding
        places = (
            n + 2 * p - k + 1 for n, p, k in zip(source.shape[2:], padding, sizes, strict=True)
        )
        made = NamedConv2d(self.place.path, part, weight, bias, padding=padding)
        return self.put(made, [source], (source.shape[0], len(weight), *places))

    def cut(self, node: Node, dim: int, start: int, size: int = 1) -> Node:
        """Some rows (dim 2) or columns (dim 3) of an image; itself where they are all."""
        if size == node.shape[dim]:
            return node
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
            alone = len(users[total]) == len(users[resize]) == 1
            return Level(graph, place, matrix, bias, fine, coarse, factors, alone)
    return None


def is_plain(node: Node) -> bool:
    """Whether it is a 3x3 convolution of all channels, padded by one and nothing else."""
    op = node.op
    return (
        isinstance(op, NamedConv2d)
        and (op.kernel_size, op.padding) == ((3, 3), (1, 1))
        and op.stride == op.dilation == (1, 1)
        and op.groups == 1
    )


def weights(node: Node) -> tuple[Tensor, Tensor]:
    """A convolution's weight and bias, zeros where it has none; float64."""
    weight, bias = node.op.weight.detach().double(), node.op.bias
    return weight, weight.new_zeros(len(weight)) if bias is None else bias.detach().double()


def _products(weight: Tensor, factors: tuple[int, int], windows: bool) -> float:
    """Taps on the coarse map for each position, in convolutions of their own or in one."""
    found = 1.0
    for size, factor in zip(weight.shape[2:], factors, strict=True):
        taps = [before + behind + 1 for before, behind in reached(size, factor)]
        found *= sum(taps) / factor if windows else 1 + 2 * max(b for b, _ in reached(size, factor))
    return found


def _own_windows(weight: Tensor, factors: tuple[int, int]) -> bool:
    """Whether a convolution for each new pixel of an old one takes less than one for all."""
    less = _products(weight, factors, True) < _products(weight, factors, False)
    return less and math.prod(factors) <= MOST_WINDOWS
