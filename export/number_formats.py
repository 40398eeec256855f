"""In which number format each op of a file computes: from its operands, and what runtimes fuse."""

from __future__ import annotations

import math
from collections import defaultdict

from export.graph import (
    CONV,
    DEPTHWISE,
    DEQUANTIZE,
    DYNAMIC,
    LINEAR,
    MATMUL,
    QUANTIZE,
    RESHAPE,
    TRANSPOSE,
    WEIGHTED,
    FileGraph,
    FileNode,
    FileTensor,
)
from mobilemod.forms.means import only_takes_mean

EIGHT_BITS = ("int8", "uint8")
# Wider weights than these don't take part in 8-bit arithmetic.
WEIGHT_CODES = (*EIGHT_BITS, "int4", "uint4", "int2", "uint2", "uint1")
WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}  # bytes; of codes less
FLOATS = tuple(WIDTHS)
INT8, INT16, DYNAMIC_INT8, WEIGHT_ONLY, FLOAT, OTHER = range(6)
# One-input ops that XNNPACK, given int8 in and out, computes as one look-up table, several in a
# row included (its "fuse unary quantized into LUT"; ten nodes at most, the two converts included).
# Names as TFLite and as XNNPACK's graph in a `.pte` have them.
TABLE_OPS = (
    "abs", "ceil", "cos", "elu", "exp", "floor", "gelu", "hard_swish", "leaky_relu", "log",
    "logistic", "neg", "relu", "relu6", "relu_n1_to_1", "relu_0_to_1", "round", "rsqrt", "sign",
    "sin", "sqrt", "square", "tanh",
    "ceiling", "clamp", "hardswish", "leakyrelu", "negate", "reciprocalsquareroot", "sigmoid",
    "squareroot",
)  # fmt: skip
MAX_TABLE_NODES = 10


class GraphIndex:
    """Who makes and who reads each tensor of a graph; nodes by their place in `graph.nodes`."""

    def __init__(self, graph: FileGraph):
        self.graph = graph
        self.producer = {out: i for i, node in enumerate(graph.nodes) for out in node.outputs}
        self.readers: dict[str, list[int]] = defaultdict(list)
        for i, node in enumerate(graph.nodes):
            for name in node.inputs:
                self.readers[name].append(i)

    def made_by(self, name: str) -> FileNode | None:
        """The node whose output `name` is."""
        i = self.producer.get(name)
        return None if i is None else self.graph.nodes[i]

    def only_reader(self, i: int) -> int | None:
        """The one node that reads node `i`'s one output, where nothing else needs it."""
        outputs = self.graph.nodes[i].outputs
        found = self.readers.get(outputs[0], []) if len(outputs) == 1 else []
        return found[0] if len(found) == 1 and outputs[0] not in self.graph.outputs else None

    def data(self, node: FileNode) -> list[str]:
        """The node's inputs that aren't constants of the file."""
        return [name for name in node.inputs if not self.graph.tensors[name].constant]

    def stored(self, name: str) -> FileTensor:
        """What the tensor was before it was turned or unpacked; a constant if the file has it."""
        node = self.made_by(name)
        while node is not None and node.op in (TRANSPOSE, RESHAPE, DEQUANTIZE) and node.inputs:
            name, node = node.inputs[0], self.made_by(node.inputs[0])
        return self.graph.tensors[name]

    def takes_mean(self, node: FileNode) -> bool:
        """Whether the node is a convolution or linear that only takes a mean."""
        if node.op not in (CONV, DEPTHWISE, LINEAR) or len(node.inputs) < 2 or not node.outputs:
            return False
        weight = self.stored(node.inputs[1])
        if not weight.constant or weight.fill is None or len(set(weight.scale)) > 1:
            return False
        value = weight.fill
        if weight.scale:
            value = (value - (*weight.zero_point, 0)[0]) * weight.scale[0]
        count = node.macs // max(1, math.prod(self.graph.tensors[node.outputs[0]].shape))
        return only_takes_mean(value, value, count)

    def is_product(self, node: FileNode) -> bool:
        """Whether the node multiplies two activations, as attention does."""
        return node.op == MATMUL and not any(self.stored(n).constant for n in node.inputs[:2])

    def dequantizes_weights(self, node: FileNode) -> bool:
        """Whether the node only unpacks a stored weight: no pair with a quantize."""
        return node.op == DEQUANTIZE and bool(node.inputs) and not self.data(node)

    def table(self, i: int) -> tuple[int, ...]:
        """The nodes from dequantize `i` to a quantize that XNNPACK runs as one table, or none."""
        nodes, chain = self.graph.nodes, [i]
        first = nodes[i]
        if first.op != DEQUANTIZE or first.partition is None or not self.data(first):
            return ()
        if self.graph.tensors[first.inputs[0]].dtype not in EIGHT_BITS:
            return ()
        while len(chain) < MAX_TABLE_NODES:
            following = self.only_reader(chain[-1])
            if following is None or nodes[following].partition != first.partition:
                return ()
            node = nodes[following]
            chain.append(following)
            if node.op == QUANTIZE:
                eight = self.graph.tensors[node.outputs[0]].dtype in EIGHT_BITS
                return tuple(chain) if eight and len(chain) > 2 else ()
            if node.op not in TABLE_OPS or len(self.data(node)) != 1:
                return ()
        return ()


