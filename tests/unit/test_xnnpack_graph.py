"""The rewrites of an XNNPACK graph: what cancels goes, what must stay stays, values are equal."""

from __future__ import annotations

import pytest

schema = pytest.importorskip("executorch.backends.xnnpack.serialization.xnnpack_graph_schema")
from executorch.backends.xnnpack.serialization.xnnpack_graph_schema import (  # noqa: E402
    PerTensorQuant,
    XNNBatchMatrixMultiply,
    XNNConvert,
    XNNDatatype,
    XNNGraph,
    XNNQuantizedTensorValue,
    XNNStaticConstantPad,
    XNNStaticReshape,
    XNNStaticTranspose,
    XNNTensorValue,
    XNode,
    XValue,
)

from export.targets.executorch.xnnpack.graph import FLAG_TRANSPOSE_B, simplify  # noqa: E402
from export.targets.executorch.xnnpack.reader import INVALID_ID  # noqa: E402

TO_NHWC, TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


class GraphMaker:
    """Builds a graph value by value, node by node."""

    def __init__(self):
        self.values, self.nodes, self.inputs, self.outputs = [], [], [], []

    def value(self, dims, quant=None, side=None):
        index = len(self.values)
        if side is not None:
            side.append(index)
        external = INVALID_ID if side is None else len(self.inputs) + len(self.outputs) - 1
        flags = 0 if side is None else 1 if side is self.inputs else 2
        kind = XNNDatatype.xnn_datatype_qint8 if quant else XNNDatatype.xnn_datatype_fp32
        tensor = XNNTensorValue(kind, len(dims), list(dims), 0, external, flags, index)
        union = XNNQuantizedTensorValue(tensor, PerTensorQuant(*quant)) if quant else tensor
        self.values.append(XValue(union))
        return index

    def node(self, union):
        self.nodes.append(XNode(union, len(self.nodes)))

    def transpose(self, x, dims, perm, **kwargs):
        y = self.value([dims[i] for i in perm], **kwargs)
        self.node(XNNStaticTranspose(len(perm), list(perm), x, y, 0))
        return y

    def convert(self, x, dims, **kwargs):
        y = self.value(dims, **kwargs)
        self.node(XNNConvert(x, y, 0))
        return y

    def graph(self):
        count = len(self.inputs) + len(self.outputs)
        return XNNGraph("0", self.nodes, self.values, count, self.inputs, self.outputs, [])


def kinds(graph):
    return [type(n.xnode_union).__name__.removeprefix("XNN") for n in graph.xnodes]


def tensor(graph, index):
    value = next(v for v in graph.xvalues if _id(v) == index).xvalue_union
    return getattr(value, "tensor_value", value)


def _id(value):
    return getattr(value.xvalue_union, "tensor_value", value.xvalue_union).id_out


def check_links(graph):
    """Every value is made once, before it is read; every value there is belongs to a node."""
    made = set(graph.input_ids)
    for node in graph.xnodes:
        reads = [v for k, v in vars(node.xnode_union).items() if k.endswith("_id")]
        reads.remove(node.xnode_union.output_id)
        assert set(reads) <= made
        assert node.xnode_union.output_id not in made
        made.add(node.xnode_union.output_id)
    assert set(graph.output_ids) <= made
    assert {_id(v) for v in graph.xvalues} == made


def test_opposite_transposes_cancel():
    g = GraphMaker()
    x = g.value([1, 3, 8, 8], side=g.inputs)
    y = g.transpose(x, [1, 3, 8, 8], TO_NHWC)
    y = g.transpose(y, [1, 8, 8, 3], TO_NCHW)
    g.convert(y, [1, 3, 8, 8], quant=(0.5, 3), side=g.outputs)
    out = simplify(g.graph())
    assert kinds(out) == ["Convert"] and out.xnodes[0].xnode_union.input_id == x
    check_links(out)
    assert len(g.nodes) == 3, "the graph given is left as it was"


def test_quantize_rises_and_dequantize_sinks_around_a_move():
    g = GraphMaker()
    x = g.value([1, 3, 8, 8], quant=(0.5, 3), side=g.inputs)
    y = g.convert(x, [1, 3, 8, 8])
    y = g.transpose(y, [1, 3, 8, 8], TO_NHWC)
    reshaped = g.value([1, 64, 3])
    g.node(XNNStaticReshape(3, [1, 64, 3], y, reshaped, 0))
    g.convert(reshaped, [1, 64, 3], quant=(0.5, 3), side=g.outputs)
    out = simplify(g.graph())
    # The last pair has equal parameters: what makes its source makes the graph's output instead.
    assert kinds(out) == ["StaticTranspose", "StaticReshape"]
    assert out.output_ids == g.outputs
    check_links(out)


