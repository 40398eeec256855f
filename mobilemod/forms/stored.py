"""A canonical form as JSON and tensors: kept, hashed and rebuilt without its network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mobilemod.errors import UserError
from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import (
    Affine,
    Call,
    ChannelMean,
    ChannelNorm,
    Fixed,
    Hole,
    MatMul,
    Rearrange,
    Repeat,
    Select,
    Tile,
)

SCHEMA = "mobilemod/form/1"
# Op -> the attributes that make it; what has weights is below.
PLAIN: dict[type[nn.Module], tuple[str, ...]] = {
    ChannelNorm: ("eps", "groups"),
    ChannelMean: (),
    Rearrange: ("sizes", "source", "target"),
    MatMul: ("transposed",),
    Repeat: ("times",),
    Select: ("index",),
    Tile: (),
}
GEOMETRY = ("stride", "padding", "dilation", "groups")
BY_NAME = {kind.__name__: kind for kind in (*PLAIN, NamedConv2d, Affine, Call, Fixed)}


def weight_names(node: Node) -> dict[str, str]:
    """Attribute of a node's op -> the name of that tensor among a form's weights."""
    op = node.op
    if isinstance(op, NamedConv2d):
        found = ("weight",) if op.bias is None else ("weight", "bias")
        return {a: f"{op.module}.{a}" for a in found}
    if isinstance(op, Affine):
        found = ("scale",) if op.shift is None else ("scale", "shift")
        return {a: f"{node.tensor}.{a}" for a in found}
    if isinstance(op, Fixed):
        return {"value": node.tensor}
    return {}


def weights_of(graph: Graph) -> dict[str, Tensor]:
    """The weights of a named graph; float32, an index int64."""
    found = {}
    for node in graph.nodes:
        for attribute, name in weight_names(node).items():
            value = getattr(node.op, attribute).detach()
            found[name] = value.float() if value.is_floating_point() else value
    return found


def to_dict(graph: Graph) -> dict[str, Any]:
    """A named graph without its weights, as JSON-ready values."""
    place = {node: i for i, node in enumerate(graph.nodes)}
    nodes = []
    for node in graph.nodes:
        entry: dict[str, Any] = {
            "tensor": node.tensor, "role": node.role, "path": node.path,
            "shape": list(node.shape), "inputs": [place[n] for n in node.inputs],
        }  # fmt: skip
        if node.module:
            entry["module"] = node.module
        if node.source is not None:
            entry["values_of"] = place[node.source]
        if node.op is not None:
            entry |= {"op": type(node.op).__name__, **_settings(node)}
        nodes.append(entry)
    return {"schema": SCHEMA, "output": place[graph.output], "nodes": nodes}


def _settings(node: Node) -> dict[str, Any]:
    op = node.op
    if isinstance(op, NamedConv2d):
        return {"module": op.module, **{a: getattr(op, a) for a in GEOMETRY}}
    if isinstance(op, Call):
        found = {"name": op.name, "args": _encoded(op.args), "options": _encoded(op.options)}
        return found if op.item is None else {**found, "item": op.item}
    return {a: getattr(op, a) for a in PLAIN.get(type(op), ())}


def from_dict(values: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Graph:
    """The graph of `to_dict`'s form with its weights; `UserError` where they don't go together."""
    if values.get("schema") != SCHEMA:
        raise UserError(f"form: schema {values.get('schema')!r} is not {SCHEMA!r}")
    graph = Graph()
    try:
        for entry in values["nodes"]:
            # A convolution's module is its own: the node has none.
            module = "" if entry.get("op") == "NamedConv2d" else entry.get("module", "")
            node = Node(
                None, [graph.nodes[i] for i in entry["inputs"]], tuple(entry["shape"]),
                entry["path"], entry["role"], entry["tensor"], module,
            )  # fmt: skip
            if "values_of" in entry:
                node.source = graph.nodes[entry["values_of"]]
            if "op" in entry:
                node.op = _op(entry, weights)
            graph.nodes.append(node)
        graph.output = graph.nodes[values["output"]]
        graph.output.ends = True
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise UserError(f"form: damaged, or of other weights ({error!r})") from None
    return graph


def _op(entry: Mapping[str, Any], weights: Mapping[str, Tensor]) -> nn.Module:
    kind, tensor = BY_NAME[entry["op"]], entry["tensor"]
    if kind is NamedConv2d:
        module = entry["module"]
        geometry = {a: entry[a] if a == "groups" else tuple(entry[a]) for a in GEOMETRY}
        bias = weights.get(f"{module}.bias")
        return NamedConv2d(module, "", weights[f"{module}.weight"], bias, **geometry)
    if kind is Affine:
        return Affine(weights[f"{tensor}.scale"], weights.get(f"{tensor}.shift"))
    if kind is Fixed:
        return Fixed(weights[tensor])
    if kind is Call:
        options = _decoded(entry["options"])
        return Call(entry["name"], _decoded(entry["args"]), options, entry.get("item"))
    return kind(*(entry[a] for a in PLAIN[kind]))


def _encoded(value: Any) -> Any:
    if isinstance(value, Hole):
        return {"tensor": value.index}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, list | tuple):
        return [_encoded(v) for v in value]
    if isinstance(value, dict):
        return {"options": {k: _encoded(v) for k, v in value.items()}}
    return value


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(v) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    decode: dict[str, Callable[[Any], Any]] = {
        "tensor": Hole,
        "dtype": lambda name: getattr(torch, name),
        "options": lambda d: {k: _decoded(v) for k, v in d.items()},
    }
    return decode[kind](inner)
