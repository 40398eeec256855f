"""What reads and writes what in a form: which tensors become float with a module.

A runtime computes an op in int8 only where all that it reads and writes is int8. So a tensor must
be int8 as long as one int8 op touches it, and is better float as soon as none does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import Constant, NamedConv2d, Tap
from mobilemod.forms.naming import CLAMPS, KEEPS_RANGE
from mobilemod.forms.ops import Call, Fixed, MatMul, Rearrange, Select, Tile
from quantization.placement import int8_modules
from quantization.recipe import Recipe
from quantization.sensitivity.effects import published_module

MOVES = {
    "contiguous", "expand", "flatten", "pad", "permute", "reshape", "squeeze", "transpose",
    "unflatten", "unsqueeze", "view",
}  # fmt: skip
# What a trace doesn't look into.
LEAVES = (Tap, Constant, NamedConv2d, Call, Fixed, MatMul, Rearrange, Select, Tile)


@dataclass(frozen=True)
class Op:
    """One op between taps.

    module: the network's module it belongs to, that of its weight or its result. layer: where it
    stands in `form.layers`, `len(layers)` behind them. reads, writes: groups of tensors that share
    their values; None where a value is float. weight, constants: tensor names. macs: of a
    convolution, none of one that only takes a mean. values: how many its result has, for one image.
    """

    module: str
    layer: int
    reads: tuple[str | None, ...]
    writes: str | None
    weight: str | None = None
    constants: tuple[str, ...] = ()
    macs: int = 0
    values: int = 0


@dataclass(frozen=True)
class Flow:
    """A form's ops under a recipe.

    tensors: all -> role, and the tensor whose values it holds, None for its own. int8: those that
    the recipe makes int8. groups: group -> its int8 activations. capable: the ops (by number)
    that are int8 as long as nothing is left float.
    """

    form: str
    tensors: Mapping[str, tuple[str, str | None]]
    int8: frozenset[str]
    ops: tuple[Op, ...]
    groups: dict[str, tuple[str, ...]]
    capable: frozenset[int]

    @property
    def names(self) -> tuple[str, ...]:
        """All tensors."""
        return tuple(self.tensors)

    def inside(self, modules: Collection[str]) -> frozenset[int]:
        """The int8 ops of these modules and of those within them."""
        return frozenset(i for i in self.capable if within(self.ops[i].module, modules))

    def floats(self, modules: Collection[str]) -> frozenset[int]:
        """The int8 ops that become float with these modules.

        A convolution between int8 tensors is int8 to TFLite's converter, whatever its weight is.
        So what a float convolution writes is float, and with it all that reads that.
        """
        found = self.inside(modules)
        while True:
            written = {self.ops[i].writes for i in found if self.ops[i].weight}
            more = {i for i in self.capable - found if written & {*self.ops[i].reads}}
            if not more:
                return found
            found |= more

    def touched(self, ops: Iterable[int]) -> set[str]:
        """The groups that these ops read or write."""
        return {g for i in ops for g in (*self.ops[i].reads, self.ops[i].writes) if g is not None}

    def selection(self, modules: Collection[str]) -> frozenset[str]:
        """The int8 tensors when these modules are left float."""
        floats = self.floats(modules)
        rest = self.capable - floats
        gone = self.touched(floats) - self.touched(rest)
        kept = {c for i in rest for c in self.ops[i].constants}
        lost = {t for g in gone for t in self.groups[g]}
        for i in floats:
            lost |= {*self.ops[i].constants, self.ops[i].weight} - kept
        return self.int8 - lost

    def int8_share(self, modules: Collection[str]) -> float:
        """int8 part of the convolutions' multiply-accumulates when these modules are float."""
        rest = self.capable - self.floats(modules)
        total = sum(op.macs for op in self.ops)
        return sum(self.ops[i].macs for i in rest) / total if total else 1.0

    def boundary(self, modules: Collection[str]) -> int:
        """How many values are quantized or dequantized for one image, edges included."""
        rest = self.capable - self.floats(modules)
        int8 = self.selection(modules)
        alive = {g for g, ts in self.groups.items() if int8.intersection(ts)}
        made = {self.ops[i].writes for i in rest}
        read = {g for i, op in enumerate(self.ops) if i not in rest for g in op.reads}
        sizes = {op.writes: op.values for op in reversed(self.ops)}
        return sum(sizes[g] * ((g not in made) + (g in read)) for g in alive)

    def candidates(self, modules: Iterable[str]) -> list[str]:
        """The modules that can be left float: each set of int8 ops once.

        None spans layers; of two with the same ops the inner one is named.
        """
        found: dict[frozenset[int], str] = {}
        for name in modules:
            if len({self.ops[i].layer for i in self.inside([name])}) == 1:
                ops = self.floats([name])
                found[ops] = max(found.get(ops, ""), name, key=len)
        order = sorted(found.items(), key=lambda pair: (min(pair[0]), -len(pair[0])))
        return [name for ops, name in order]


