"""Published names for a model file's tensors, from the structure of its graph.

The program that a file was lowered from is walked beside the file's graph, op by op, from the
image on. What only moves values or changes their format is stepped over on both sides, so neither
layouts nor scales matter, and a file with a wrong parameter is named like a right one. Ops that
stand side by side on one input (f and fc1; q, k and v) are told apart by their weights.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from export.diff.taps_program import ProgramTaps
from export.graph import (
    CONV,
    DEPTHWISE,
    DEQUANTIZE,
    LINEAR,
    QUANTIZE,
    RESHAPE,
    TRANSPOSE,
    FileGraph,
    FileNode,
)
from mobilemod.forms.naming import CLAMPS

NORM = "layer_norm"
MOVES = (TRANSPOSE, RESHAPE, "pad", "staticconstantpad")
FORMATS = (QUANTIZE, DEQUANTIZE, "cast")
KINDS = {
    DEPTHWISE: CONV,
    LINEAR: CONV,
    "multiply": "mul",
    "subtract": "sub",
    "reciprocalsquareroot": "rsqrt",
    "squareroot": "sqrt",
    "hardswish": "hard_swish",
    "leakyrelu": "leaky_relu",
    "logistic": "sigmoid",
    "ceiling": "ceil",
    "negate": "neg",
    "globalavgpooling2d": "mean",
    "reduce_mean": "mean",
    **dict.fromkeys(
        ("upsample_nearest2d", "resize_nearest_neighbor", "upsample_nearest_neighbor"), "nearest"
    ),
    **dict.fromkeys(
        ("upsample_bilinear2d", "resize_bilinear", "upsample_bilinear", "staticresizebilinear2d"),
        "bilinear",
    ),
    **dict.fromkeys(("max_pool2d_with_indices", "maxpooling2d", "max_pool_2d"), "max_pool"),
    **dict.fromkeys(("avg_pool2d", "averagepooling2d", "average_pool_2d"), "avg_pool"),
}
COMMUTATIVE = ("add", "mul", "concat")
CLAMPED = (*CLAMPS, "clamp")
Weight = Callable[[FileNode], np.ndarray]


class NoMatch(Exception):
    """The graph isn't the program's; the message is the part that differs."""


@dataclass(frozen=True)
class Computation:
    """One op that computes: its kind, the values that it reads and makes (by their first tensor),
    the shape of its weight."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    weight: tuple[int, ...]
    node: FileNode


@dataclass
class Flow:
    """A graph without its moves. members: value -> its tensors, moved, quantized and back."""

    image: str
    steps: list[Computation] = field(default_factory=list)
    members: dict[str, list[str]] = field(default_factory=dict)
    value: dict[str, str] = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Naming:
    """names: published tensor -> the file's, in the network's order; steps: what an op of the
    program makes -> the file's op."""

    names: dict[str, str]
    steps: dict[str, FileNode]


def flow(graph: FileGraph) -> Flow:
    """`graph` without its moves, in its order. The constant ops on the image are its
    preprocessing: the image is what they make of it."""
    found = Flow(graph.inputs[0])
    found.value[found.image], found.members[found.image] = found.image, [found.image]
    for node in graph.nodes:
        data = [name for name in node.inputs if name in found.value]
        if not data:
            continue
        read = tuple(found.value[name] for name in data)
        kind = KINDS.get(node.op, node.op)
        if kind in (*MOVES, *FORMATS):
            value = read[0]
            if kind in MOVES:
                found.moved.update(node.outputs)
        else:
            value = node.outputs[0]
            found.members[value] = []
            if kind in ("sub", "mul") and read == (found.image,):
                found.image = value
            else:
                found.steps.append(
                    Computation(kind, read, value, _weight_shape(node, kind, graph), node)
                )
        for name in node.outputs:
            found.value[name] = value
            found.members[value].append(name)
    return found


def _weight_shape(node: FileNode, kind: str, graph: FileGraph) -> tuple[int, ...]:
    """Sizes of a convolution's weight in any layout: sorted, without ones."""
    if kind != CONV:
        return ()
    return tuple(sorted(n for n in graph.tensors[node.inputs[1]].shape if n > 1))


