"""The latency benchmark: its statistics, its rows for what fails, and that plain means plain."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.latency import parse
from benchmarks.measure.rounds import Round, examine, measure, quietest
from benchmarks.measure.series import Ratio, order_of_round, per_round, ratio, spread
from benchmarks.reports.checks import AT_LEAST, AT_MOST, Check, all_checks
from benchmarks.reports.latency_report import checks_table, missing_lines, row_record, times_table
from benchmarks.routes import plain_routes
from benchmarks.routes.candidates import Candidate, check_skip, plain_candidates
from benchmarks.routes.network import CalibratedNetwork, bundle_network
from benchmarks.routes.plain_routes import ROUTES, build, cached_path
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.manifest import Bundle, load_bundle, seal_bundle
from mobilemod.networks.checkpoints import save_checkpoint
from mobilemod.networks.efficientmod import EfficientMod
from mobilemod.networks.synthetic import trained_like_state
from quantization.calibration import weights_digest
from tests.manifests import checkpoint, manifest_values
from tests.tiny_bundle import IDS

SIZE = 64


@pytest.fixture(scope="module")
def network(narrow_variant) -> CalibratedNetwork:
    """The narrow network with as few blocks as hold every op: it is converted for real."""
    variant = replace(narrow_variant, blocks=(2, 1, 1, 1), attention_blocks=(0, 0, 0, 1))
    images = np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)
    state = trained_like_state(variant, 10)
    return CalibratedNetwork(variant, 10, state, images, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture(scope="module")
def expected(network) -> np.ndarray:
    """The published network's own logits on the images, built without the benchmark's code."""
    import torch

    model = EfficientMod(network.variant, 10)
    model.load_state_dict(network.state, strict=True)
    with torch.no_grad():
        return model.eval()(torch.from_numpy(network.images)).numpy()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def litert_file(network, tmp_path_factory) -> Path:
    """litert-torch's float file of the narrow network."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOBILEMOD_CACHE", str(folder))
        built = build(ROUTES["litert-torch-float32"], network)
    assert built.reason == "" and built.path is not None and built.seconds > 0
    return built.path


# Statistics


def test_spread_is_of_all_runs():
    found = spread([[4.0, 1.0], [2.0, 3.0], [5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]])
    assert (found.median, found.min, found.p10, found.p90) == (6.0, 1.0, 2.0, 10.0)


def test_ratio_is_paired_by_round():
    """A machine that slows down tenfold moves both series, and not their ratio."""
    slow = np.array([1.0, 10.0, 3.0, 100.0, 1.0, 7.0])
    found = ratio(4.0 * slow, slow)
    assert (found.median, found.low, found.high) == (4.0, 4.0, 4.0)
    shuffled = ratio(4.0 * slow, np.roll(slow, 1))
    assert shuffled.low < 1.0 < 4.0 < shuffled.high