def within(module: str, parents: Collection[str]) -> bool:
    """Whether a module is one of `parents` or inside one."""
    return any(module == p or module.startswith(f"{p}.") for p in parents)


@dataclass
class _Value:
    """What a node of the trace gives: the group of an int8 tap, a constant, or an op not yet at
    its tap (`reads` is set then). All else is float."""

    group: str | None = None
    constant: str | None = None
    reads: list[_Value] | None = None
    weight: str | None = None
    macs: int = 0
    values: int = 0


def _keeps(module: nn.Module) -> bool:
    """Whether a call moves values and computes none."""
    return (
        isinstance(module, Call)
        and module.kind in KEEPS_RANGE
        and "pool" not in module.kind
        and ("upsample" not in module.kind)
    )


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, name: str) -> bool:
        return isinstance(m, LEAVES) or super().is_leaf_module(m, name)


@dataclass
class _Builder:
    form: Form
    int8: frozenset[str]
    modules: Collection[str]
    ops: list[Op] = field(default_factory=list)
    groups: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def result(self, node: fx.Node, values: dict[fx.Node, _Value]) -> _Value:
        """The value of one node, from those before it."""
        size = node.meta["tensor_meta"].shape.numel()
        inputs = [values[n] for n in node.all_input_nodes if n in values]
        if node.op == "call_module":
            module = self.form.get_submodule(node.target)
            if isinstance(module, Constant):
                return _Value(constant=module.tensor, values=size)
            if isinstance(module, NamedConv2d):
                macs = 0 if module.takes_mean else size * module.weight[0].numel()
                return _Value(reads=inputs, weight=module.tensor, macs=macs, values=size)
            if isinstance(module, Tap):
                return self.tap(module, inputs[0], self.layer(node.target), size)
            if isinstance(module, Rearrange | Select | Tile | nn.Identity) or _keeps(module):
                return inputs[0]
            if getattr(module, "kind", "") in CLAMPS and inputs[0].weight:
                return inputs[0]  # the convolution clamps its own result
        name = getattr(node.target, "__name__", str(node.target))
        same = len({(v.group, v.constant) for v in inputs}) == 1 and inputs[0].group
        if inputs and (name in MOVES or (name == "cat" and same)):
            return inputs[0]
        return _Value(reads=inputs, values=size)

    def tap(self, tap: Tap, value: _Value, layer: int, size: int) -> _Value:
        """An op ends at its tap; a tap behind a tap only moves values."""
        int8 = tap.tensor in self.int8
        group = tap.source or tap.tensor
        if not int8 and (value.group is not None or tap.role == "clamped"):
            return value
        if int8:
            self.groups[group].append(tap.tensor)
        writes = group if int8 else None
        if value.reads is not None or (value.group is not None and value.group != group):
            reads = value.reads if value.reads is not None else [value]
            constants = tuple(v.constant for v in reads if v.constant is not None)
            sources = tuple(v.group for v in reads if v.constant is None)
            owner = published_module(value.weight or tap.tensor, self.modules)
            self.ops.append(
                Op(owner, layer, sources, writes, value.weight, constants, value.macs, size)
            )
        elif value.group is None:
            # Only moved: the image, in whichever layout.
            self.ops.append(Op(published_module(tap.tensor, self.modules), layer, (None,), writes,
                               values=size))  # fmt: skip
        return _Value(group=writes, values=size)

    def layer(self, target: str) -> int:
        parts = target.split(".")
        return int(parts[1]) if parts[0] == "layers" else len(self.form.layers)


@torch.no_grad()
def trace_flow(form: Form, form_name: str, recipe: Recipe, modules: Collection[str]) -> Flow:
    """The flow of `form` under `recipe`.

    modules: the paths of the network's modules.
    """
    named = [m for m in form.modules() if isinstance(m, Tap | Constant | NamedConv2d)]
    tensors = {m.tensor: (m.role, getattr(m, "source", None)) for m in named}
    int8 = frozenset(m.tensor for m in int8_modules(form, form_name, recipe))
    graph = fx.GraphModule(form, _Tracer().trace(form))
    ShapeProp(graph).propagate(torch.zeros(1, *form.image_shape))
    builder = _Builder(form, int8, modules)
    values: dict[fx.Node, _Value] = {}
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            values[node] = _Value()
        elif node.op != "output" and hasattr(node.meta.get("tensor_meta"), "shape"):
            values[node] = builder.result(node, values)
    capable = frozenset(i for i, op in enumerate(builder.ops) if _capable(op, int8))
    groups = {g: tuple(ts) for g, ts in builder.groups.items()}
    return Flow(form_name, tensors, int8, tuple(builder.ops), groups, capable)


def _capable(op: Op, int8: frozenset[str]) -> bool:
    held = {*op.constants, *([op.weight] if op.weight else [])}
    return op.writes is not None and None not in op.reads and held <= int8
