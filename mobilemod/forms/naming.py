"""Names and roles: every tensor of the graph gets the module that it comes from and what it is.

A name is the module's path, a colon and what stands there: `layers.0.blocks.1.mlp.fc1:out`. A role
is what recipes speak of, whatever the network:

input                            the image
weight                           of a convolution or linear; norm.weight, mean.weight: averages
conv, depthwise, stem            a convolution's result; stem: of the first one
clamped                          a convolution's result that only ReLU or another clamp reads, or a
                                 sum's that is no residual
activation, gate, softmax        of GELU and its like; of sigmoid and its like, 0 to 1
norm.mean, .centered, .square,   inside a norm
    .variance, .rstd
norm.out, norm.inner             what a norm gives: to convolutions, joined or not, or to others
scaled, shifted                  by a constant per channel that could not be folded away; shifted:
                                 by any constant
residual, sum, difference        a sum of a tensor and of what was computed from it; any other
product, quotient, square        square: a tensor by itself
scores, context, matmul          products of attention, before and after softmax; any other
                                 scores: also what a convolution mixes of its heads
matrix                           operands of products, laid out for them
pooled, mean, pool, reduced      means over positions, over other dimensions, windows; any other,
                                 and bounds on it
in                               a tensor that stays float, as a convolution reads it
moved.in, moved, cat             values moved: for convolutions alone, or not; joined
constant                         operands that no image changes
whole                            whole numbers, true and false: never quantized
other                            whatever else there is
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import (
    Affine,
    Call,
    ChannelMean,
    ChannelNorm,
    Fixed,
    MatMul,
    Rearrange,
    Repeat,
    Select,
    Tile,
)

ACTIVATIONS = (
    "gelu", "relu", "relu6", "hardswish", "hardtanh", "elu", "leaky_relu", "tanh", "softplus",
    "mish", "selu", "celu", "clamp", "clamp_min", "clamp_max", "silu",
)  # fmt: skip
ROLES = {
    "sigmoid": "gate", "softmax": "softmax", "sub": "difference", "mul": "product",
    "div": "quotient", "avg_pool2d": "pool", "max_pool2d": "maximum", "amax": "reduced",
    "amin": "reduced", "cat": "cat", "add": "sum",
    **dict.fromkeys(ACTIVATIONS, "activation"),
}  # fmt: skip
# Ops whose result lies within the range of what goes in: it shares that tensor's parameters, as
# TFLite's integer kernels for them ask.
KEEPS_RANGE = (
    "avg_pool2d", "max_pool2d", "upsample_bilinear2d", "upsample_nearest2d", "slice", "reshape",
    "constant_pad_nd", "unsqueeze", "index_select", "permute",
)  # fmt: skip
# Roles of such results that are no moved copies.
COMPUTED = ("pool", "maximum", "upsample")
# Ops that every runtime's convolution, and its sum, does on its own result.
CLAMPS = ("relu", "relu6", "hardtanh")
# Computed in float as a rule: a bound on it, as of a norm that is divided by, is so too.
BOUNDED = ("reduced", "mean", "square", "quotient", "other")
# Between scores and softmax, and between softmax and context.
PASSED = (Affine, Call, NamedConv2d, Rearrange)


class Unique:
    """Gives a name once; the next that asks for it gets it with a number."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()

    def __call__(self, name: str) -> str:
        self.count[name] += 1
        n = self.count[name]
        return name if n == 1 else self(f"{name}{n}")


def assign_names(graph: Graph) -> None:
    """Set `tensor`, `role` and `source` of every node, and the names of convolutions."""
    users = graph.users()
    before = _ancestors(graph)
    modules, scales, tensors = Unique(), Unique(), Unique()
    convs = list(graph.of(NamedConv2d))
    first = next((n for n in convs if graph.input in before[n]), None)
    graph.output.ends = True
    for node in graph.nodes:
        path = node.path or "network"
        op, readers = node.op, users[node]
        node.source = _moved_from(node)
        if op is None:
            node.role, node.tensor = "input", tensors("network:input")
        elif isinstance(op, NamedConv2d):
            own = modules(f"{path}.{op.part}" if op.part else path)
            node.op = op.with_weights(op.weight, op.bias, part="")
            node.op.module = own
            wide = op.groups > 1 and op.groups == op.in_channels
            node.role = "stem" if node is first else "depthwise" if wide else "conv"
            node.role = "scores" if _mixes_heads(node, users) else node.role
            if node.role != "scores" and _only_clamped(readers):
                node.role = "clamped"
            node.tensor = tensors(f"{own}:out")
        elif isinstance(op, ChannelNorm):
            node.module = modules(path)
            found = _through_moves(readers, users, joins=True)
            to_conv = any(isinstance(r.op, NamedConv2d) for r in found)
            node.role = "norm.out" if to_conv else "norm.inner"
            node.tensor = tensors(f"{node.module}:out")
        elif isinstance(op, Affine):
            node.role = "scaled" if op.shift is None else "shifted"
            node.module = scales(path)
            node.tensor = tensors(f"{node.module}:{node.role}")
        elif isinstance(op, MatMul):
            node.role = node.role or _product_role(node, users)
            node.tensor = tensors(f"{path}:{node.role}")
        elif isinstance(op, Fixed):
            node.role, node.tensor = "constant", tensors(f"{path}:constant")
        elif isinstance(op, ChannelMean):
            node.module = modules(f"{path}.mean")
            node.role, node.tensor = "mean", tensors(f"{node.module}:out")
        elif node.source is not None:
            if any(isinstance(r.op, MatMul) for r in readers):
                node.role = "matrix"
            elif readers and all(isinstance(r.op, NamedConv2d) for r in readers):
                node.role = "moved" if _mixes_heads(readers[0], users) else "moved.in"
            elif node.role not in COMPUTED:
                node.role = "moved"
            node.tensor = tensors(f"{_base(node.source)}:{_short(node)}")
        else:
            node.role = _role(node, users, before) if node.dtype.is_floating_point else "whole"
            # What is made of one tensor alone is called after it: fc1:gelu; not what nobody knows.
            single = len(node.inputs) == 1 and node.inputs[0].op is not None
            alone = single and node.role not in ("other", "whole")
            path = _base(node.inputs[0]) if alone else path
            node.tensor = tensors(f"{path}:{_word(node)}")
            if node.role == "sum" and _only_clamped(readers):
                node.role = "clamped"


