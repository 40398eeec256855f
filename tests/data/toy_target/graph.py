"""The graph of a file: its program's nodes under the names that every reader uses."""

from __future__ import annotations

import io
import math
from pathlib import Path

import torch
from mobilemod.targets.toy import FACTS
from torch.fx import Node

from export.graph import CONV, DEQUANTIZE, QUANTIZE, FileGraph, FileNode, FileTensor
from mobilemod.errors import UserError

LABELS = "labels.json"
OPS = {"conv2d": CONV, "quantize_per_tensor": QUANTIZE, "dequantize_per_tensor": DEQUANTIZE,
       "dequantize_per_channel": DEQUANTIZE}  # fmt: skip


def open_program(path: Path) -> torch.export.ExportedProgram:
    """The file's program; `UserError` where it holds none."""
    try:
        return torch.export.load(io.BytesIO(path.read_bytes()))
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} is no toy file ({error})") from None


def read_graph(path: Path) -> FileGraph:
    """The file's graph."""
    program = open_program(path)
    stored = {**program.state_dict, **program.constants}
    specs = {s.arg.name: s.target for s in program.graph_signature.input_specs if s.target}
    tensors, nodes = {}, []
    for node in program.graph.nodes:
        if node.op == "output":
            continue
        value = node.meta["val"]
        dtype = str(value.dtype).removeprefix("torch.")
        constant = specs.get(node.name) in stored
        scale, zero_point = _parameters(node)
        tensors[node.name] = FileTensor(
            node.name, tuple(value.shape), dtype, scale, zero_point, constant=constant
        )
        if node.op == "call_function":
            name = node.target._schema.name.partition("::")[2]
            inputs = tuple(a.name for a in node.args if isinstance(a, Node))
            nodes.append(FileNode(OPS.get(name, name), inputs, (node.name,), _macs(name, node)))
    users = program.graph_signature
    return FileGraph(
        FACTS.name, tensors, tuple(nodes), tuple(users.user_inputs), tuple(users.user_outputs)
    )


def _parameters(node: Node) -> tuple[tuple[float, ...], tuple[int, ...]]:
    if node.op == "call_function" and "::quantize_per_tensor" in node.target._schema.name:
        return (float(node.args[1]),), (int(node.args[2]),)
    return (), ()


def _macs(name: str, node: Node) -> int:
    if name != "conv2d":
        return 0
    out, weight = node.meta["val"], node.args[1].meta["val"]
    return out.numel() * math.prod(weight.shape[1:])
