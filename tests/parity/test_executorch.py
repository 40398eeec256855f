"""The `.pte` against the parameter table, the quantized program and the float form."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from export.graph import CONV, DEPTHWISE, LINEAR, QUANTIZE, TRANSPOSE
from export.number_formats import GraphIndex
from export.targets.base import ModelInfo
from export.targets.executorch.cut import PteCutter
from export.targets.executorch.lowering import lower
from export.targets.executorch.reader import read_pte
from export.targets.target import get_target
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import XNNPACK_FORM, MobileNorm, NamedConv2d
from mobilemod.harness.arm64.emulator import load_emulator
from mobilemod.networks.registry import network
from quantization.calibration import Calibration, observe
from quantization.params import ParameterTable
from quantization.program import QuantizedConv2d, make_table, quantize
from quantization.recipe import load_recipe
from tests.parity.check_checks import check_catches
from tests.parity.label_checks import check_labels
from tests.parity.lazily import Lazily
from tests.parity.profile_checks import check_cut_computes, check_groups, check_profile

backend = get_target("executorch")

SIZE = 64
INFO = ModelInfo("shallow", ("tench", "golf ball", "ünïcode"), Preprocess(size=SIZE))
# Single flips of rounding spread, the more the narrower the network: hence the low limits.
MIN_SQNR = {"cpu": 28, "npu": 22}
INT8 = ("cpu", pytest.param("npu", marks=pytest.mark.slow))


@dataclass(frozen=True)
class Lowered:
    """A lowered program, the table it was made from (None: float twin), its file."""

    module: nn.Module
    table: ParameterTable | None
    path: Path


def images(count: int, size: int, seed: int = 0) -> torch.Tensor:
    """Smooth random inputs, (count, 3, size, size): noise of 8 x 8 blocks and a little detail."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, size // 8, size // 8, generator=generator)
    fine = 0.2 * torch.randn(count, 3, size, size, generator=generator)
    return nn.functional.interpolate(coarse, size=(size, size), mode="bilinear") + fine


def quantized(form: Form, recipe: str, size: int) -> tuple[nn.Module, ParameterTable]:
    """The quantized program of `form` and its table, calibrated on `images`."""
    observed = observe(form, images(8, size).split(4), 2)
    table = make_table(form, "xnnpack", load_recipe(recipe), Calibration("", "", 8, observed))
    return quantize(form, table, fold=backend.facts.fold), table


@pytest.fixture(scope="module")
def form(shallow_variant, golden_state) -> Form:
    model = network(shallow_variant, 1000, golden_state(shallow_variant))
    return canonical_form(model, (3, SIZE, SIZE)).form(XNNPACK_FORM)


@pytest.fixture(scope="module")
def lowered(form, tmp_path_factory) -> dict[str, Lowered]:
    """The shallow network under both recipes and in float, each as a `.pte`."""
    folder = tmp_path_factory.mktemp("pte")

    def make(recipe: str) -> Lowered:
        module, table = (form, None) if recipe == "float" else quantized(form, recipe, SIZE)
        path = folder / f"{recipe}.pte"
        backend.lower(module, INFO, path, int8=table is not None)
        return Lowered(module, table, path)

    return Lazily(make)


def differences(path: Path, table: ParameterTable) -> list[str]:
    """Where the int8 parameters of a `.pte` and a table differ; empty where they agree.

    Activations are compared as a set of exact (scale, zero point), because one tensor may occur
    several times in a file; per-channel weights as a multiset of exact scale vectors.
    """
    tensors = [t for t in read_pte(path).graph.tensors.values() if t.dtype == "int8"]
    entries = table.entries.values()
    activations = {(t.scale, t.zero_point) for t in tensors if t.axis is None}
    expected = {(e.scale, e.zero_point) for e in entries if e.axis is None}
    weights = Counter((t.scale, t.zero_point) for t in tensors if t.axis is not None)
    wanted = Counter((e.scale, e.zero_point) for e in entries if e.axis is not None)
    return [
        *(f"only in the file: {a}" for a in activations - expected),
        *(f"not in the file: {a}" for a in expected - activations),
        *(f"weight only in the file: {w[0][:2]}" for w in weights - wanted),
        *(f"weight not in the file: {w[0][:2]}" for w in wanted - weights),
    ]


