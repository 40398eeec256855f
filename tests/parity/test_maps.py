"""Files of networks that give maps: the outputs' layout, their runners, their tensors' names."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.auditing.audit import inspect_file
from export.auditing.text import format_audit
from export.checking import check_classes
from export.diff.named import name_file, name_program
from export.diff.taps_program import ProgramTaps
from export.targets.base import FORMS, ModelInfo
from export.targets.target import get_target
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.forms.canonical import canonical_form
from quantization.calibration import Calibration, observe
from quantization.program import make_table, quantize
from quantization.recipe import load_recipe

CLASSES, SIDES = 4, (32, 48)
MAP = (16, 24)
INFO = ModelInfo(
    "maps", tuple("abcd"), Preprocess(SIDES, 1.0, fit="stretch"), classifier=False,
    kind="image segmenter, 4 classes",
)  # fmt: skip


class Maps(nn.Module):
    """Two levels, both kinds of upsampling, convolutions that clamp their results."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.down = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.near, self.deep = nn.Conv2d(8, 16, 1), nn.Conv2d(8, 16, 1)
        self.high, self.low = nn.Conv2d(16, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1)
        self.last = nn.Conv2d(16, CLASSES, 1)
        # Every class is somewhere the largest; the last says what the second says.
        with torch.no_grad():
            self.last.weight.mul_(4)
            self.last.bias.copy_(torch.tensor([-0.9, 0.15, 0.25, 0.15]))
            self.last.weight[3] = self.last.weight[1]

    def forward(self, x: Tensor) -> Tensor:
        large = F.relu(self.stem(x))
        small = self.deep(F.relu(self.down(large)))
        large = self.near(large) + F.interpolate(small, size=large.shape[2:], mode="nearest")
        low = F.interpolate(F.relu(self.low(small)), scale_factor=2, mode="bilinear")
        return self.last(F.relu(self.high(large)) + low)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (4, *SIDES, 3), dtype=np.uint8)
    return INFO.preprocess.normalize(pixels)


@pytest.fixture(scope="module")
def made(images, tmp_path_factory):
    """(file, form, program) by target and precision."""
    torch.set_num_threads(1)
    canonical = canonical_form(Maps().eval(), (3, *SIDES))
    assert canonical.map == MAP and canonical.num_classes == CLASSES
    found = {}
    for name in ("tflite", "executorch", "coreml"):
        target = get_target(name)
        form = canonical.form(FORMS[target.facts.form])
        assert form.num_classes == CLASSES
        seen = Calibration("", "", 4, observe(form, [torch.from_numpy(images)], 1))
        table = make_table(form, target.facts.form, load_recipe("cpu"), seen)
        for int8 in (True, False):
            program = quantize(form, table, target.facts.fold) if int8 else form
            path = tmp_path_factory.mktemp("maps") / f"{int8}{target.facts.suffix}"
            target.lower(program, INFO, path, int8=int8)
            found[name, int8] = path, form, program
    return found


@pytest.fixture(scope="module")
def classes(made, tmp_path_factory):
    """The files that answer with maps of classes."""
    found = {}
    for (name, int8), (_, _, program) in made.items():
        path = tmp_path_factory.mktemp("classes") / f"{int8}{get_target(name).facts.suffix}"
        get_target(name).lower(program, replace(INFO, answer="classes"), path, int8=int8)
        found[name, int8] = path
    return found


ALL = list(product(("tflite", "executorch", "coreml"), (True, False)))


@pytest.mark.parametrize(("name", "int8"), ALL)
def test_a_map_of_classes_is_what_the_scores_decide(made, classes, images, name, int8):
    """Pixel by pixel, the lower class of equal scores; with other labels too."""
    target = get_target(name)
    scores = target.load(made[name, int8][0]).run_many(images)
    found = target.load(classes[name, int8]).run_many(images)
    assert found.shape == (len(images), *MAP) and found.dtype == np.uint8
    assert (found == scores.argmax(axis=1)).all()
    assert len(np.unique(found)) == 3
    ties = (scores == scores.max(axis=1, keepdims=True)).sum(axis=1) > 1
    assert ties.mean() > 0.1 and 3 not in found
    check_classes(target, classes[name, int8], made[name, int8][0], images, "maps")
    graph = target.read_graph(classes[name, int8])
    output = graph.tensors[graph.outputs[0]]
    assert output.shape == (1, *MAP) and output.dtype == ("int32" if name == "coreml" else "uint8")
    labelled = classes[name, int8].with_name(f"labelled_{int8}{target.facts.suffix}")
    target.label(classes[name, int8], replace(INFO, labels=tuple("wxyz")), labelled, int8=int8)
    assert (target.load(labelled).run_many(images) == found).all()


