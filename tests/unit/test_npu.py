"""What NPUs take: the compiler's words, published lists, and the verbs with the real compiler."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from export.graph import FileGraph, FileNode, FileTensor
from export.npu.compile import inspect_npu, npu_target
from export.npu.lists import LISTS
from export.npu.qualcomm import LIBRARY, PACKAGE, VARIABLE, find_compiler, read_acceptance
from export.targets.base import ModelInfo
from export.targets.target import get_target
from export.verbs.main import main
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from quantization.program import quantize
from tests.commands import ROOT
from tests.parity.small import SIZE, small_form, small_table

MODELS = ROOT / "tests" / "data" / "models"
DYNAMIC = MODELS / "t_dynamic_wi8_afp32.tflite"  # no NPU computes its convolutions
CHIP = "SM8650"
SAID = """INFO: x
ERROR: [qnn_manager.cc:480]
QNN op validation failed: 'Conv2d_2' (type=Conv2d)
ERROR: [qnn_compiler_plugin.cc:538]
LiteRT Op #2 'Conv2d' (code=3) is not supported in Qualcomm Compiler.
LiteRT Op #5 'Cumsum' (code=128) is not supported in Qualcomm Compiler.
INFO: Partitioned subgraph<0>, selected 490 ops, from a total of 492 ops. resulted in 3 partitions.
"""
LOG = "0.0ms [ ERROR ] <E> Unsupported datatypes requested in the node 'Conv2d_2'. There is"


@pytest.fixture(scope="module")
def compiler():
    try:
        return find_compiler()
    except UserError as error:
        pytest.skip(str(error))


def test_what_the_compiler_says():
    taken = read_acceptance(SAID, LOG)
    assert (taken.selected, taken.ops, taken.partitions) == (490, 492, 3)
    assert taken.refused == {2: "Unsupported datatypes requested", 5: ""}
    with pytest.raises(ValueError, match="^ERROR: no library$"):
        read_acceptance("INFO: x\nERROR: no library\n")


def test_the_compiler_is_found_where_it_was_installed(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="'make qnn' brings it under its own licence; --qnn DIR"):
        find_compiler(tmp_path)
    for place in (PACKAGE, "lib/x86_64-linux-clang"):
        folder = tmp_path / place.replace("/", "-") / place
        folder.mkdir(parents=True)
        (folder / LIBRARY).touch()
        root = tmp_path / place.replace("/", "-")
        assert find_compiler(root).folder == folder.resolve()
        monkeypatch.setenv(VARIABLE, str(root))
        assert find_compiler().folder == folder.resolve()


def graph(*ops: str) -> FileGraph:
    tensors = {f"a.b:{op}": FileTensor(f"a.b:{op}", (1,), "float32") for op in ops}
    nodes = tuple(FileNode(op, (), (f"a.b:{op}",)) for op in ops)
    return FileGraph(npu_target(), tensors, nodes, (), (), 0, {}, ())


def test_published_lists():
    made = graph("conv", "cumsum", "where", "depthwise_conv")
    assert set(LISTS["mediatek"].refused(made)) == {1, 2}
    assert set(LISTS["google-tensor"].refused(made)) == {2}


def test_a_list_is_marked_as_one(capsys):
    assert main(["inspect", "--npu", "mediatek", str(DYNAMIC)]) == 0
    said = capsys.readouterr().out
    assert "mediatek takes 7 of 7 ops (list of MediaTek's compiler" in said
    assert "nothing compiled" in said


@pytest.mark.parametrize(
    "words, says",
    [
        (("inspect", "--npu", "a b", DYNAMIC), "unknown NPU 'a b'; known: mediatek"),
        (("inspect", "--npu", "mediatek", MODELS / "xnn_dyn.pte"), "NPUs' compilers take"),
        (("inspect", "--npu", CHIP, "--qnn", MODELS, DYNAMIC), "no Qualcomm compiler in"),
        (("compile", MODELS, "--soc", ","), "--soc names no chip"),
        (("compile", MODELS, "--soc", CHIP), "manifest.json"),
    ],
)
def test_bad_input_is_one_line(capsys, words, says):
    assert main([str(w) for w in words]) == 2
    said = capsys.readouterr().err.strip()
    assert says in said and "\n" not in said


def test_what_a_chip_refuses_is_told_op_by_op(compiler):
    record = inspect_npu(DYNAMIC, CHIP)
    assert (record["selected"], record["ops"], record["partitions"]) == (4, 7, 2)
    refused = {(r["op"], r["ops"]) for r in record["refused"]}
    assert refused == {("conv", 2), ("depthwise_conv", 1)}
    assert all("datatypes" in r["reason"] for r in record["refused"])
    assert record["by"].startswith("Qualcomm QNN 2.")


def test_chips_are_the_compilers_own(compiler, capsys):
    assert {"SM8750", "SM8650", "SM8550"} <= set(compiler.chips)
    assert main(["inspect", "--npu", "SM9999", str(DYNAMIC)]) == 2
    assert "unknown chip 'SM9999'; known: " in capsys.readouterr().err


def test_a_damaged_file_is_one_line(compiler, capsys, tmp_path):
    path = tmp_path / "cut.tflite"
    path.write_bytes(DYNAMIC.read_bytes()[:2000])
    assert main(["inspect", "--npu", CHIP, str(path)]) == 2
    assert "damaged or cut off" in capsys.readouterr().err


def test_a_compiled_file_is_a_program_of_the_chips(compiler, tmp_path):
    """The float one whole: its ops are one call of what the compiler made."""
    out = tmp_path / "compiled.tflite"
    made = compiler.compile(MODELS / "lt_float.tflite", CHIP, out)
    assert made.acceptance.selected == made.acceptance.ops and made.size == out.stat().st_size
    assert made.float_products > 0
    assert [n.op for n in get_target(npu_target()).read_graph(out).nodes] == ["DISPATCH_OP"]


@pytest.mark.parametrize("recipe, in_float", [("cpu", True), ("npu", False), ("npu16", False)])
def test_recipes_for_npus_leave_no_product_in_float(compiler, recipe, in_float, tmp_path):
    """A norm, attention and convolutions: every op is taken of each, in one partition."""
    target = get_target(npu_target())
    images = np.random.default_rng(0).standard_normal((4, 3, SIZE, SIZE), np.float32)
    form = small_form(target.facts)
    program = quantize(form, small_table(form, target.facts, images, recipe), target.facts.fold)
    path = tmp_path / "small.tflite"
    target.lower(program, ModelInfo("small", ("a", "b"), Preprocess(size=SIZE)), path, int8=True)
    made = compiler.compile(path, CHIP, tmp_path / "compiled.tflite")
    accepted = made.acceptance
    assert (accepted.selected, accepted.partitions) == (accepted.ops, 1)
    assert (made.float_products > 0) is in_float


@pytest.mark.slow
def test_a_bundle_is_compiled(compiler, export, tmp_path, capsys):
    out = tmp_path / "bundle"
    export(out, "--targets", npu_target(), "--size", "64")
    assert main(["compile", str(out), "--soc", CHIP]) == 0
    assert "1 partitions" in capsys.readouterr().out
    record = json.loads((out / "npu" / CHIP / "record.json").read_text())
    assert {f["file"] for f in record["files"]} == {p.name for p in out.glob("*.tflite")}
    for file in record["files"]:
        assert file["selected"] == file["ops"] and not file["refused"]
        assert file["bytes"] == (out / "npu" / CHIP / file["file"]).stat().st_size
    # What lies in the bundle beside it is still whole.
    assert main(["report", str(out)]) in (0, 2)
    shutil.rmtree(out)