class NumberFormats:
    """Tells each node's number format, by what is known of the file's runtime.

    Where dequantize, op, quantize isn't how int8 is written, an op is int8 by its own tensors;
    between explicit pairs it is float, but for what XNNPACK makes a table of.
    """

    def __init__(self, graph: FileGraph):
        self.graph = graph
        self.index = GraphIndex(graph)
        places = range(len(graph.nodes)) if graph.facts.int8_tables else ()
        tables = map(self.index.table, places)
        self.in_tables = {graph.nodes[i].outputs for table in tables for i in table[1:-1]}

    def of(self, node: FileNode) -> tuple[int, str]:
        """(INT8, INT16, DYNAMIC_INT8, WEIGHT_ONLY, FLOAT or OTHER, in words)."""
        if node.op in (*WEIGHTED, MATMUL) and len(node.inputs) > 1:
            return self._weighted(node)
        if self._is_int8(node):
            return INT8, "int8"
        dtypes = {self.graph.tensors[o].dtype for o in node.outputs}
        for dtype in FLOATS:
            if dtype in dtypes:
                return FLOAT, dtype
        # Elsewhere 16-bit whole numbers are places in a tensor.
        wide = "int16" in dtypes and self.graph.facts.int16
        return (INT16, "int16") if wide else (OTHER, "other")

    def _weighted(self, node: FileNode) -> tuple[int, str]:
        data, weight = self._stored(node.inputs[0]), self._stored(node.inputs[1])
        read = self.graph.tensors[node.inputs[0]].dtype
        if not self.graph.facts.explicit_int8:
            data = read  # float kernels run behind a dequantize
        if data in EIGHT_BITS and weight in WEIGHT_CODES:
            return INT8, _words(data, weight)
        if data == "int16" and weight in (*WEIGHT_CODES, "int16"):
            return INT16, _words(data, weight)
        if data == DYNAMIC:
            return DYNAMIC_INT8, _words(data, weight)
        if read in FLOATS and weight in WEIGHT_CODES and self._constant(node.inputs[1]):
            direct = self.graph.tensors[node.inputs[1]].dtype in WEIGHT_CODES
            if self.graph.facts.dynamic_int8 and direct:
                return DYNAMIC_INT8, _words(DYNAMIC, weight)
        narrow = WIDTHS.get(weight, 1) < WIDTHS.get(read, 0)
        if narrow and self._constant(node.inputs[1]):
            return WEIGHT_ONLY, f"{_words(read, weight)} (weight-only)"
        return (FLOAT, read) if read in FLOATS else (OTHER, _words(read, weight))

    def _stored(self, name: str) -> str:
        """The dtype that a tensor had before it was dequantized."""
        source = self.index.made_by(name)
        if source is not None and source.op == DEQUANTIZE and source.inputs:
            return self.graph.tensors[source.inputs[0]].dtype
        return self.graph.tensors[name].dtype

    def _constant(self, name: str) -> bool:
        source = self.index.made_by(name)
        unpacked = source is not None and self.index.dequantizes_weights(source)
        return unpacked or self.graph.tensors[name].constant

    def _is_int8(self, node: FileNode) -> bool:
        if node.outputs in self.in_tables:
            return True
        seen = False
        for name in self.index.data(node):
            if self.graph.tensors[name].dtype in EIGHT_BITS:
                seen = True
                continue
            source = self.index.made_by(name)
            if not self.graph.facts.explicit_int8 or source is None or source.op != DEQUANTIZE:
                return False
            seen = True
        if not seen:
            return False
        if any(self.graph.tensors[o].dtype in EIGHT_BITS for o in node.outputs):
            return True
        uses = [i for out in node.outputs for i in self.index.readers.get(out, [])]
        explicit = self.graph.facts.explicit_int8
        return explicit and bool(uses) and all(self.graph.nodes[i].op == QUANTIZE for i in uses)


def _words(data: str, weight: str) -> str:
    return data if data == weight else f"{data} activations, {weight} weights"