def logits(path_or_module: Path | nn.Module, x: torch.Tensor) -> np.ndarray:
    """Logits of a file or a module, (N, K), one image at a time."""
    if isinstance(path_or_module, nn.Module):
        with torch.no_grad():
            return torch.cat([path_or_module(i[None]) for i in x]).numpy()
    runner = backend.load(path_or_module)
    return np.stack([runner.run(i[None].numpy()) for i in x])


@pytest.mark.parametrize("recipe", INT8)
def test_parameters_are_the_tables(lowered, recipe):
    assert differences(lowered[recipe].path, lowered[recipe].table) == []


@pytest.mark.parametrize("kind", ["activation", "weight"])
def test_a_changed_parameter_is_found(lowered, kind):
    """Negative control: one scale of the table, one unit in the last place off."""
    table = lowered["cpu"].table
    shared = {e.source for e in table.entries.values()}
    entry = next(
        e
        for e in table.entries.values()
        if e.kind == kind and e.tensor not in shared and not e.source
    )
    scale = (float(np.nextafter(np.float32(entry.scale[0]), np.float32(1))), *entry.scale[1:])
    changed = {**table.entries, entry.tensor: dataclasses.replace(entry, scale=scale)}
    found = differences(lowered["cpu"].path, dataclasses.replace(table, entries=changed))
    assert len(found) == 2


@pytest.mark.parametrize("recipe", INT8)
def test_weight_codes_are_the_programs(lowered, recipe):
    pte = read_pte(lowered[recipe].path)
    stored = Counter(
        (c.shape, c.tobytes())
        for name, c in pte.constants.items()
        if c.dtype == np.int8 and pte.graph.tensors[name].axis is not None
    )
    expected: Counter = Counter()
    for module in lowered[recipe].module.modules():
        if isinstance(module, QuantizedConv2d):
            depthwise = module.geometry[3] > 1
            codes = module.weight.permute((1, 2, 3, 0) if depthwise else (0, 2, 3, 1)).numpy()
            expected[codes.shape, codes.tobytes()] += 1
    assert stored == expected
    assert sum(expected.values()) > 30


@pytest.mark.parametrize("recipe", INT8)
def test_biases_are_the_programs(lowered, recipe):
    """The file's int32 codes, times input and weight scale, are the program's float biases."""
    pte = read_pte(lowered[recipe].path)
    modules = lowered[recipe].module.modules()
    convs = {m.scales.numpy().tobytes(): m for m in modules if isinstance(m, QuantizedConv2d)}
    seen = 0
    for node in pte.graph.nodes:
        if node.op not in (CONV, DEPTHWISE, LINEAR) or len(node.inputs) < 3:
            continue
        x, weight, bias = (pte.graph.tensors[name] for name in node.inputs[:3])
        conv = convs.get(np.float32(weight.scale).tobytes())
        # All norms of one width share their average: a weight of one channel names no module.
        if conv is None or conv.bias is None or len(weight.scale) == 1:
            continue
        assert bias.dtype == "int32"
        codes = pte.constants[bias.name].astype(np.float64).ravel()
        real = codes * x.scale[0] * np.float64(weight.scale)
        np.testing.assert_allclose(real, conv.bias.detach().numpy(), rtol=1e-5, atol=1e-9)
        seen += 1
    assert seen > 25


@pytest.mark.parametrize("recipe", INT8)
def test_logits_follow_the_program(lowered, recipe):
    module = lowered[recipe].module
    x = images(16, SIZE, seed=1)
    file = logits(lowered[recipe].path, x)
    assert file.shape == (16, 1000)
    assert sqnr_db(logits(module, x), file) >= MIN_SQNR[recipe]


def test_logits_of_the_float_twin(lowered):
    x = images(16, SIZE, seed=1)
    assert sqnr_db(logits(lowered["float"].module, x), logits(lowered["float"].path, x)) >= 100


@pytest.mark.parametrize("recipe", ["cpu", pytest.param("float", marks=pytest.mark.slow)])
def test_check_catches(lowered, form, recipe):
    made = lowered[recipe]
    check_catches(made.path, form, made.module, images(1, SIZE, seed=3))


