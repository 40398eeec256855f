"""What is told of a network's rewrites, and why tensors stay float."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from export.auditing.audit import inspect_file
from export.auditing.explain import WHOLE, explained, explanation, float_tensors
from export.auditing.modules import Outside
from export.checking import check_lowered
from export.graph import FileGraph, FileNode, FileTensor
from export.lowering import refused_ops
from export.targets.base import ModelInfo
from export.targets.target import get_target
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.mobile_ops import XNNPACK_FORM
from mobilemod.forms.ops import Call
from quantization.calibration import Calibration, observe
from quantization.program import make_table, quantize
from quantization.recipe import load_recipe
from tests.unit.forms.graphs import Lambda


class Small(nn.Module):
    """A residual of convolution and batch norm, and an op that no rewrite knows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.cumsum(x + self.norm(self.conv(x)), 2)
        return self.head(x.mean((2, 3)))


def test_what_was_done_and_what_stays_float():
    torch.manual_seed(0)
    canonical = canonical_form(Small().eval(), (3, 32, 32))
    found = explained(canonical)
    assert found["rewrites"] == {"scales and shifts folded into the convolution before": 1}
    (left,) = found["left"]
    assert "cumsum" in left and found["ops"]["NamedConv2d"] == 3
    form, recipe = canonical.form(XNNPACK_FORM), load_recipe("cpu")
    seen = observe(form, [torch.randn(2, 3, 32, 32)], 1)
    table = make_table(form, "xnnpack", recipe, Calibration("", "", 2, seen))
    floats = float_tensors(form, table, recipe)
    assert floats["residual stream"] == ["network:residual"]
    assert all(t not in table.entries for tensors in floats.values() for t in tensors)
    audits = {"m.pte": {"outside_modules": {"network": {"ops": {"cumsum": 1}, "cuts": 1}}}}
    lines = explanation(found, {"xnnpack": floats}, audits)
    cost = "    in m.pte outside the delegate: cumsum x1, which cuts it into 2 partitions"
    assert lines[lines.index(f"  {left}") + 1] == cost and lines[-3 - len(floats)] == "  nothing"
    text = "\n".join(lines)
    assert "cumsum" in text and "residual stream (network:residual, …)" in text


@pytest.mark.parametrize("name", ["executorch", "tflite"])
def test_a_file_says_which_module_has_what_outside_the_delegate(tmp_path, name):
    torch.manual_seed(0)
    target = get_target(name)
    path = tmp_path / f"small{target.facts.suffix}"
    form = canonical_form(nn.Sequential(nn.Conv2d(3, 3, 1), Small()).eval(), (3, 32, 32))
    info = ModelInfo("small", ("a", "b", "c", "d"), Preprocess(size=32))
    target.lower(form.form(XNNPACK_FORM), info, path, int8=False)
    again = tmp_path / f"again{target.facts.suffix}"
    target.label(path, info, again, int8=False)
    for file in (path, again):
        audit = inspect_file(file)
        assert audit.partitions == 2 and audit.outside_modules == {"1": Outside({"cumsum": 1}, 1)}


def masked(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = m.stem(x)
    places = x.argmax(1, keepdim=True)
    return m.head((torch.where(x > 0.1, x, places) + places).mean((2, 3)))


def test_whole_numbers_are_never_quantized():
    network = Lambda(masked, stem=nn.Conv2d(3, 8, 3), head=nn.Linear(8, 4)).eval()
    form, recipe = canonical_form(network, (3, 16, 16)).form(XNNPACK_FORM), load_recipe("npu")
    images = torch.randn(2, 3, 16, 16)
    table = make_table(form, "xnnpack", recipe, Calibration("", "", 2, observe(form, [images], 1)))
    assert len(float_tensors(form, table, recipe)[WHOLE]) >= 2
    assert torch.isfinite(quantize(form, table, True)(images)).all()


@pytest.mark.parametrize(
    "words",
    ["Missing out variants: {'aten::cumsum'}", "no lowering of aten.cumsum.default\n\n..", "?"],
)
def test_an_op_that_a_runtime_cannot_hold_is_named(words):
    form = canonical_form(Small().eval(), (3, 32, 32)).form(XNNPACK_FORM)
    with pytest.raises(UserError) as error, refused_ops(get_target("tflite"), form, "m.tflite"):
        raise RuntimeError(words)
    said = str(error.value)
    assert said.startswith("m.tflite: tflite can't hold network: cumsum (RuntimeError: ")
    assert "\n" not in said


def test_an_op_without_a_kernel_is_named():
    def fails(*args):
        raise UserError("m.pte: ExecuTorch can't run it (error 0x14); export it again")

    node = FileNode("cumsum", ("x",), ("y",), module="blocks.1")
    tensors = {n: FileTensor(n, (1, 4), "float32") for n in "xy"}
    graph = FileGraph("executorch", tensors, (node,), ("x",), ("y",), 0)
    facts = get_target("executorch").facts
    target = SimpleNamespace(facts=facts, check=fails, read_graph=lambda path: graph)
    with pytest.raises(UserError, match=r"m.pte: .*blocks.1: cumsum x1 \(.* \(error 0x14\)\);"):
        check_lowered(target, None, Path("m.pte"), nn.Identity(), None, None)


def joined(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    a, b = torch.relu(m.a(x)), 9 * torch.relu(m.b(x))
    return m.head(torch.cat([a, torch.cat([torch.relu(m.c(a)), torch.relu(m.c(b))], 1)], 1))


def test_what_is_joined_shares_its_range():
    """XNNPACK and TFLite join codes only where scales are the same."""
    layers = {name: nn.Conv2d(i, 4, 1) for name, i in (("a", 3), ("b", 3), ("c", 4), ("head", 12))}
    module = Lambda(lambda m, x: joined(m, x).mean((2, 3)), **layers).eval()
    form = canonical_form(module, (3, 8, 8)).form(XNNPACK_FORM)
    seen = observe(form, [torch.randn(2, 3, 8, 8)], 1)
    table = make_table(form, "xnnpack", load_recipe("cpu"), Calibration("", "", 2, seen))
    cats = [m for m in form.modules() if isinstance(m, Call) and m.joins]
    assert len(cats) == 2
    names = {n for cat in cats for n in (cat.makes, *cat.joins)}
    assert len({(table.entries[n].scale, table.entries[n].zero_point) for n in names}) == 1