def test_ratio_interval_holds_the_truth_as_often_as_it_says():
    """Of 100 made-up experiments about 95 % of the intervals hold the true ratio of 2."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(100):
        noise = np.exp(0.1 * rng.standard_normal(30))
        found = ratio(2.0 * noise, np.ones(30))
        held += found.low <= 2.0 <= found.high
    assert 88 <= held <= 99


def test_ratio_refuses_series_of_other_rounds():
    with pytest.raises(ValueError, match="no common rounds"):
        ratio(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="no common rounds"):
        ratio(np.ones(0), np.ones(0))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_file_stands_at_every_place(count):
    orders = [order_of_round(count, number) for number in range(2 * count)]
    assert all(sorted(order) == list(range(count)) for order in orders)
    for place in range(count):
        assert {order[place] for order in orders} == set(range(count))
    if count > 2:
        followers = {(a, b) for order in orders for a, b in zip(order, order[1:], strict=False)}
        assert {(0, 1), (1, 0)} <= followers


def test_disturbed_rounds_give_way_to_quiet_ones():
    loads = [0.02, 1.0, 0.05, math.nan, 0.3, 0.01]
    taken = [Round({1: [[float(i)]]}, load) for i, load in enumerate(loads)]
    assert [r.runs[1][0][0] for r in quietest(taken, 3)] == [0.0, 2.0, 5.0]
    assert [r.runs[1][0][0] for r in quietest(taken, 4)] == [0.0, 2.0, 4.0, 5.0]
    assert len(quietest(taken, 10)) == 6


# Checks and tables


def timed(key: str, tool: str, precision: str, suffix: str, ms: float, two: float) -> Candidate:
    pace = [1.0, 1.5, 1.0, 2.0]
    times = {1: [[ms * p] * 3 for p in pace], 2: [[two * p] * 3 for p in pace]}
    facts = {"bytes": 1_000_000, "partitions": 1, "outside": {"add": 2}}
    return Candidate(key, tool, precision, suffix, "published", Path(f"model{suffix}"),
                     facts=facts, sqnr=30.0, agreement=100.0, times=times)  # fmt: skip


def rows() -> list[Candidate]:
    return [
        timed("ours-pte", "mobilemod", "int8", ".pte", 10, 5),
        timed("ours-pte-float", "mobilemod", "float32", ".pte", 15, 15),
        timed("ours-tflite", "mobilemod", "int8", ".tflite", 5, 4),
        timed("plain-pte", "ExecuTorch", "int8", ".pte", 50, 50),
        timed("plain-pte-float", "ExecuTorch", "float32", ".pte", 45, 45),
        timed("slow-tflite", "a", "int8", ".tflite", 90, 90),
        timed("best-tflite", "b", "int8", ".tflite", 40, 40),
        timed("dynamic-tflite", "b", "int8 weights", ".tflite", 20, 20),
        timed("ort-float", "ORT", "float32", ".onnx", 20, 20),
        timed("ort-int8", "ORT", "int8", ".onnx", 12.5, 12.5),
    ]


def test_checks_hold_each_file_against_the_best_of_its_kind():
    found = {(c.text, c.threads): c for c in all_checks(rows(), (1, 2))}
    expected = {
        ("our int8 .pte: faster than the best plain int8 .pte", "1"): ("plain-pte", 5.0, "pass"),
        ("our int8 .pte: faster than the best plain .pte of any kind", "1"): (
            "plain-pte-float",
            4.5,
            "",
        ),
        ("our int8 .pte: faster than our float .pte", "1"): ("ours-pte-float", 1.5, "fail"),
        ("our int8 .tflite: faster than the best plain int8 .tflite", "1"): (
            "best-tflite",
            8.0,
            "pass",
        ),
        ("our int8 .tflite: faster than the best plain .tflite of any kind", "1"): (
            "dynamic-tflite",
            4.0,
            "",
        ),
        ("our int8 .tflite: faster than our float .tflite", "1"): ("–", None, "not measured"),
        ("our int8 .pte: share of ONNX Runtime float32's time", "1"): ("ort-float", 0.5, "pass"),
        ("our int8 .pte: share of ONNX Runtime int8's time", "1"): ("ort-int8", 0.8, "pass"),
        ("our int8 .pte: two threads faster by", "1 / 2"): ("itself", 2.0, "pass"),
        ("our int8 .tflite: two threads faster by", "1 / 2"): ("itself", 1.25, "fail"),
    }
    for key, (peer, value, verdict) in expected.items():
        check = found[key]
        assert (check.peer, check.verdict) == (peer, verdict), key
        assert (check.measured and check.measured.median) == (value and pytest.approx(value)), key
    assert len(checks_table(list(found.values()))) == len(found) + 1 == 23


@pytest.mark.parametrize(
    "holds,measured,verdict",
    [
        (AT_LEAST, Ratio(2.1, 2.0, 2.2), "pass"),
        (AT_LEAST, Ratio(2.1, 1.9, 2.2), "pass, unclear"),
        (AT_LEAST, Ratio(1.9, 1.8, 2.1), "fail, unclear"),
        (AT_MOST, Ratio(2.1, 2.05, 2.2), "fail"),
        (AT_MOST, Ratio(1.9, 1.8, 1.95), "pass"),
    ],
)
def test_a_limit_inside_the_interval_is_said(holds, measured, verdict):
    assert Check("", "1", "", 2.0, holds, measured).verdict == verdict


def test_table_is_sorted_and_has_paired_ratios():
    table = times_table(rows(), 1)
    assert table[1][0] == "mobilemod int8 .tflite" and table[-1][0] == "a int8 .tflite"
    assert {len(row) for row in table} == {len(table[0])}
    by_name = {row[0]: row for row in table}
    assert by_name["ExecuTorch int8 .pte"][4:6] == ["5.00 (5.00–5.00)", "10.00 (10.00–10.00)"]
    assert by_name["ExecuTorch int8 .pte"][-3:] == ["1.0", "1", "2"]
    values = row_record(rows()[3], rows(), (1, 2))["milliseconds"]
    assert values["1"]["over"]["ours-tflite"] == {"median": 10.0, "low": 10.0, "high": 10.0}
    assert values["2"]["rounds"] == [50.0, 75.0, 50.0, 100.0]


# Routes


def test_published_form_is_the_published_network(network, expected):
    import torch

    model, mobile = network.published(), network.mobile()
    images = torch.from_numpy(network.images)
    with torch.no_grad():
        assert np.array_equal(model(images).numpy(), expected)
        assert np.allclose(mobile(images).numpy(), expected, atol=1e-4)
    kinds = [type(m).__name__ for m in model.modules()]
    assert kinds.count("LayerNorm") == sum(
        n.endswith(".weight") and w.ndim == 1 for n, w in network.state.items()
    )
    assert kinds.count("LayerNorm") > 10
    assert "Linear" in kinds and "Attention" in kinds
    assert type(mobile) is not type(model)


def test_the_published_network_of_a_bundle(known_narrow, narrow_model, narrow_form, tmp_path):
    """From the checkpoint that the bundle was made of, and from no other."""
    import torch

    path, data = tmp_path / "narrow.safetensors", tmp_path / "data"
    state = narrow_model.state_dict()
    save_checkpoint(path, state, {"model": known_narrow}, torch.float32)
    preprocess = Preprocess(size=SIZE)
    for name in IDS:
        (data / "train" / name).mkdir(parents=True)
        Image.new("RGB", (80, 80), (90, 60, 30)).save(data / "train" / name / "a.png")
    labels = [{"id": name, "label": name} for name in IDS]

    def bundle(weights: str) -> Bundle:
        folder = tmp_path / weights[:8]
        folder.mkdir()
        values = manifest_values(known_narrow, labels, preprocess.to_dict())
        seal_bundle(folder, {**values, "checkpoint": checkpoint(weights)})
        return load_bundle(folder)

    own = bundle(weights_digest(narrow_form.state()))
    found = bundle_network(own, data, 3, path)
    assert found.images.shape == (3, 3, SIZE, SIZE) and found.num_classes == len(IDS)
    assert all(torch.equal(v, state[k]) for k, v in found.published().state_dict().items())
    with pytest.raises(UserError, match="made of other weights than .*narrow.*--checkpoint"):
        bundle_network(bundle("1" * 64), data, 3, path)


def test_plain_file_is_lowered_from_the_published_form(litert_file, network, expected):
    """Its depthwise kernels are whole, its norms are there, and its logits are the network's."""
    from export.targets.tflite.graph import read_graph
    from export.targets.tflite.taps import open_taps

    depthwise = [
        graph.tensors[n.inputs[1]].shape
        for graph in [read_graph(litert_file)]
        for n in graph.nodes
        if n.op == "depthwise_conv"
    ]
    blocks = sum(network.variant.blocks)
    assert [shape[1:3] for shape in depthwise] == [(7, 7)] * blocks
    taps = open_taps(litert_file)
    constants = filter(lambda v: v is not None, map(taps.constant, taps.graph.tensors))
    norm = network.state["norm.weight"].numpy()
    assert any(np.array_equal(norm, value.ravel()) for value in constants)
    found = examine(litert_file, network.images)
    assert found.logits is not None and np.allclose(found.logits, expected, atol=1e-3)
    assert found.facts["bytes"] == litert_file.stat().st_size and found.facts["partitions"] >= 1


