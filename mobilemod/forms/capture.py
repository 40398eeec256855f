"""Capture: any module with one image input as a graph of torch ops, weights apart.

`torch.export` gives the graph; ops that no rewrite here knows are decomposed into ones that it
knows, as far as torch can.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from mobilemod.errors import UserError


@dataclass(frozen=True)
class Captured:
    """A network as `torch.export` sees it.

    graph: functional, its placeholders the image and all weights. constants: placeholder -> value,
    float32 where it is a weight. image: the placeholder of the input; output: the node, or what
    the network gives instead of a tensor.
    """

    graph: fx.Graph
    constants: dict[str, Tensor]
    image: str
    output: Any
    shape: tuple[int, ...]


def capture(module: nn.Module, shape: tuple[int, ...], known: Collection[Any]) -> Captured:
    """The graph of `module`, in eval mode, for float32 images of `shape` (B, C, H, W).

    known: ops that are not to be decomposed. `UserError` in one line for what can't be exported,
    and where the result isn't one tensor.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.no_grad():
                program = torch.export.export(module.eval(), (torch.zeros(shape),), strict=False)
            table = torch.export.default_decompositions()
            for op in known:
                table.pop(op, None)
            # Decomposing takes ten times as long as capturing.
            if _to_decompose(program, table):
                program = program.run_decompositions(table)
        except Exception as error:
            name = type(module).__name__
            raise UserError(f"{name} can't be exported: {_reason(error)}") from error
    signature = program.graph_signature
    images = list(signature.user_inputs)
    outputs = list(signature.user_outputs)
    if len(images) != 1 or len(outputs) != 1:
        raise UserError(
            f"{type(module).__name__} has {len(images)} inputs and {len(outputs)} outputs; wrap it "
            "in a module that takes an image and gives one tensor"
        )
    changed = {**signature.buffers_to_mutate, **signature.user_inputs_to_mutate}
    if changed:
        names = ", ".join(sorted(set(changed.values())))
        raise UserError(
            f"{type(module).__name__} changes {names} in place as it runs, and finds it changed "
            "the next time; let it work on a copy"
        )
    constants: dict[str, Tensor] = {}
    named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers,
             **signature.inputs_to_lifted_tensor_constants}  # fmt: skip
    for placeholder, name in named.items():
        value = program.state_dict.get(name)
        if value is None:
            value = program.constants[name]
        constants[placeholder] = value.detach()
    return Captured(program.graph, constants, images[0], outputs[0], tuple(shape))


def _to_decompose(program: torch.export.ExportedProgram, table: Mapping[Any, Any]) -> bool:
    """Whether an op writes in place, or is in the table and works on what the image changes."""
    images = set(program.graph_signature.user_inputs)
    changed: set[fx.Node] = set()
    for node in program.graph.nodes:
        if node.name in images or not changed.isdisjoint(node.all_input_nodes):
            changed.add(node)
        schema = getattr(node.target, "_schema", None)
        if schema is not None and (schema.is_mutable or node in changed and node.target in table):
            return True
    return False


def _reason(error: Exception) -> str:
    """The first line of a message that says something, for people."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    if "data-dependent" in str(error).lower() or "GuardOnDataDependent" in type(error).__name__:
        text = f"its control flow depends on values of the image ({text})"
    return text[:300]


def module_path(node: fx.Node) -> str:
    """The path of the innermost module that a node comes from."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return stack[-1][0].partition("@")[0] if stack else ""