def _only_clamped(readers: Sequence[Node]) -> bool:
    return len(readers) == 1 and getattr(readers[0].op, "kind", "") in CLAMPS


def _base(node: Node) -> str:
    return node.tensor.rpartition(":")[0]


def _short(node: Node) -> str:
    if isinstance(node.op, Repeat):
        return "repeat"
    return "moved" if node.role == "moved.in" else node.role


def _word(node: Node) -> str:
    if node.role in ("activation", "other", "whole", "gate", "reduced") and isinstance(
        node.op, Call
    ):
        return node.op.kind
    return node.role


def _role(node: Node, users: dict[Node, list[Node]], before: dict[Node, set[Node]]) -> str:
    op = node.op
    if not isinstance(op, Call):
        return "other"
    if op.kind == "add" and len(node.inputs) == 2:
        if any(isinstance(n.op, Fixed | Tile) for n in node.inputs):
            return "scores" if _leads_to_softmax(node, users) else "shifted"
        x, y = node.inputs
        first, second = x.source or x, y.source or y
        return "residual" if first in before[y] or second in before[x] else "sum"
    if op.kind == "mul" and len(node.inputs) == 2 and len(set(node.inputs)) == 1:
        return "square"
    if node.role == "pooled" and node.inputs[0].role == "square":
        return "mean"  # of a norm, as float as the squares
    if op.kind == "mean":
        return node.role or "mean"
    if op.kind.startswith("clamp"):
        bounded = node.inputs[0].source or node.inputs[0]
        return "reduced" if bounded.role in BOUNDED else "activation"
    if node.role in ("gate", "pooled", "mean"):
        return node.role
    return ROLES.get(op.kind, "other")


def _product_role(node: Node, users: dict[Node, list[Node]]) -> str:
    if _leads_to_softmax(node, users):
        return "scores"
    pending = list(node.inputs)
    while pending:
        n = pending.pop()
        if isinstance(n.op, Call) and n.op.kind == "softmax":
            return "context"
        if isinstance(n.op, PASSED) and not (isinstance(n.op, Call) and len(n.inputs) > 1):
            pending.extend(n.inputs[:1])
    return "matmul"


def _leads_to_softmax(node: Node, users: dict[Node, list[Node]]) -> bool:
    pending, seen = list(users[node]), set()
    while pending:
        n = pending.pop()
        if n in seen:
            continue
        seen.add(n)
        if isinstance(n.op, Call) and n.op.kind == "softmax":
            return True
        if isinstance(n.op, PASSED):
            pending.extend(users[n])
    return False


def _mixes_heads(node: Node, users: dict[Node, list[Node]]) -> bool:
    """Whether a convolution stands within attention: between its products, beside the softmax."""
    source = node.inputs[0].source or node.inputs[0]
    if source.role not in ("scores", "softmax"):
        return False
    readers = _through_moves(users[node], users)
    ends = (isinstance(r.op, MatMul) or getattr(r.op, "kind", "") == "softmax" for r in readers)
    return bool(readers) and all(ends)


def _moved_from(node: Node) -> Node | None:
    """The node whose values these are, in the range of them."""
    op = node.op
    moves = isinstance(op, Rearrange | Repeat | Select) or (
        isinstance(op, Call) and op.kind in KEEPS_RANGE and node.role != "mean"
    )
    if isinstance(op, Tile) or (moves and node.inputs):
        source = node.inputs[0]
        return source.source or source
    return None


def _through_moves(
    readers: Iterable[Node], users: dict[Node, list[Node]], joins: bool = False
) -> list[Node]:
    """What reads a tensor behind moves of it, and with `joins` what reads the joined."""
    found, pending = [], list(readers)
    while pending:
        node = pending.pop()
        joined = joins and isinstance(node.op, Call) and node.op.kind == "cat"
        if joined or _moved_from(node) is not None:
            pending.extend(users[node])
        else:
            found.append(node)
    return found


def _ancestors(graph: Graph) -> dict[Node, set[Node]]:
    found: dict[Node, set[Node]] = {}
    for node in graph.nodes:
        own: set[Node] = set()
        for source in node.inputs:
            own |= found[source] | {source}
        found[node] = own
    return found
