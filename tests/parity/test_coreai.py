"""Core AI: files that Apple's runtime runs here as their programs say; what is caught in them."""

from __future__ import annotations

import copy
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from export.checking import check_lowered
from export.diff.parting import first_parting
from export.half import Half
from export.targets.base import FORMS, ModelInfo, Origin
from export.targets.comparison import Parting
from export.targets.coreai.reader import PARSER
from export.targets.coreai.toolkit import package
from export.targets.target import get_target, require_packages
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.forms.canonical import canonical_form
from mobilemod.targets.coreai import FACTS
from quantization.program import QuantizedConv2d, QuantizeDequantize, quantize
from tests.parity.small import SIZE, small_form, small_table

MISSING = any(importlib.util.find_spec(p) is None for p in FACTS.packages)
here = pytest.mark.skipif(MISSING, reason=f"needs Core AI: '{FACTS.installed_by}' installs it")
KIND = "image classifier, 2 classes"
INFO = ModelInfo("small", ("a", "b"), Preprocess(size=SIZE), Origin("us", "Apache-2.0"), kind=KIND)
IMAGES = np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE), np.float32)
TARGET = get_target("coreai")


@pytest.fixture(scope="module")
def form():
    return small_form(FACTS)


@pytest.fixture(scope="module")
def table(form):
    return small_table(form, FACTS, IMAGES)


@pytest.fixture
def program(form, table):
    return quantize(form, table, FACTS.fold)