def name_tensors(
    program: ProgramTaps, graph: FileGraph, program_weight: Weight, weight: Weight
) -> Naming:
    """The published names of `graph`'s tensors.

    program_weight, weight: a convolution's weight, real, in the published layout. Raises `NoMatch`
    where the file computes something else.
    """
    own, other = flow(program.graph), flow(graph)
    known = {own.image: other.image}
    waiting: dict[tuple, list[Computation]] = defaultdict(list)
    for step in other.steps:
        waiting[_key(step, step.inputs)].append(step)
    siblings: dict[tuple, list[Computation]] = defaultdict(list)
    for step in own.steps:
        siblings[_key(step, step.inputs)].append(step)
    fused = {own.value[result]: own.value[source] for result, source in program.norms.items()}
    inside = _inside(own, fused)
    steps: dict[str, FileNode] = {}
    unseen: set[str] = set()

    def take(mine: Computation, found: Computation) -> None:
        known[mine.output] = found.output
        steps[mine.output] = found.node

    for step in own.steps:
        if step.output in known:
            continue
        inputs = tuple(known.get(name, "") for name in step.inputs)
        candidates = waiting.get(_key(step, inputs), []) if all(inputs) else []
        alike = siblings[_key(step, step.inputs)]
        if candidates and len(alike) > len(candidates):
            raise NoMatch(f"{len(alike)} ops like {_label(program, step)}, {len(candidates)} found")
        if candidates:
            for mine, found in _paired(alike, candidates, program_weight, weight):
                take(mine, found)
        elif step.output in fused:
            whole = waiting.get((NORM, (known.get(fused[step.output], ""),), ()), [])
            if not whole:
                raise NoMatch(f"no op for {_label(program, step)}")
            take(step, whole[0])
        elif step.kind in CLAMPED and all(inputs):
            # The op before clamps its own result: what it would be otherwise stands nowhere.
            known[step.output] = inputs[0]
            unseen.add(step.inputs[0])
        elif step.output not in inside:
            raise NoMatch(f"no op for {_label(program, step)}")
    names = {}
    for name, tensor in program.names.items():
        value = known.get(own.value[tensor])
        if value is not None and own.value[tensor] not in unseen:
            names[name] = _member(own, other, program.graph, graph, tensor, value)
    return Naming(names, steps)


def _key(step: Computation, inputs: tuple[str, ...]) -> tuple:
    ordered = tuple(sorted(inputs)) if step.kind in COMMUTATIVE else inputs
    return step.kind, ordered, step.weight


def _inside(own: Flow, fused: dict[str, str]) -> set[str]:
    """Values that are made inside norms."""
    makers = {step.output: step for step in own.steps}
    inside: set[str] = set()
    for result, source in fused.items():
        pending = [result]
        while pending:
            for name in makers[pending.pop()].inputs:
                if name != source and name not in inside:
                    inside.add(name)
                    pending.append(name)
    return inside


def _paired(
    mine: list[Computation], found: list[Computation], program_weight: Weight, weight: Weight
) -> list[tuple[Computation, Computation]]:
    """Ops of one input, each with the one whose weight is nearest to its own."""
    if len(mine) == 1 == len(found) or mine[0].kind != CONV:
        return list(zip(mine, found, strict=False))
    theirs = [weight(step.node) for step in found]
    distances = []
    for i, step in enumerate(mine):
        own = program_weight(step.node)
        for k, value in enumerate(theirs):
            distance = math.inf
            if value.shape == own.shape:
                distance = float(np.square(own - value).sum() / max(np.square(own).sum(), 1e-30))
            distances.append((distance, i, k))
    pairs, left, right = [], set(range(len(mine))), set(range(len(found)))
    for _, i, k in sorted(distances):
        if i in left and k in right:
            pairs.append((mine[i], found[k]))
            left.remove(i)
            right.remove(k)
    return pairs


def _member(
    own: Flow, other: Flow, program: FileGraph, graph: FileGraph, tensor: str, value: str
) -> str:
    """The tensor of the file's `value` that is what `tensor` is in the program: codes or real.

    Of moved copies the first one that has the program's shape, channels first or last: some
    runtimes quantize before they move, some after.
    """
    held = _held(program, tensor)
    mine = _copies(own, program, own.value[tensor], held)
    theirs = _copies(other, graph, value, held) or [other.members[value][:1]]
    place = next(i for i, copies in enumerate(mine) if tensor in copies)
    copies = theirs[min(place, len(theirs) - 1)]
    shape = program.tensors[tensor].shape
    fitting = (shape, (*shape[:1], *shape[2:], *shape[1:2]))
    return next((t for t in copies if graph.tensors[t].shape in fitting), copies[0])


def _held(graph: FileGraph, tensor: str) -> str:
    """As what a tensor's values are held."""
    found = graph.tensors[tensor]
    return "real" if not found.scale else "wide" if found.dtype == "int16" else "codes"


def _copies(flow_: Flow, graph: FileGraph, value: str, held: str) -> list[list[str]]:
    """The tensors of a value that are held so, each with its moved copies."""
    groups: list[list[str]] = []
    for tensor in flow_.members[value]:
        if _held(graph, tensor) == held:
            if tensor in flow_.moved and groups:
                groups[-1].append(tensor)
            else:
                groups.append([tensor])
    return groups


def _label(program: ProgramTaps, step: Computation) -> str:
    """What people call an op: its weight, or the next named tensor."""
    if step.output in program.weights:
        return program.weights[step.output]
    values = flow(program.graph).value
    named = [name for name, tensor in program.names.items() if values[tensor] == step.output]
    return named[0] if named else f"a {step.kind}"