def test_measured_rounds_have_every_file_and_thread_count(litert_file, network):
    found = measure([litert_file, litert_file], network.images[:1], (1, 2), 2, 3)
    assert len(found) == 2
    for r in found:
        assert set(r.runs) == {1, 2}
        assert [len(runs) for runs in r.runs[1]] == [3, 3]
        assert (per_round(r.runs[2]) > 0).all()


def fail_as_a_tool_does(network, path):
    path.write_bytes(b"half a file")
    raise RuntimeError("\n  no kernel for this op\nand a page of advice")


def crash(network, path):
    import os

    os._exit(11)


def test_failing_route_is_a_row_with_a_reason(network, cache, monkeypatch):
    good = ROUTES["executorch-float32"]
    routes = {
        "throws": replace(good, name="throws", build=fail_as_a_tool_does),
        "crashes": replace(good, name="crashes", build=crash),
        "needs": replace(good, name="needs", build=crash, needs=("absent",)),
        "absent": replace(good, name="absent", packages=("no-such-package",)),
    }
    monkeypatch.setattr(plain_routes, "ROUTES", routes)
    monkeypatch.setattr("benchmarks.routes.candidates.ROUTES", routes)
    found = {row.key: row for row in plain_candidates(network, [])}
    assert all(row.path is None for row in found.values())
    assert found["throws"].reason == "RuntimeError: no kernel for this op"
    assert found["needs"].reason == found["absent"].reason
    assert "crashed" in found["crashes"].reason
    assert "no-such-package" in found["absent"].reason and "bench-setup" in found["absent"].reason
    lines = missing_lines(list(found.values()))
    assert len(lines) == 4 and "no kernel for this op" in lines[0]
    assert row_record(found["throws"], [], (1,))["reason"] == found["throws"].reason
    assert not any(path.is_file() for path in cache.rglob("*"))
    assert [row[0] for row in times_table(list(found.values()), 1)] == ["file"]