@pytest.mark.parametrize(("name", "int8"), ALL[:4])
def test_the_delegate_hands_out_what_the_argmax_is_fastest_on(classes, name, int8):
    """One partition, whose result lies with the classes last, and is codes where the file is."""
    graph = get_target(name).read_graph(classes[name, int8])
    assert graph.partitions == 1
    largest, cast = (node for node in graph.nodes if node.partition is None)
    assert largest.op in ("arg_max", "argmax")
    given = graph.tensors[largest.inputs[0]]
    assert given.shape == (1, *MAP, CLASSES) and given.dtype == ("int8" if int8 else "float32")
    audit = inspect_file(classes[name, int8])
    assert dict(audit.outside_modules["answer"].ops) == {largest.op: 1, cast.op: 1}
    assert "XNNPACK has no argmax over classes" in format_audit(audit)


@pytest.mark.parametrize("name", ["tflite", "executorch", "coreml"])
def test_a_map_of_other_scores_is_refused(made, classes, images, name):
    """Of the float file's scores, which differ from the int8 file's at some pixels."""
    with pytest.raises(UserError, match=r"^m: .* of 1,536 pixels have another class .*--answer"):
        check_classes(get_target(name), classes[name, True], made[name, False][0], images, "m")


FILES = [("tflite", True), ("tflite", False), ("executorch", False), ("coreml", True)]
NAMED = [file for file in FILES if file[0] != "executorch"]


@pytest.mark.parametrize(("name", "int8"), FILES)
def test_a_runner_gives_maps_channels_first(made, images, name, int8):
    path, _, program = made[name, int8]
    target = get_target(name)
    found = target.load(path).run(images[:1])
    with torch.no_grad():
        expected = program(torch.from_numpy(images[:1])).numpy()[0]
    assert found.shape == (CLASSES, *MAP) and found.dtype == np.float32
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error < (0.05 if int8 else 1e-4)
    target.check(path, program, images)


def test_tflite_holds_maps_channels_last(made):
    for int8 in (True, False):
        graph = get_target("tflite").read_graph(made["tflite", int8][0])
        assert graph.tensors[graph.outputs[0]].shape == (1, *MAP, CLASSES)


def test_core_ml_gives_nothing_but_the_maps(made):
    import coremltools as ct

    described = ct.utils.load_spec(str(made["coreml", True][0])).description
    (output,) = described.output
    assert list(output.type.multiArrayType.shape) == [1, CLASSES, *MAP]
    assert described.metadata.shortDescription.startswith("maps: image segmenter, 4 classes, 32 x")
    assert "com.apple.coreml.model.preview.type" not in described.metadata.userDefined


@pytest.mark.parametrize(("name", "int8"), NAMED)
def test_tensors_go_by_their_names(made, images, name, int8):
    """What a file's convolution clamps by itself stands nowhere else in it."""
    path, form, program = made[name, int8]
    own = ProgramTaps(program, form)
    mine = name_program("", own)
    named = name_file("file", get_target(name).facts.form, get_target(name).open_taps(path), own)
    shared = [n for n in mine.names if n in named.names]
    assert {"high:relu", "last:out"} <= set(shared)
    if name == "tflite":
        assert "high:relu" in named.names and "high:out" not in named.names
    values, expected = named.tensors(images[:1], shared), mine.tensors(images[:1], shared)
    for tensor in ("high:relu", "last:out"):
        a, b = values[tensor].real, expected[tensor].real
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= 0.05 * np.abs(b).max()
    outputs = named.outputs(images[:1]), mine.outputs(images[:1])
    assert outputs[0].shape == outputs[1].shape == (CLASSES, *MAP)
    assert np.abs(outputs[0] - outputs[1]).max() <= 0.05 * np.abs(outputs[1]).max()
