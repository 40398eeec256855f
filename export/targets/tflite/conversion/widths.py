"""Number formats of different widths side by side: int8 convolutions beside 16-bit attention.

TFLite's kernels take operands and give results of one width. A QUANTIZE from one to the other
stands wherever a program's tensors differ, and widening is exact. The converter drops such a
QUANTIZE as a pair that changes nothing; so it is given one with a `MARK` inside, an op that no
kernel computes in whole numbers, and the mark is taken out of its file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # noqa: F401  (registers quantized_decomposed)
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from quantization.params import MIN_WIDE_SUM, WIDE_MAX, WIDE_MIN, WIDENED

Q = torch.ops.quantized_decomposed
QUANTIZE, DEQUANTIZE = Q.quantize_per_tensor.default, Q.dequantize_per_tensor.default
MARK = torch.ops.aten.ceil.default
# How torch.export begins the names of parameters, buffers and constants.
HELD = ("p_", "b_", "c_")
ATEN = torch.ops.aten
SUMS = (ATEN.add.Tensor, ATEN.sub.Tensor)
# Ops with 16-bit kernels that compute them well. Others stay float: none has one but rsqrt, whose
# kernel interpolates between 513 values and is 40 % off where codes are small.
WIDE = (
    *SUMS, ATEN.mul.Tensor, ATEN.bmm.default, ATEN.mm.default,
    ATEN.matmul.default, ATEN._softmax.default, ATEN.softmax.int, ATEN.conv2d.default,
    ATEN.convolution.default, ATEN.mean.dim, ATEN.cat.default,
)  # fmt: skip
# Ops that move values, whatever their format.
MOVES = (
    ATEN.view.default, ATEN.permute.default, ATEN.reshape.default, ATEN.expand.default,
    ATEN.clone.default, ATEN.squeeze.dims, ATEN.squeeze.dim, ATEN.unsqueeze.default,
    ATEN.slice.Tensor, ATEN._unsafe_view.default, ATEN._to_copy.default, ATEN.transpose.int,
)  # fmt: skip


@contextlib.contextmanager
def widths_marked() -> Iterator[None]:
    """Inside the block, litert-torch converts programs whose widths are made to fit."""
    from litert_torch._convert import core

    export = core.export_torch_signature

    def export_and_mark(*args: Any, **options: Any) -> ExportedProgram:
        program = export(*args, **options)
        fit_widths(program.graph_module.graph)
        program.graph_module.recompile()
        return program

    core.export_torch_signature = export_and_mark
    try:
        yield
    finally:
        core.export_torch_signature = export


def fit_widths(graph: Graph) -> None:
    """Put a change of width before every op that reads another than its widest, and behind every
    one whose result is a narrower one. Graphs of int8 alone stay as they are."""
    nodes = list(graph.nodes)
    if not any(n.target is QUANTIZE and n.args[-1] is torch.int16 for n in nodes):
        return
    if any(n.target is MARK for n in nodes):
        raise ValueError("ceil can't stand beside 16-bit codes")
    for node in nodes:
        if node.target is QUANTIZE:
            before = node.args[0]
            if before.target is DEQUANTIZE and before.args[-1] is not node.args[-1]:
                _mark(graph, node, before)
        elif node.op == "call_function" and node.target is not DEQUANTIZE:
            read = {n: held for n in node.all_input_nodes if (held := dequantized(n)) is not None}
            results = [user for user in node.users if user.target is QUANTIZE]
            if read and node.target in MOVES:
                _keep_width(graph, node, *read.values(), results)
            elif torch.int16 in {pair.args[-1] for pair in (*read.values(), *results)}:
                if node.target in WIDE and results:
                    _widen(graph, node, read, results)
                elif results:
                    _frame(graph, node, results)


def _keep_width(graph: Graph, node: Node, held: Node, results: list[Node]) -> None:
    """What is moved changes its width afterwards."""
    for result in results:
        if result.args[-1] is not held.args[-1]:
            _mark(graph, result, _pair(graph, result, node, held.args[1:]))


def _widen(graph: Graph, node: Node, read: dict[Node, Node], results: list[Node]) -> None:
    """An op on 16-bit codes. The converter would quantize a constant beside them to 8 bits: there
    the op stays float between marks, which `marks` makes one of 16 bits."""
    joined = node.target is ATEN.cat.default and len(results) == 1
    framed = joined or any(_constant(held) for held in read.values())
    for source, held in read.items():
        if _constant(held):
            continue
        args = _wide_args(results[0] if joined else held)
        if args != held.args[1:]:
            marked = _marked(graph, node, source)
            node.replace_input_with(source, _pair(graph, node, marked, args))
    if node.target in SUMS:
        _require_summands(node, read, results)
    for result in results:
        if result.args[-1] is torch.int8:
            _mark(graph, result, _pair(graph, result, node, wide(result)))
    if framed:
        _frame(graph, node, [user for user in node.users if user.target is QUANTIZE])


def _require_summands(node: Node, read: dict[Node, Node], results: list[Node]) -> None:
    """`ValueError` for a sum so much smaller than its operands that its kernel ends the process."""
    scales = [_wide_args(held)[0] for held in read.values()]
    for result in results:
        if max(scales, default=0.0) * MIN_WIDE_SUM > _wide_args(result)[0]:
            raise ValueError(f"{node.name}: its operands are over 8,192 times as large as the sum")


def _frame(graph: Graph, node: Node, results: list[Node]) -> None:
    """Marks around an op: it stays float as it is converted."""
    for source in [n for n in node.all_input_nodes if not _constant(dequantized(n))]:
        node.replace_input_with(source, _marked(graph, node, source))
    for result in results:
        _mark(graph, result, node)


def _wide_args(pair: Node) -> tuple[Any, ...]:
    """The 16-bit parameters of a quantize or dequantize, or those that hold its int8 codes."""
    return pair.args[1:] if pair.args[-1] is torch.int16 else wide(pair)


def _constant(pair: Node | None) -> bool:
    """Whether the codes of a dequantize are of what the program holds."""
    source = pair.args[0].args[0] if pair is not None else None
    return source is not None and source.op != "call_function" and source.name[:2] in HELD


def dequantized(node: Node) -> Node | None:
    """The dequantize whose values `node` has, moved or as they are; None for real ones."""
    while node.target in MOVES:
        node = node.args[0]
    return node if node.target is DEQUANTIZE else None


def wide(pair: Node) -> tuple[Any, ...]:
    """The 16-bit parameters that hold every code of an int8 quantize or dequantize exactly."""
    return (pair.args[1] * WIDENED, 0, WIDE_MIN, WIDE_MAX, torch.int16)


def _pair(graph: Graph, before: Node, source: Node, args: tuple[Any, ...]) -> Node:
    """`source` quantized and dequantized, in front of `before`; the result."""
    with graph.inserting_before(before):
        codes = _made(graph, QUANTIZE, (source, *args), source, args[-1])
        return _made(graph, DEQUANTIZE, (codes, *args), source)


def _marked(graph: Graph, before: Node, source: Node) -> Node:
    """`source` behind a mark, in front of `before`."""
    with graph.inserting_before(before):
        return _made(graph, MARK, (source,), source)


def _mark(graph: Graph, quantize: Node, source: Node) -> None:
    """Let a quantize read `source` behind a mark."""
    quantize.args = (_marked(graph, quantize, source), *quantize.args[1:])


def _made(
    graph: Graph, op: Any, args: tuple[Any, ...], like: Node, dtype: torch.dtype = torch.float32
) -> Node:
    node = graph.call_function(op, args)
    node.meta = {**like.meta, "val": like.meta["val"].to(dtype)}
    return node