def test_file_that_its_runtime_refuses_has_a_reason(litert_file, tmp_path, network):
    path = tmp_path / "cut.tflite"
    path.write_bytes(litert_file.read_bytes()[:5000])
    found = examine(path, network.images)
    assert found.logits is None and "cut off" in found.reason


def test_cache_knows_weights_images_and_route(network, cache):
    route = ROUTES["onnxruntime-int8"]
    other_images = replace(network, images=network.images + np.float32(1e-3))
    state = {k: v + 1e-3 if k == "head.bias" else v for k, v in network.state.items()}
    keys = {
        cached_path(route, network),
        cached_path(route, other_images),
        cached_path(route, replace(network, state=state)),
        cached_path(ROUTES["onnxruntime-int8-products"], network),
    }
    assert len(keys) == 4 and cached_path(route, network) in keys
    assert all(path.is_relative_to(cache) for path in keys)


def test_second_build_comes_from_the_cache(litert_file, network, monkeypatch):
    monkeypatch.setenv("MOBILEMOD_CACHE", str(litert_file.parents[2]))
    again = build(ROUTES["litert-torch-float32"], network)
    assert (again.path, again.seconds) == (litert_file, 0.0)


def test_unknown_route_to_skip():
    check_skip(["onnx2tf", "executorch-int8"])
    with pytest.raises(UserError, match="no such route; known: executorch-float32"):
        check_skip(["tensorrt"])


@pytest.mark.parametrize(
    "options,said",
    [
        (["--threads", "1,"], None),
        (["--threads", ","], "--threads ,: give counts up to"),
        (["--threads", "0"], "give counts up to"),
        (["--threads", "99999"], "give counts up to"),
        (["--rounds", "0"], "--rounds must be 1 or more"),
        (["--models", "resnet"], "unknown model"),
    ],
)
def test_options(options, said, tmp_path):
    argv = ["--data", str(tmp_path), *options]
    if said is None:
        assert parse(argv).threads == (1,)
        return
    with pytest.raises(UserError, match=said):
        parse(argv)


def test_no_images(monkeypatch):
    monkeypatch.delenv("MOBILEMOD_DATA", raising=False)
    with pytest.raises(UserError, match="give --data DIR"):
        parse([])
