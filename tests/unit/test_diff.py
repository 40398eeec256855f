"""Diff without lowering: the recorded program, naming by structure, what counts as a difference."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from export.diff.named import NO_SIGNAL_DB, TappedTensor, conv_weight, difference
from export.diff.parameters import Parameter, parameter_difference
from export.diff.rules import Exact
from export.diff.taps_names import Naming, NoMatch, flow, name_tensors
from export.diff.taps_program import ProgramTaps
from export.graph import CONV, FileGraph, FileNode
from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM, NamedConv2d, Tap
from quantization.calibration import Calibration, observe
from quantization.program import QuantizeDequantize, make_table, quantize
from quantization.recipe import load_recipe

FORMS = {"xnnpack": XNNPACK_FORM, "coreml": COREML_FORM}
SIZE = 64


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """float32 (1, 3, 64, 64)."""
    return np.random.default_rng(2).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)


@pytest.fixture(scope="module", params=FORMS)
def recorded(request, narrow_form):
    """(form, quantized program, its record) of the narrow network."""
    torch.set_num_threads(1)
    form = narrow_form.form(FORMS[request.param])
    x = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    calibration = Calibration("w", "i", 4, observe(form, [x], 4))
    table = make_table(form, request.param, load_recipe("cpu"), calibration)
    program = quantize(form, table, True)
    return form, program, ProgramTaps(program, form)


# --- the recorded program ---


def test_the_record_computes_what_the_program_does(recorded, image):
    _, program, taps = recorded
    with torch.no_grad():
        expected = program(torch.from_numpy(image)).numpy()
    (logits,) = taps.graph.outputs
    assert np.array_equal(taps.run(image, [logits])[logits], expected)


def test_max_pooling_and_constants_that_are_moved_are_recorded(image):
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 8, 4, 4), nn.GroupNorm(2, 8)
            self.query, self.token = nn.Linear(8, 8), nn.Parameter(torch.randn(1, 1, 8))

        def forward(self, x):
            x = self.norm(F.max_pool2d(self.stem(x), 2)).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
            return (self.query(x) @ x.transpose(1, 2)).softmax(-1).mean(1)

    torch.manual_seed(0)
    form = canonical_form(Pooled().eval(), (3, SIZE, SIZE)).form(XNNPACK_FORM)
    taps = ProgramTaps(form, form)
    (logits,) = taps.graph.outputs
    with torch.no_grad():
        expected = form(torch.from_numpy(image)).numpy()
    assert np.array_equal(taps.run(image, [logits])[logits], expected)
    assert "norm:out" in taps.names and set(taps.norms) <= set(taps.graph.tensors)
    assert name_tensors(taps, taps.graph, lambda n: np.zeros(1), lambda n: np.zeros(1)).names


def test_every_tap_that_moves_nothing_has_a_name(recorded):
    form, program, taps = recorded
    quantized = {m.tensor for m in program.modules() if isinstance(m, QuantizeDequantize)}
    own = {m.tensor for m in form.modules() if isinstance(m, Tap) and m.source is None}
    anew = {
        m.tensor
        for m in form.modules()
        if isinstance(m, Tap) and m.source not in (None, *quantized) and m.tensor in quantized
    }
    assert set(taps.names) <= own | anew
    assert quantized & own | anew <= set(taps.names)
    assert len(set(taps.names.values())) == len(taps.names)
    convs = {m.tensor for m in form.modules() if isinstance(m, NamedConv2d)}
    assert set(taps.weights.values()) == convs
    for name, tensor in taps.names.items():
        assert bool(taps.graph.tensors[tensor].scale) == (name in quantized), name


@pytest.mark.parametrize(
    "layer",
    [nn.MaxPool2d(3, 2, 1), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4)],
    ids=lambda m: type(m).__name__,
)
def test_what_stands_behind_an_op_of_several_results_depends_on_the_image(layer):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), layer, nn.Conv2d(4, 2, 1), nn.Flatten())
    form = canonical_form(network.eval(), (3, 16, 16)).form(XNNPACK_FORM)
    taps, x = ProgramTaps(form, form), torch.randn(1, 3, 16, 16)
    assert set(taps.names.values()) <= set(flow(taps.graph).value)
    (answer,) = taps.graph.outputs
    with torch.no_grad():
        np.testing.assert_array_equal(taps.run(x.numpy(), {answer})[answer], form(x).numpy())


def test_a_given_tensor_takes_the_others_place(recorded, image):
    _, program, taps = recorded
    name = "layers.0.blocks.1.mlp.fc2:out"
    wanted = [taps.names[name], taps.names["layers.0.blocks.1:residual"], taps.graph.outputs[0]]
    plain = taps.run(image, wanted)
    same = taps.run(image, wanted, {wanted[0]: plain[wanted[0]]})
    assert all(np.array_equal(same[t], plain[t]) for t in wanted)
    scale = taps.graph.tensors[wanted[0]].scale[0]
    moved = taps.run(image, wanted, {wanted[0]: plain[wanted[0]] // 2})
    assert np.array_equal(moved[wanted[0]], plain[wanted[0]])  # what it makes itself is kept
    steps = (moved[wanted[1]] - plain[wanted[1]]) / np.float32(scale)
    difference = plain[wanted[0]] // 2 - plain[wanted[0]].astype(float)
    np.testing.assert_allclose(steps, difference, atol=1e-3)
    # Nothing before it is needed, the image neither.
    assert len(taps.between({wanted[0]}, [wanted[2]])) < len(taps.calls)


# --- names from the structure ---


def renamed(graph: FileGraph) -> tuple[FileGraph, dict[str, str]]:
    """The same graph under names that say nothing, and the new name of each tensor."""
    new = {name: f"x{i}" for i, name in enumerate(sorted(graph.tensors))}
    nodes = tuple(
        FileNode(n.op, tuple(new[i] for i in n.inputs), tuple(new[o] for o in n.outputs))
        for n in graph.nodes
    )
    tensors = {new[n]: dataclasses.replace(t, name=new[n]) for n, t in graph.tensors.items()}
    inputs, outputs = (tuple(new[t] for t in side) for side in (graph.inputs, graph.outputs))
    return FileGraph("file", tensors, nodes, inputs, outputs), new


def matched(taps: ProgramTaps, graph: FileGraph, new: dict[str, str], wrong: str = "") -> Naming:
    """The naming of a renamed graph; wrong: a weight tensor that holds half of what it should."""
    old = {b: a for a, b in new.items()}

    def weight(node: FileNode) -> np.ndarray:
        back = dataclasses.replace(node, inputs=tuple(old[i] for i in node.inputs))
        return conv_weight(taps, back) * (0.5 if node.inputs[1] == wrong else 1.0)

    return name_tensors(taps, graph, lambda node: conv_weight(taps, node), weight)


def test_a_graph_without_names_is_named(recorded):
    _, _, taps = recorded
    graph, new = renamed(taps.graph)
    assert matched(taps, graph, new).names == {n: new[t] for n, t in taps.names.items()}


def test_a_wrong_weight_among_siblings_is_still_named(recorded):
    """q, k and v stand on one input and differ in their weights alone."""
    _, _, taps = recorded
    graph, new = renamed(taps.graph)
    makers = {n.outputs[0]: n for n in taps.graph.nodes}
    expected = {n: new[t] for n, t in taps.names.items()}
    for output, weight in taps.weights.items():
        if "attn.qkv" in weight:
            assert matched(taps, graph, new, new[makers[output].inputs[1]]).names == expected


def test_a_missing_or_a_different_op_is_no_match(recorded):
    _, _, taps = recorded
    graph, new = renamed(taps.graph)
    for op in (CONV, "gelu", "softmax", "add"):
        nodes = list(graph.nodes)
        last = max(i for i, n in enumerate(nodes) if n.op == op)
        nodes[last] = dataclasses.replace(nodes[last], op="abs")
        with pytest.raises(NoMatch, match="no op for"):
            matched(taps, dataclasses.replace(graph, nodes=tuple(nodes)), new)


# --- differences ---


def tapped(values: list, scale: float | None = None, zero_point: int = 0) -> TappedTensor:
    dtype = np.float32 if scale is None else np.int8
    return TappedTensor("x", np.array(values, dtype), scale, zero_point)


def test_difference_of_codes_is_in_steps():
    found = difference(tapped([0, 5, 9, 9], 0.1), tapped([0, 5, 9, 6], 0.1))
    assert (found.share, found.largest) == (0.25, 3)
    expected = 10 * np.log10((0.5**2 + 2 * 0.9**2) / 0.3**2)
    assert found.sqnr_db == pytest.approx(expected)
    assert difference(tapped([1, 2], 0.1), tapped([1, 2], 0.1)).sqnr_db is None


def test_difference_of_real_values_is_in_the_largest():
    found = difference(tapped([0.0, 4.0]), tapped([0.0, 3.0]))
    assert (found.share, found.largest) == (0.5, 0.25)
    assert difference(tapped([0.0]), tapped([1.0])).sqnr_db == NO_SIGNAL_DB


def test_a_real_tensor_beside_codes_is_taken_by_its_nearest():
    codes = tapped([3, -128], 0.5, zero_point=1)
    same, off = tapped([1.1, -90.0]), tapped([1.3, -90.0])
    assert difference(codes, same).share == difference(same, codes).share == 0
    assert (difference(codes, off).share, difference(codes, off).largest) == (0.5, 1)


def test_how_far_codes_are_from_the_exact_result():
    result = Exact(np.array([1.4, 1.4, 2.5, 300.0, -128.6]), 0.1, (-128, 127))
    codes = np.array([1.0, 2.0, 3.0, 127.0, -128.0])
    assert result.codes().tolist() == [1, 1, 2, 127, -128]
    np.testing.assert_allclose(result.past_middle(codes), [0, 0.1, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(result.to_middle()[:3], [0.1, 0.1, 0.0], atol=1e-12)


def values(*numbers: float) -> Parameter:
    return Parameter(np.array(numbers))


def test_a_formats_rounding_is_no_difference_of_parameters():
    weights = np.random.default_rng(0).standard_normal(1000) * 0.1
    half = Parameter(weights.astype(np.float16).astype(np.float64))
    single = Parameter(weights.astype(np.float32).astype(np.float64))
    assert parameter_difference(Parameter(weights), single, half=False) == ""
    assert parameter_difference(Parameter(weights), half, half=True) == ""
    assert parameter_difference(Parameter(weights), half, half=False) != ""


def test_what_differs_is_said():
    a = values(1.0, 2.0, 3.0)
    assert parameter_difference(a, values(1.0, 2.5, 3.0), False) == "1 of 3 values, such as 2 / 2.5"
    assert parameter_difference(values(0.1), values(0.2), False) == "0.1 / 0.2"
    assert parameter_difference(a, values(1.0), False) == "3 values / 1"
    exact, tanh = Parameter("exact"), Parameter("tanh approximation")
    assert parameter_difference(exact, tanh, True) == "exact / tanh approximation"
    assert parameter_difference(exact, copy.copy(exact), True) == ""


def test_pieces_may_differ_by_their_own_rounding():
    step = np.array([0.1])
    whole, pieces = Parameter(np.array([1.0]), step), Parameter(np.array([1.09]), step, pieces=True)
    assert parameter_difference(pieces, whole, True) == ""
    assert parameter_difference(dataclasses.replace(pieces, pieces=False), whole, True) != ""
    assert parameter_difference(dataclasses.replace(pieces, values=np.array([1.2])), whole, True)
