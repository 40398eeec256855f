"""Rewrites of an XNNPACK graph before it is written into a `.pte`: data moves once, as int8.

ExecuTorch brackets every op that it runs channels-last with transposes and moves dequantized
values. The rules here bring those transposes together, where they cancel, and put quantize and
dequantize on the side where the moved tensor is int8. Values are the same, bit by bit: a
quantization commutes with moving data, and padding by 0 is padding by the zero point.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

from export.targets.executorch.xnnpack.reader import INVALID_ID

# Kinds of nodes, by the names of ExecuTorch's own dataclasses (xnnpack_graph_schema).
CONVERT, TRANSPOSE, PAD = "XNNConvert", "XNNStaticTranspose", "XNNStaticConstantPad"
RESHAPE, BATCH_MATMUL = "XNNStaticReshape", "XNNBatchMatrixMultiply"
MOVEMENT = (TRANSPOSE, RESHAPE)
FLAG_TRANSPOSE_B = 1  # XNN_FLAG_TRANSPOSE_B in xnnpack.h


def simplify(graph: Any) -> Any:
    """The XNNGraph `graph` with fewer transposes, as a copy; applies the rules until none holds."""
    editor = _Editor(copy.deepcopy(graph))
    editor.apply(editor.transpose_in_matmul)  # first: a dequantize may come in between later
    editor.apply(
        editor.move_before_dequantize,
        editor.quantize_before_move,
        editor.drop_requantize,
        editor.pad_after_transpose,
        editor.merge_transposes,
    )
    editor.drop_unused()
    return editor.graph


def _kind(node: Any) -> str:
    """The kind of a node, "" of None."""
    return "" if node is None else type(node.xnode_union).__name__


def _moves(node: Any) -> bool:
    """Whether a node only moves values, and may as well move codes: a pad where it pads by 0."""
    if _kind(node) == PAD:
        return node.xnode_union.padding_value == 0.0
    return _kind(node) in MOVEMENT


class _Editor:
    """An XNNGraph in the making; each rule changes the graph around a node, or returns False."""

    def __init__(self, graph: Any):
        self.graph = graph
        self.values = {_tensor(v).id_out: v for v in graph.xvalues}

    def apply(self, *rules: Callable[[Any], bool]) -> None:
        """Apply the rules until none holds anywhere."""
        while any(rule(node) for node in list(self.graph.xnodes) for rule in rules):
            pass

    # -- the rules

    def move_before_dequantize(self, node: Any) -> bool:
        """move(dequantize(x)) to dequantize(move(x))."""
        before = self._before(node) if _moves(node) else None
        if not self._converts(before, to_int8=False):
            return False
        self._swap(before, node)
        return True

    def quantize_before_move(self, node: Any) -> bool:
        """quantize(move(x)) to move(quantize(x))."""
        before = self._before(node) if self._converts(node, to_int8=True) else None
        if not _moves(before) or not self._only_reader(before):
            return False
        if self._is_int8(before.xnode_union.input_id):
            return False
        self._swap(before, node)
        return True

    def drop_requantize(self, node: Any) -> bool:
        """quantize(dequantize(x)) with the same parameters to x."""
        before = self._before(node) if self._converts(node, to_int8=True) else None
        if not self._converts(before, to_int8=False):
            return False
        source, result = before.xnode_union.input_id, node.xnode_union.output_id
        if self._params(source) != self._params(result):
            return False
        return self._replace(node, source)

    def pad_after_transpose(self, node: Any) -> bool:
        """transpose(pad(x)) to pad(transpose(x))."""
        before = self._before(node) if _kind(node) == TRANSPOSE else None
        if _kind(before) != PAD or not self._only_reader(before):
            return False
        self._swap(before, node)
        return True

    def merge_transposes(self, node: Any) -> bool:
        """transpose(transpose(x)) to one, or to x where they cancel."""
        if _kind(node) != TRANSPOSE:
            return False
        first = self._before(node)
        if _kind(first) == TRANSPOSE:
            inner = first.xnode_union.perm
            node.xnode_union.perm = [inner[i] for i in node.xnode_union.perm]
            node.xnode_union.input_id = first.xnode_union.input_id
            self._drop_dead(first)
            return True
        if list(node.xnode_union.perm) == sorted(node.xnode_union.perm):
            return self._replace(node, node.xnode_union.input_id)
        return False

    def transpose_in_matmul(self, node: Any) -> bool:
        """matmul(a, transpose(b)) to the matmul that reads b transposed."""
        if _kind(node) != BATCH_MATMUL or node.xnode_union.flags & FLAG_TRANSPOSE_B:
            return False
        before = self._producer(node.xnode_union.input2_id)
        if _kind(before) != TRANSPOSE or not self._only_reader(before):
            return False
        perm = list(before.xnode_union.perm)
        last = len(perm) - 1
        if perm != [*range(last - 1), last, last - 1]:
            return False
        node.xnode_union.input2_id = before.xnode_union.input_id
        node.xnode_union.flags |= FLAG_TRANSPOSE_B
        self.graph.xnodes.remove(before)
        return True

    def drop_unused(self) -> None:
        """Leave out values that no node reads or writes."""
        used = {i for n in self.graph.xnodes for i in (*_inputs(n), *_outputs(n))}
        used |= set(self.graph.input_ids) | set(self.graph.output_ids)
        self.graph.xvalues = [v for v in self.graph.xvalues if _tensor(v).id_out in used]

    # -- what they are made of

    def _swap(self, first: Any, second: Any) -> None:
        """first, then second, to second', then first', both where second stands."""
        source, result = first.xnode_union.input_id, second.xnode_union.output_id
        moved = _twin(second.xnode_union, input_id=source)
        done = _twin(first.xnode_union, output_id=result)
        if _kind(second) == TRANSPOSE and _kind(first) == PAD:
            for name in ("pre_paddings", "post_paddings"):
                setattr(done, name, [getattr(done, name)[i] for i in second.xnode_union.perm])
        # Between them: second's shape where second moves, else first's input's; the format that
        # second makes where it converts, else the one that first reads.
        shape = self._shape_after(moved, second, source, result)
        like = result if _kind(second) == CONVERT else source
        moved.output_id = done.input_id = self._new_value(like, shape)
        at = self.graph.xnodes.index(second)
        self.graph.xnodes[at : at + 1] = [
            dataclasses.replace(second, xnode_union=moved),
            dataclasses.replace(first, xnode_union=done),
        ]
        self._drop_dead(first)

    def _shape_after(self, moved: Any, second: Any, source: int, result: int) -> list[int]:
        dims = list(_tensor(self.values[source]).dims)
        if _kind(second) == CONVERT:
            return dims
        if _kind(second) == TRANSPOSE:
            return [dims[i] for i in moved.perm]
        return list(_tensor(self.values[result]).dims)

    def _new_value(self, like: int, dims: list[int]) -> int:
        """An internal value of the format of value `like`; its id."""
        value = copy.deepcopy(self.values[like])
        tensor = _tensor(value)
        tensor.id_out = max(self.values) + 1
        tensor.dims, tensor.num_dims = dims, len(dims)
        tensor.external_id, tensor.flags, tensor.constant_buffer_idx = INVALID_ID, 0, 0
        self.values[tensor.id_out] = value
        self.graph.xvalues.append(value)
        return tensor.id_out

    def _replace(self, node: Any, source: int) -> bool:
        """Let the readers of `node`'s output read `source`. Where it is the graph's output, what
        makes `source` makes it instead; not where that is an edge of the graph too."""
        result, made = node.xnode_union.output_id, self._producer(source)
        if result in self.graph.output_ids:
            if made is None or source in self.graph.output_ids:
                return False
            made.xnode_union.output_id = result
            source, result = result, source
        for reader in self.graph.xnodes:
            for name, value in vars(reader.xnode_union).items():
                if name.endswith("_id") and name != "output_id" and value == result:
                    setattr(reader.xnode_union, name, source)
        producer = self._before(node)
        self.graph.xnodes.remove(node)
        self._drop_dead(producer)
        return True

    def _drop_dead(self, node: Any) -> None:
        """Remove `node` where nothing reads it, and then what made its input."""
        while node is not None and not self._is_read(node.xnode_union.output_id):
            before = self._before(node)
            self.graph.xnodes.remove(node)
            node = before

    def _is_read(self, value: int) -> bool:
        return value in self.graph.output_ids or any(value in _inputs(n) for n in self.graph.xnodes)

    def _only_reader(self, node: Any) -> bool:
        """Whether `node`'s output is read once, and not the graph's."""
        result = node.xnode_union.output_id
        reads = sum(_inputs(n).count(result) for n in self.graph.xnodes)
        return reads == 1 and result not in self.graph.output_ids

    def _producer(self, value: int) -> Any:
        return next((n for n in self.graph.xnodes if value in _outputs(n)), None)

    def _before(self, node: Any) -> Any:
        """What makes the one input of `node`; None where nothing does, or there are several."""
        return self._producer(getattr(node.xnode_union, "input_id", INVALID_ID))

    def _converts(self, node: Any, to_int8: bool) -> bool:
        if _kind(node) != CONVERT:
            return False
        ends = self._is_int8(node.xnode_union.input_id), self._is_int8(node.xnode_union.output_id)
        return ends == (not to_int8, to_int8)

    def _is_int8(self, value: int) -> bool:
        return _tensor(self.values[value]).datatype.name == "xnn_datatype_qint8"

    def _params(self, value: int) -> Any:
        return self.values[value].xvalue_union.quant_params


def _tensor(value: Any) -> Any:
    return getattr(value.xvalue_union, "tensor_value", value.xvalue_union)


def _twin(union: Any, **changes: int) -> Any:
    return dataclasses.replace(copy.deepcopy(union), **changes)


def _inputs(node: Any) -> list[int]:
    found = vars(node.xnode_union).items()
    return [v for k, v in found if k.endswith("_id") and k != "output_id" and v != INVALID_ID]


def _outputs(node: Any) -> list[int]:
    return [node.xnode_union.output_id]
