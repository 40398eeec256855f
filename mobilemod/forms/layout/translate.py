"""From a captured program to channels-first nodes, op by op; what no handler knows stays as it is."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from mobilemod.errors import UserError
from mobilemod.forms.capture import Captured, module_path
from mobilemod.forms.graph import Graph
from mobilemod.forms.layout import (  # noqa: F401  (each registers its handlers)
    attention,
    elementwise,
    moves,
    reductions,
    weighted,
)
from mobilemod.forms.layout.axes import Axis, View
from mobilemod.forms.layout.builder import Builder, Unsupported
from mobilemod.forms.layout.handlers import HANDLERS, Value
from mobilemod.forms.ops import Hole, filled

# Ops that need no handler and must not be decomposed.
KEPT = ("scaled_dot_product_attention.default",)


def known_ops() -> list[Any]:
    """The ops that handlers take, as torch has them."""
    found = []
    for name in HANDLERS:
        packet, _, overload = name.partition(".")
        op = getattr(getattr(torch.ops.aten, packet, None), overload, None)
        if op is not None:
            found.append(op)
    return found


def translate(program: Captured) -> tuple[Graph, list[str]]:
    """The graph of a program, and a line for each op that was left as it was."""
    builder = Builder(program.shape)
    values: dict[fx.Node, Any] = {}
    left: list[str] = []
    output: Any = None
    for node in program.graph.nodes:
        if node.op == "placeholder":
            image = node.name == program.image
            values[node] = builder.input if image else program.constants.get(node.name)
        elif node.op == "output":
            output = values[node.args[0][0]]
        elif node.op == "call_function":
            builder.path = module_path(node)
            args = fx.map_arg(node.args, values.__getitem__)
            options = fx.map_arg(dict(node.kwargs), values.__getitem__)
            values[node] = _translated(builder, node, list(args), dict(options), left)
    if not isinstance(output, View):
        raise UserError("the network's output doesn't depend on its image")
    final = builder.plain(output)
    builder.graph.output = final.node
    builder.graph.prune()
    return builder.graph, left


def _translated(
    b: Builder, node: fx.Node, args: list[Any], options: dict[str, Any], left: list[str]
) -> Any:
    target: Any = node.target
    if target is operator.getitem:
        return args[0][args[1]]
    if not _has_view(args) and not _has_view(list(options.values())):
        with torch.no_grad():
            return target(*args, **options)
    name = _name(target)
    handler = HANDLERS.get(name)
    try:
        if handler is not None:
            return handler(b, *args, **options)
        reason = "no rewrite knows it"
    except Unsupported as error:
        reason = str(error)
    left.append(f"{b.path or 'the network'}: {name.partition('.')[0]}: {reason}")
    return _as_it_is(b, name, args, options)


def _name(target: Any) -> str:
    return str(target).removeprefix("aten.")


def _has_view(values: Any) -> bool:
    if isinstance(values, View):
        return True
    return isinstance(values, list | tuple) and any(map(_has_view, values))


def _as_it_is(b: Builder, name: str, args: list[Any], options: Mapping[str, Any]) -> Value:
    """The op on tensors laid out as the program has them."""
    from mobilemod.forms.ops import Fixed

    nodes: list[Any] = []
    batched = False

    def place(value: Any) -> Any:
        nonlocal batched
        if isinstance(value, View):
            batched |= bool(value.dims) and value.dims[0] == (b.batch,)
            nodes.append(b.plain(value).node)
            return Hole(len(nodes) - 1)
        if isinstance(value, Tensor):
            nodes.append(b.add(Fixed(value), [], value.shape))
            return Hole(len(nodes) - 1)
        return [place(v) for v in value] if isinstance(value, list | tuple) else value

    placed = [place(a) for a in args]
    try:
        node = b.call(name, nodes, placed, "other", **dict(options))
    except (RuntimeError, NotImplementedError, AttributeError, TypeError) as error:
        raise UserError(
            f"{b.path or 'the network'}: the op {name} can't be taken over ({error})"
        ) from error
    first = (b.batch,) if batched and node.shape and node.shape[0] == b.batch.size else None
    dims = tuple((Axis(n),) if n > 1 else () for n in node.shape)
    if first:
        dims = (first, *dims[1:])
    return View(node, dims, dims)


__all__ = ["filled", "known_ops", "translate"]