@pytest.fixture(scope="module")
def file(form, table, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("coreai") / "small_int8.aimodel"
    TARGET.lower(quantize(form, table, FACTS.fold), INFO, path, int8=True)
    return path


@here
def test_int8_computes_what_its_program_does(file, program):
    TARGET.check(file, program, IMAGES)
    with torch.no_grad():
        expected = program(torch.from_numpy(IMAGES)).numpy()
    assert sqnr_db(expected, TARGET.load(file).run_many(IMAGES)) > 40


@here
def test_its_float_twin_too(form, tmp_path):
    path = tmp_path / "small.aimodel"
    TARGET.lower(form, INFO, path, int8=False)
    TARGET.check(path, form, IMAGES)


def floats(form: nn.Module) -> np.ndarray:
    """What the float network makes of `IMAGES`."""
    with torch.no_grad():
        return form(torch.from_numpy(IMAGES)).numpy()


@here
def test_a_float16_twin_holds_and_computes_float16(form, tmp_path):
    path, whole = tmp_path / "half.aimodel", tmp_path / "whole.aimodel"
    TARGET.lower(Half(form), INFO, path, int8=False)
    TARGET.lower(form, INFO, whole, int8=False)
    TARGET.check(path, form, IMAGES)
    assert 50 < sqnr_db(floats(form), TARGET.load(path).run_many(IMAGES)) < 90
    assert first_parting(TARGET, path, form, form, IMAGES[:1]) is None
    graph, weights = TARGET.read_graph(path), []
    for node in graph.nodes:
        if node.op in ("conv", "depthwise_conv"):
            weights += [graph.tensors[name].dtype for name in node.inputs[1:]]
    assert set(weights) == {"float16"}
    assert {graph.tensors[n].dtype for n in (*graph.inputs, *graph.outputs)} == {"float32"}
    sizes = [sum(f.stat().st_size for f in p.iterdir()) for p in (path, whole)]
    assert sizes[0] < 0.75 * sizes[1]
    for file, precision in ((path, "float16"), (whole, "float32")):
        TARGET.label(file, INFO, tmp_path / "named.aimodel", int8=False)
        said = json.loads((tmp_path / "named.aimodel" / "metadata.json").read_text())
        assert said["creatorDefinedMetadata"]["precision"] == precision
        assert said["description"].endswith(f"32 x 32 pixels, {precision}")
        shutil.rmtree(tmp_path / "named.aimodel")


def loud_form(by: float) -> nn.Module:
    """The small network's form, whose norm reads values of `by` times as much."""
    form = small_form(FACTS)
    deep = next(m for m in form.modules() if getattr(m, "tensor", "") == "deep:weight")
    with torch.no_grad():
        deep.weight *= by
        deep.bias *= by
    return form


class Whole(nn.Module):
    """A network in float16, its norms too."""

    def __init__(self, form: nn.Module):
        super().__init__()
        self.form = copy.deepcopy(form).half()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.form(x.half()).float()


@here
def test_squares_within_norms_may_pass_what_float16_holds(tmp_path):
    form = loud_form(3000.0)
    TARGET.lower(Half(form), INFO, tmp_path / "half.aimodel", int8=False)
    TARGET.check(tmp_path / "half.aimodel", form, IMAGES)
    TARGET.lower(Whole(form), INFO, tmp_path / "whole.aimodel", int8=False)
    with pytest.raises(Parting, match="dB in float16, 40 dB wanted"):
        TARGET.check(tmp_path / "whole.aimodel", form, IMAGES)
    assert first_parting(TARGET, tmp_path / "whole.aimodel", form, form, IMAGES[:1])


class Pooled(nn.Module):
    """An average that doesn't count the padding around it; the converter's own counts it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        x = nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False) - x
        return self.last(x.mean((2, 3)))


@here
def test_an_op_that_the_converter_writes_otherwise_is_named(tmp_path):
    form = canonical_form(Pooled().eval(), (3, SIZE, SIZE)).form(FORMS[FACTS.form])
    TARGET.lower(form, INFO, tmp_path / "pooled.aimodel", int8=False)
    said = r"pooled\.aimodel: the file doesn't compute .*first tensor that parts: first:pool"
    with pytest.raises(UserError, match=said):
        check_lowered(TARGET, INFO, tmp_path / "pooled.aimodel", form, form, IMAGES)


@here
def test_the_table_s_scales_stand_in_the_file_by_name(file, table):
    tensors = TARGET.read_graph(file).tensors
    own = {n: (e.scale, e.zero_point) for n, e in table.entries.items() if e.kind == "activation"}
    found = {n: (t.scale, t.zero_point) for n, t in tensors.items() if n in own}
    assert len(found) > 8 and found == {n: own[n] for n in found}
    weights = [n for n, e in table.entries.items() if e.kind == "weight"]
    assert {tensors[n].dtype for n in weights} == {"int8"}
    assert all(tensors[n].scale == table.entries[n].scale for n in weights)


@here
def test_the_work_and_where_it_is_from(file):
    graph = TARGET.read_graph(file)
    work = {n.module: n.macs for n in graph.nodes if n.op in ("conv", "depthwise_conv")}
    assert work["first"] == 8 * 8 * 32 * 48 and work["deep"] == 8 * 8 * 32 * 9
    assert sum(n.macs for n in graph.nodes if n.op == "matmul") == 2 * 16 * 16 * 32
    assert graph.inputs == ("image",) and all(n.known for n in graph.nodes)


@here
def test_another_label_changes_no_program(file, tmp_path):
    other = ModelInfo("named", ("x", "y"), INFO.preprocess, kind=KIND)
    TARGET.label(file, other, tmp_path / "named.aimodel", int8=True)
    said = json.loads((tmp_path / "named.aimodel" / "metadata.json").read_text())
    assert said["creatorDefinedMetadata"]["labels"] == ["x", "y"]
    assert said["description"].startswith("named: image classifier, 2 classes, 32 x 32 pixels")
    assert "creationDate" not in said
    programs = [(f / "main.mlirb").read_bytes() for f in (file, tmp_path / "named.aimodel")]
    assert programs[0] == programs[1]


@here
def test_the_runtime_s_own_reader_finds_what_a_file_says_of_itself(file):
    asset = package(PARSER).AIModelAsset.load(file)
    said, summary = asset.metadata, asset.summary()
    assert (said.author, said.license) == ("us", "Apache-2.0")
    assert said.model_description == (
        "small: image classifier, 2 classes, 32 x 32 pixels, int8 weights and activations"
    )
    own = said.creator_defined_metadata
    assert own["labels"] == ["a", "b"] and own["precision"] == "int8"
    assert own["preprocessing"] == json.loads(json.dumps(INFO.preprocess.to_dict()))
    assert summary._compatibility_version == "27.0" and summary.function_names == ["main"]


def broken_scale(program: nn.Module) -> str:
    tap = [m for m in program.modules() if isinstance(m, QuantizeDequantize)][3]
    tap.args = (tap.args[0] * 1.01, *tap.args[1:])
    return f"{tap.tensor} has scale"


def broken_weight(program: nn.Module) -> str:
    conv = [m for m in program.modules() if isinstance(m, QuantizedConv2d)][1]
    conv.weight[0, 0] += 1
    return f"{conv.tensor}: the file doesn't hold its codes"


def broken_bias(program: nn.Module) -> str:
    conv = [m for m in program.modules() if isinstance(m, QuantizedConv2d)][0]
    conv.bias.data[0] += 1e-3
    return f"{conv.tensor}: the file doesn't hold the bias"


@here
@pytest.mark.parametrize("broken", [broken_scale, broken_weight, broken_bias])
def test_one_value_that_isn_t_the_program_s_is_caught(broken, file, program):
    said = broken(program)
    with pytest.raises(Parting, match=said):
        TARGET.check(file, program, IMAGES)


@here
@pytest.mark.parametrize("part", ["main.mlirb", "metadata.json"])
@pytest.mark.parametrize("how", ["gone", "cut", "noise"])
def test_a_damaged_file_is_one_line(part, how, file, tmp_path):
    path = Path(shutil.copytree(file, tmp_path / "a.aimodel")) / part
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if how == "cut" else b"\xff" + content[1:])
    with pytest.raises(UserError, match=r"a\.aimodel: (damaged|not a Core AI model)") as caught:
        TARGET.read_graph(path.parent)
    assert "\n" not in str(caught.value)


def test_where_it_is_missing_one_line_tells_what_installs_it(monkeypatch):
    find = importlib.util.find_spec
    hidden = {"coreai", "coreai_torch"}
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in hidden else find(name, *rest),
    )
    with pytest.raises(
        UserError, match="target coreai needs coreai and coreai_torch.*'make coreai'"
    ):
        require_packages("coreai")
    with pytest.raises(UserError, match="'make coreai' installs them"):
        TARGET.load(Path("a.aimodel"))