def test_what_cancels_at_the_end_leaves_the_graphs_own_edges():
    """A transpose there and back, behind a convert that a second output reads too."""
    g = GraphMaker()
    x = g.value([1, 3, 8, 8], quant=(0.5, 3), side=g.inputs)
    real = g.convert(x, [1, 3, 8, 8])
    y = g.transpose(g.transpose(real, [1, 3, 8, 8], TO_NHWC), [1, 8, 8, 3], TO_NCHW, side=g.outputs)
    g.transpose(real, [1, 3, 8, 8], TO_NHWC, side=g.outputs)
    out = simplify(g.graph())
    # The second reads the codes, as any move of what was codes.
    assert sorted(kinds(out)) == ["Convert", "Convert", "StaticTranspose"]
    assert out.output_ids == g.outputs and y in out.output_ids
    check_links(out)
    # Between two edges of the graph something has to stand.
    g = GraphMaker()
    x = g.value([1, 3, 8, 8], side=g.inputs)
    g.transpose(g.transpose(x, [1, 3, 8, 8], TO_NHWC), [1, 8, 8, 3], TO_NCHW, side=g.outputs)
    out = simplify(g.graph())
    assert kinds(out) == ["StaticTranspose"]
    check_links(out)


def test_requantize_with_the_same_parameters_goes_and_another_stays():
    for second, expected in (((0.5, 3), []), ((0.25, 3), ["Convert", "Convert"])):
        g = GraphMaker()
        x = g.value([1, 4], quant=(0.5, 3), side=g.inputs)
        y = g.convert(x, [1, 4])
        y = g.convert(y, [1, 4], quant=second)
        g.convert(y, [1, 4], side=g.outputs)
        out = simplify(g.graph())
        assert kinds(out) == [*expected, "Convert"]
        check_links(out)


def test_pad_between_transposes_pads_the_transposed_axes():
    g = GraphMaker()
    x = g.value([1, 8, 8, 12], side=g.inputs)
    y = g.transpose(x, [1, 8, 8, 12], TO_NCHW)
    padded = g.value([1, 12, 11, 9])
    g.node(XNNStaticConstantPad([0, 0, 3, 1], [0, 0, 0, 0], 0.0, y, padded, 0))
    g.transpose(padded, [1, 12, 11, 9], TO_NHWC, side=g.outputs)
    out = simplify(g.graph())
    # The transposes cancel in front of the pad.
    assert kinds(out) == ["StaticConstantPad"]
    pad = out.xnodes[0].xnode_union
    assert pad.pre_paddings == [0, 3, 1, 0] and tensor(out, pad.output_id).dims == [1, 11, 9, 12]
    check_links(out)


def test_pad_with_another_value_stays_float():
    g = GraphMaker()
    x = g.value([1, 4], quant=(0.5, 3), side=g.inputs)
    y = g.convert(x, [1, 4])
    padded = g.value([1, 6], side=g.outputs)
    g.node(XNNStaticConstantPad([0, 1], [0, 1], 1.0, y, padded, 0))
    assert kinds(simplify(g.graph())) == ["Convert", "StaticConstantPad"]


def test_matmul_reads_its_second_factor_transposed():
    g = GraphMaker()
    a = g.value([8, 49, 32], side=g.inputs)
    b = g.value([8, 49, 32], side=g.inputs)
    t = g.transpose(b, [8, 49, 32], [0, 2, 1])
    out = g.value([8, 49, 49], side=g.outputs)
    g.node(XNNBatchMatrixMultiply(a, t, out, 0))
    result = simplify(g.graph())
    assert kinds(result) == ["BatchMatrixMultiply"]
    node = result.xnodes[0].xnode_union
    assert node.input2_id == b and node.flags == FLAG_TRANSPOSE_B
    check_links(result)


def test_matmul_keeps_another_permutation():
    g = GraphMaker()
    a = g.value([8, 49, 32], side=g.inputs)
    b = g.value([32, 8, 49], side=g.inputs)
    t = g.transpose(b, [32, 8, 49], [1, 0, 2])
    g.node(XNNBatchMatrixMultiply(a, t, g.value([8, 49, 49], side=g.outputs), 0))
    assert kinds(simplify(g.graph())) == ["StaticTranspose", "BatchMatrixMultiply"]