@pytest.mark.parametrize("recipe", [*INT8, "float"])
def test_one_partition_takes_all(lowered, form, recipe):
    graph = backend.read_graph(lowered[recipe].path)
    assert graph.partitions == 1
    assert {n.partition for n in graph.nodes} == {0}
    assert [graph.tensors[i].shape for i in graph.inputs] == [(1, 3, SIZE, SIZE)]
    assert [graph.tensors[o].shape for o in graph.outputs] == [(1, 1000)]
    macs: Counter = Counter()
    for node in graph.nodes:
        if node.op in (CONV, DEPTHWISE, LINEAR):
            data, weight = (graph.tensors[i] for i in node.inputs[:2])
            assert weight.constant
            assert data.dtype == weight.dtype
            macs[data.dtype] += node.macs
    assert sum(macs.values()) == count_macs(form)
    index = GraphIndex(graph)
    means = {n.outputs: n.macs for n in graph.nodes if index.takes_mean(n)}
    norms = sum(isinstance(m, MobileNorm) for m in form.modules())
    assert len(means) == 2 * norms
    if recipe != "float":
        assert macs["int8"] >= sum(macs.values()) - sum(means.values())


def count_macs(form: Form) -> int:
    """Multiply-accumulates of all convolutions, counted where they run."""
    total = 0

    def count(module: NamedConv2d, args: tuple, out: torch.Tensor) -> None:
        nonlocal total
        total += out.numel() * module.weight[0].numel()

    handles = [m.register_forward_hook(count) for m in form.modules() if isinstance(m, NamedConv2d)]
    with torch.no_grad():
        form(torch.zeros(1, 3, SIZE, SIZE))
    for handle in handles:
        handle.remove()
    return total


@pytest.mark.slow
def test_same_bytes_again_and_with_all_passes(lowered, tmp_path):
    """The delegate's passes that the lowering leaves out change nothing."""
    again = tmp_path / "again.pte"
    lower(lowered["cpu"].module, INFO, again, int8=True, all_passes=True)
    assert again.read_bytes() == lowered["cpu"].path.read_bytes()


def test_quiet_and_whole(form, tmp_path, capfd, caplog):
    backend.lower(form, INFO, tmp_path / "a.pte", int8=False)
    backend.load(tmp_path / "a.pte")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert [r for r in caplog.records if r.levelno >= logging.INFO] == []
    assert [p.name for p in tmp_path.iterdir()] == ["a.pte"]


def test_metadata(lowered):
    notes = metadata_of(lowered["cpu"].path)
    assert tuple(notes["labels"]) == INFO.labels
    assert Preprocess.from_dict(notes["preprocess"]) == INFO.preprocess


def metadata_of(path: Path) -> dict[str, Any]:
    """As an app reads it, by calling the method, without Python."""
    from executorch.extension.pybindings import portable_lib

    program = portable_lib._load_for_executorch(str(path))
    (text,) = program.run_method("metadata", ())
    return json.loads(text)


def test_a_wrong_input_is_refused(lowered):
    runner = backend.load(lowered["float"].path)
    with pytest.raises(ValueError, match="expected float32"):
        runner.run(np.zeros((1, 3, SIZE + 32, SIZE + 32), np.float32))
    with pytest.raises(ValueError, match="expected float32"):
        runner.run(np.zeros((1, 3, SIZE, SIZE)))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("use", [backend.load, backend.read_graph])
