"""`inspect` and `profile` on other exporters' files: one small file for each kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from export.auditing.audit import audit_file
from export.auditing.text import format_audit
from export.graph import DEQUANTIZE, DYNAMIC, MATMUL, QUANTIZE, FileGraph, FileNode, FileTensor
from export.measure.profiling import profile_file
from export.number_formats import DYNAMIC_INT8, FLOAT, INT8, NumberFormats
from export.targets.flatbuffer import DamagedError, Schema
from export.targets.tflite.edit import TfliteModel
from export.targets.tflite.work import macs
from export.verbs.main import main
from mobilemod.errors import UserError

MODELS = Path(__file__).resolve().parents[1] / "data" / "models"
# conv 3x3/2 3>16 on 32x32, depthwise 3x3, conv 1x1 16>32, linear 32>10; and a 2x2/2 transposed one.
CONV, DEPTHWISE, POINTWISE, HEAD = 16**3 * 27, 16**3 * 9, 16**2 * 32 * 16, 320
NET = CONV + DEPTHWISE + POINTWISE + HEAD
TRANSPOSED = 16**2 * 32 * 32 * 4


def floats(audit) -> dict[str, int]:
    return {f.op: f.count for f in audit.float_ops}


def test_two_input_op_between_pairs_is_float():
    audit = audit_file(MODELS / "mul_mixed.tflite")
    assert floats(audit) == {"mul": 1} and audit.int8_share == 1
    assert audit.partitions == 1 and not audit.outside


@pytest.mark.parametrize("name,share", [("lt_float.tflite", 0), ("xnn_convtranspose_int8.pte", 1)])
def test_transposed_convolution_counts(name, share):
    audit = audit_file(MODELS / name)
    assert audit.macs == NET + TRANSPOSED and audit.int8_share == share


def test_all_methods_are_read():
    audit = audit_file(MODELS / "multi_method.pte")
    assert audit.methods == {"decode": NET, "encode": NET} and audit.macs == 2 * NET
    assert "method encode" in format_audit(audit)


def test_dynamic_quantization_is_named():
    audit = audit_file(MODELS / "xnn_dyn.pte")
    assert audit.formats == {
        "float32": NET - HEAD,
        "dynamic int8 activations, int8 weights": HEAD,
    }


def test_delegate_that_cannot_be_looked_into():
    audit = audit_file(MODELS / "vulkan.pte")
    assert audit.int8_share is None and audit.opaque == {"VulkanBackend": 2}
    assert "unknown: delegate VulkanBackend" in format_audit(audit)
    assert audit.unknown_work == {"delegate": 2}


def test_work_is_of_one_image():
    audit = audit_file(MODELS / "dynamic_batch.pte")
    assert audit.macs == NET
    assert "one of up to 8" in format_audit(audit)


def test_16_bit_activations_are_said():
    audit = audit_file(MODELS / "aeq_static_wi8_ai16.tflite")
    assert audit.formats == {"int16 activations, int8 weights": NET + TRANSPOSED}
    assert "int16 activations, int8 weights" in format_audit(audit)


@pytest.mark.parametrize("name", ["flexbatch.mlpackage", "w8.mlpackage"])
def test_core_ml_files_of_others(name):
    audit = audit_file(MODELS / name)
    assert audit.macs == 16**2 * 32 * 27 + 16**2 * 32 * 9 + 16**2 * 64 * 32 + 640
    if name.startswith("w8"):
        assert audit.formats == {"float16 activations, int8 weights (weight-only)": audit.macs}
        assert set(floats(audit)) == {"cast", "relu", "reduce_mean"}
    else:
        assert "?x3x32x32" in audit.notes[0] and "1x3x32x32" in audit.notes[0]


def test_unbounded_activation_is_profiled():
    profile = profile_file(MODELS / "act_relu.pte", rounds=1)
    assert {u.op for u in profile.units} == {"conv", "transpose"} and profile.whole_ms > 0


@pytest.mark.parametrize(
    "name,why",
    [
        ("vulkan.pte", "VulkanBackend"),
        ("multi_method.pte", "'decode', 'encode'"),
        ("dynamic_batch.pte", "vary"),
        ("xnn_dyn.pte", "quantizes while it runs"),
        ("w8.mlpackage", "Core ML"),
    ],
)
def test_profile_refuses_in_one_line(name, why):
    with pytest.raises(UserError, match=why) as error:
        profile_file(MODELS / name)
    assert "damaged" not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["mul_mixed.tflite", "lt_float.tflite"])
def test_profile_of_others_tflite(name):
    profile = profile_file(MODELS / name, rounds=1)
    ops = {u.op for u in profile.units}
    assert "mul" in ops if name.startswith("mul") else "conv_transpose" in ops


def test_one_bad_file_hides_no_other(tmp_path, capsys):
    bad = tmp_path / "bad.pte"
    bad.write_bytes((MODELS / "act_relu.pte").read_bytes()[:900])
    good = [str(MODELS / name) for name in ("act_relu.pte", "vulkan.pte")]
    record = tmp_path / "record.json"
    assert main(["inspect", good[0], str(bad), good[1], "--json", str(record)]) == 2
    out, err = capsys.readouterr()
    assert "act_relu.pte" in out and "vulkan.pte" in out
    assert len(err.splitlines()) == 1 and "bad.pte" in err and "damaged" in err
    written = json.loads(record.read_text())
    assert [f["file"] for f in written["files"]] == ["act_relu.pte", "vulkan.pte"]
    assert written["errors"][0]["file"] == str(bad)


def changed_tflite(tmp_path: Path, change) -> Path:
    model = TfliteModel((MODELS / "lt_float.tflite").read_bytes())
    change(model)
    path = tmp_path / "changed.tflite"
    path.write_bytes(model.pack())
    return path


def test_custom_op_is_read_without_a_runtime_that_knows_it(tmp_path):
    def make_custom(model):
        code = model.model.operatorCodes[model.graph.operators[-2].opcodeIndex]
        code.builtinCode, code.deprecatedBuiltinCode, code.customCode = 32, 32, b"FlexMean"

    path = changed_tflite(tmp_path, make_custom)
    audit = audit_file(path)
    assert audit.unknown_work == {"FlexMean": 1} and audit.macs == NET + TRANSPOSED
    assert audit.partitions is None and "runtime" in audit.notes[0]
    assert "1 op of unknown work  FlexMean x1" in format_audit(audit)
    with pytest.raises(UserError, match="not supported"):
        profile_file(path)


def test_index_that_leads_nowhere_is_damage(tmp_path):
    def change(model):
        model.graph.operators[2].inputs = [999, 1, 2]

    with pytest.raises(UserError, match="damaged.*tensor 999"):
        audit_file(changed_tflite(tmp_path, change))


def test_unknown_tensor_type_is_a_limit_not_damage(tmp_path):
    def change(model):
        model.graph.tensors[3].type = 99

    with pytest.raises(UserError, match="not supported: tensor type 99"):
        audit_file(changed_tflite(tmp_path, change))


def test_other_core_ml_models_are_not_supported(tmp_path):
    from coremltools.proto import Model_pb2

    package = Path(shutil.copytree(MODELS / "w8.mlpackage", tmp_path / "nn.mlpackage"))
    spec = Model_pb2.Model(specificationVersion=4)
    spec.neuralNetwork.SetInParent()
    next(package.rglob("*.mlmodel")).write_bytes(spec.SerializeToString())
    with pytest.raises(UserError, match="not supported: a model of kind neuralNetwork"):
        audit_file(package)
    with pytest.raises(UserError, match="not supported: .mlmodel"):
        (tmp_path / "x.mlmodel").write_bytes(b"")
        audit_file(tmp_path / "x.mlmodel")


@pytest.mark.parametrize(
    "kind,inputs,out,work",
    [
        ("CONV_3D", [(1, 8, 8, 8, 3), (3, 3, 3, 3, 8)], (1, 6, 6, 6, 8), 216 * 8 * 81),
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 3), (1, 3, 3, 12)], (1, 6, 6, 12), 36 * 12 * 9),
        ("CONV_2D", [(1, 8, 8, 4), (8, 3, 3, 2)], (1, 6, 6, 8), 36 * 8 * 18),
        ("TRANSPOSE_CONV", [(1, 4, 4, 8), (6, 3, 3, 8)], (1, 9, 9, 6), 16 * 8 * 54),
        ("FULLY_CONNECTED", [(2, 5, 8), (4, 8)], (2, 5, 4), 320),
        ("BATCH_MATMUL", [(2, 4, 5), (2, 5, 6)], (2, 4, 6), 240),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", [(1, 7, 8), *[(6, 8)] * 4, *[(6, 6)] * 4, (6,)],
         (1, 7, 6), 7 * 4 * (48 + 36)),
        ("ADD", [(1, 2), (1, 2)], (1, 2), 0),
        ("CONV_2D", [(), (8, 3, 3, 2)], (), None),
    ],
)  # fmt: skip
def test_work_of_tflite_ops(kind, inputs, out, work):
    assert macs(kind, inputs, out) == work


def pair(target: str, *ops: FileNode, partition: int | None = 0) -> FileGraph:
    """quantized > dequantize > ops > quantize > quantized."""
    nodes = [
        FileNode(DEQUANTIZE, ("a",), ("f0",), partition=partition),
        *ops,
        FileNode(QUANTIZE, (f"f{len(ops)}",), ("b",), partition=partition),
    ]
    tensors = {name: FileTensor(name, (4, 4), "float32") for n in nodes for name in n.outputs}
    tensors |= {n: FileTensor(n, (4, 4), "int8") for n in ("a", "b")}
    tensors["c"] = FileTensor("c", (1,), "float32", constant=True)
    return FileGraph(target, tensors, tuple(nodes), ("a",), ("b",), 1)


@pytest.mark.parametrize(
    "op,inputs,partition,target,kind",
    [
        ("gelu", ("f0",), 0, "tflite", INT8),
        ("gelu", ("f0",), None, "tflite", FLOAT),  # no table outside the delegate
        ("softmax", ("f0",), 0, "tflite", FLOAT),
        ("mul", ("f0", "c"), 0, "tflite", FLOAT),
        ("mul", ("f0", "f0"), 0, "executorch", FLOAT),
        ("sigmoid", ("f0",), 0, "executorch", INT8),
        ("conv", ("f0", "f0"), 0, "tflite", FLOAT),
        ("mul", ("f0", "c"), None, "coreml", INT8),
    ],
)
def test_what_is_fused_between_pairs(op, inputs, partition, target, kind):
    graph = pair(target, FileNode(op, inputs, ("f1",), partition=partition), partition=partition)
    assert NumberFormats(graph).of(graph.nodes[1])[0] == kind


def test_chain_of_tables():
    ops = [FileNode("abs", ("f0",), ("f1",), partition=0),
           FileNode("exp", ("f1",), ("f2",), partition=0)]  # fmt: skip
    graph = pair("executorch", *ops)
    assert [NumberFormats(graph).of(n)[0] for n in graph.nodes[1:3]] == [INT8, INT8]


def test_weights_that_are_unpacked_are_no_pairs():
    tensors = {
        "x": FileTensor("x", (1, 4), "float32"),
        "w8": FileTensor("w8", (4, 4), "float16", constant=True),
        "w": FileTensor("w", (4, 4), "float32"), "y": FileTensor("y", (1, 4), "float32"),
    }  # fmt: skip
    nodes = (
        FileNode(DEQUANTIZE, ("w8",), ("w",)),
        FileNode("linear", ("x", "w"), ("y",), 16),
    )
    formats = NumberFormats(FileGraph("tflite", tensors, nodes, ("x",), ("y",), 0))
    assert formats.index.dequantizes_weights(nodes[0])
    assert formats.of(nodes[1])[1] == "float32 activations, float16 weights (weight-only)"
    hybrid = tensors | {"w": FileTensor("w", (4, 4), "int8", constant=True)}
    formats = NumberFormats(FileGraph("tflite", hybrid, nodes[1:], ("x",), ("y",), 0))
    assert formats.of(nodes[1]) == (DYNAMIC_INT8, f"{DYNAMIC} activations, int8 weights")
    product = FileNode(MATMUL, ("x", "y"), ("w",), 16)
    assert formats.of(product)[0] == FLOAT and formats.index.is_product(product)
    assert not formats.index.is_product(FileNode(MATMUL, ("x", "w"), ("y",), 16))


def test_shared_tables_do_not_unfold_without_end():
    """A vector of tables whose every entry is one vector of tables again, five deep."""
    schema = Schema(
        "table A { a: [B]; } table B { a: [C]; } table C { a: [D]; } table D { a: int; }"
    )
    width = 300
    data, entry = bytearray(8), 0
    for _ in range(4):
        vtable = len(data)
        data += (6).to_bytes(2, "little") + (8).to_bytes(2, "little") + (4).to_bytes(2, "little")
        data += b"\0\0"
        table = len(data)
        data += (table - vtable).to_bytes(4, "little") + bytes(4)
        if entry:
            vector = len(data)
            data[table + 4 : table + 8] = (vector - table - 4).to_bytes(4, "little")
            data += width.to_bytes(4, "little")
            for _ in range(width):
                data += ((entry - len(data)) % 2**32).to_bytes(4, "little")
        entry = table
    data[0:4] = entry.to_bytes(4, "little")
    with pytest.raises(DamagedError):
        schema.read(bytes(data), "A")


BASE = CONV + DEPTHWISE  # the same network up to its depthwise convolution
PALETTE = "float16 activations, 4-bit palette weights (weight-only)"


def test_convolution_that_takes_a_mean_is_no_work_of_the_network(tmp_path):
    def change(model):
        op = next(op for op in model.graph.operators if model.op_name(op) == "CONV_2D"
                  and model.graph.tensors[op.inputs[1]].shape[3] == 16)  # fmt: skip
        weight = model.graph.tensors[op.inputs[1]]
        values = np.full(weight.shape, 1 / 16, np.float32)
        model.model.buffers[weight.buffer].data = np.frombuffer(values.tobytes(), np.uint8)

    audit = audit_file(changed_tflite(tmp_path, change))
    assert (audit.macs, audit.mean_macs) == (NET + TRANSPOSED - POINTWISE, POINTWISE)
    assert floats(audit)["mean as convolution"] == 1
    assert "not counted: 0.1 M of means that run as convolutions" in format_audit(audit)


@pytest.mark.parametrize(
    "stored,scale,zero,mean",
    [
        (0.125, (), (), True),
        (127, (1 / 8 / 127,) * 4, (0,) * 4, True),  # int8, per channel
        (255, (1 / 8 / 127,), (128,), True),
        (127, (1.0, 0.5), (0, 0), False),
        (1.0, (), (), True),  # eight times a mean of eight
        (0.0, (), (), False),
        (None, (), (), False),  # values differ
    ],
)
def test_weights_that_take_a_mean(stored, scale, zero, mean):
    tensors = {
        "x": FileTensor("x", (1, 8, 3, 3), "float32"),
        "w": FileTensor("w", (4, 8, 1, 1), "int8", scale, zero, constant=True, fill=stored),
        "y": FileTensor("y", (1, 4, 3, 3), "float32"),
    }
    node = FileNode("conv", ("x", "w"), ("y",), 36 * 8)
    graph = FileGraph("tflite", tensors, (node,), ("x",), ("y",), 0)
    assert NumberFormats(graph).index.takes_mean(node) == mean


@pytest.mark.parametrize(
    "name,formats",
    [
        # 3x3 of 16 to 8 channels in 4 groups, stride 2, output padding: input values times kernel
        ("ct_groups_xnn.pte", {"float32": BASE + 16**3 * 2 * 9}),
        # constants that are methods, one of them called as our metadata is
        ("constm.pte", {"float32": BASE + 16**2 * 32 * 16 + 320}),
        ("int4_group.pte", {"dynamic int8 activations, int4 weights": 4 * 64 * 32}),
        (
            "t_f16.tflite",
            {"float32 activations, float16 weights (weight-only)": BASE + 16**2 * 32 * 16 + 320},
        ),
        (
            "t_dynamic_wi8_afp32.tflite",
            {"dynamic int8 activations, int8 weights": BASE + 16**2 * 32 * 16 + 320},
        ),
        ("m_lut.mlpackage", {PALETTE: 819_840}),
        (
            "m_sparse_q.mlpackage",
            {"float16 activations, sparse int8 weights (weight-only)": 819_840},
        ),
        ("m_range_hw.mlpackage", {"float16": BASE + 16**2 * 16 * 8 * 4}),
    ],
)
def test_number_formats_of_other_exporters(name, formats):
    audit = audit_file(MODELS / name)
    assert audit.formats == formats and audit.int8_share == 0
    if name == "t_f16.tflite":
        assert (audit.dequantize_ops, audit.weight_dequantize_ops) == (0, 4)


def test_every_signature_is_read():
    audit = audit_file(MODELS / "t_multi.tflite")
    assert audit.methods == {"encode": BASE + 16**2 * 32 * 16 + 320, "decode": BASE}
    with pytest.raises(UserError, match="not supported: no profile, since it has 2 subgraphs"):
        profile_file(MODELS / "t_multi.tflite")