def test_cut_off(lowered, tmp_path, share, use):
    data = lowered["cpu"].path.read_bytes()
    path = tmp_path / "cut.pte"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match="cut.pte") as caught:
        use(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("use", [backend.load, backend.read_graph])
def test_missing_or_foreign(tmp_path, use):
    with pytest.raises(UserError, match="cannot be read"):
        use(tmp_path / "none.pte")
    (tmp_path / "text.pte").write_text("no model at all, but long enough to hold a header")
    with pytest.raises(UserError, match="no ExecuTorch program"):
        use(tmp_path / "text.pte")


def test_a_changed_weight_is_refused(lowered, tmp_path):
    pte = read_pte(lowered["cpu"].path)
    data = bytearray(lowered["cpu"].path.read_bytes())
    weight = max(pte.constants.values(), key=lambda c: c.nbytes).tobytes()
    data[data.index(weight) + 5] ^= 1
    (tmp_path / "bad.pte").write_bytes(data)
    for use in (backend.load, backend.read_graph):
        with pytest.raises(UserError, match="checksum"):
            use(tmp_path / "bad.pte")


def test_reading_damaged_bytes_ends_in_an_answer(lowered, tmp_path):
    """Any byte may be wrong: the reader either refuses the file in one line or reads it."""
    data = lowered["cpu"].path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        bad = bytearray(data)
        for at in rng.integers(0, len(data), 4):
            bad[at] = rng.integers(256)
        (tmp_path / "bad.pte").write_bytes(bad)
        try:
            read_pte(tmp_path / "bad.pte")
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 75


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["cpu", pytest.param("npu", marks=pytest.mark.long)])
@pytest.mark.long
def test_published_network(golden_state, tmp_path, recipe):
    model = network("efficientmod_xxs", 1000, golden_state("efficientmod_xxs"))
    form = canonical_form(model, (3, 224, 224)).form(XNNPACK_FORM)
    module, table = quantized(form, recipe, 224)
    info = dataclasses.replace(INFO, preprocess=Preprocess())
    backend.lower(module, info, tmp_path / "xxs.pte", int8=True)
    assert differences(tmp_path / "xxs.pte", table) == []
    assert backend.read_graph(tmp_path / "xxs.pte").partitions == 1
    x = images(4, 224, seed=1)
    file = logits(tmp_path / "xxs.pte", x)
    # A deep int8 network is chaotic: the program agrees with itself to 33 (cpu) and 31 dB (npu)
    # when the input is changed by 1e-6. The shallow one's test is the sharp one.
    assert sqnr_db(logits(module, x), file) >= {"cpu": 29, "npu": 27}[recipe]


def test_profile(lowered, shallow_variant, tmp_path):
    check_profile(lowered["cpu"].path, lowered["cpu"].table, shallow_variant, tmp_path)


def test_cut_programs(lowered):
    cutter = PteCutter(lowered["cpu"].path, threads=1)
    check_groups(cutter)
    first = next(i for i, n in enumerate(cutter.graph.nodes) if n.op == QUANTIZE)
    check_cut_computes(cutter, cutter.program((first,)))


def test_only_heads_and_edges_are_transposed(lowered):
    """One transpose for each of q, k, v and the merge, whatever the delegate's passes put in."""
    transposes = [n for n in read_pte(lowered["cpu"].path).graph.nodes if n.op == TRANSPOSE]
    shapes = [read_pte(lowered["cpu"].path).graph.tensors[n.inputs[0]].shape for n in transposes]
    edges = [s for s in shapes if s == (1, 3, SIZE, SIZE) or np.prod(s) == max(s)]
    attention = 2  # blocks of the shallow network
    assert len(transposes) - len(edges) == 4 * attention


@pytest.mark.parametrize("kind", ["cpu", "float"])
def test_other_labels(lowered, tmp_path, kind):
    x = images(1, SIZE).numpy()
    new = check_labels(backend, lowered[kind].path, INFO, kind != "float", x, tmp_path)
    assert metadata_of(new)["labels"][1] == "étiquette 1 x"


# By whether a processor has int8 dot products and int8 matrix products, which do twice as much.
INT8_DOTS = {"cortex-a53": 0, "cortex-a76": 1, "cortex-a710": 0.5}


@pytest.mark.slow
def test_emulated_processors_compute_what_this_machine_does(lowered):
    """In ExecuTorch's C++ library of the exporter's own version."""
    x = images(1, SIZE).numpy()
    here = backend.load(lowered["cpu"].path).run(x)
    dots = {}
    for name in INT8_DOTS:
        try:
            emulator = load_emulator(processor=name)
        except UserError as error:
            pytest.skip(str(error))
        there = emulator.infer(lowered["cpu"].path, x)
        assert there.runtime.startswith(f"ExecuTorch {metadata.version('executorch')}, XNNPACK")
        assert sqnr_db(here, there.outputs) > MIN_SQNR["cpu"]
        dots[name] = there.instructions()["classes"]["int8_dot"]
    most = dots["cortex-a76"]
    assert most > 0 and {name: round(n / most, 1) for name, n in dots.items()} == INT8_DOTS


def test_a_file_that_no_emulated_processor_runs_is_said_in_one_line(tmp_path):
    try:
        emulator = load_emulator()
    except UserError as error:
        pytest.skip(str(error))
    path = tmp_path / "cut.pte"
    path.write_bytes(bytes(100))
    with pytest.raises(UserError, match="cut.pte: failed on emulated ARM64: .*pte_load: error 0x"):
        emulator.infer(path, images(1, SIZE).numpy())
