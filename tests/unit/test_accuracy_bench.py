"""The accuracy benchmarks: answers of any file, int8 shares, coremltools' route, the verdicts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import accuracy, outliers
from benchmarks.accuracy import all_checks, checks_table, chosen
from benchmarks.measure.answers import answer
from benchmarks.measure.int8_share import int8_share
from benchmarks.measure.mil_network import MilNetwork
from benchmarks.routes import plain_coreml
from benchmarks.routes.accuracy_rows import AccuracyRow, Judge, row_record, rows_table
from benchmarks.routes.minmax import (
    LEVELS,
    MinMaxNetwork,
    load_minmax,
    observe_ranges,
    round_to_grid,
)
from benchmarks.routes.network import CalibratedNetwork
from benchmarks.routes.plain_routes import ROUTES, build
from export.quiet import quiet
from export.targets.coreml.reader import open_package, quantization
from mobilemod.data.imagefolder import load_pixels, read_folder
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Predictions
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.manifest import Bundle
from mobilemod.manifest_schema import Manifest, checked
from mobilemod.networks.efficientmod import Variant
from mobilemod.networks.synthetic import trained_like_state
from tests.manifests import manifest_values

SIZE = 64


@pytest.fixture(scope="module")
def network() -> CalibratedNetwork:
    """One stage with every op that the published form has; the first image has most range."""
    variant = Variant("efficientmod_stage", (16,), (2,), (1,), 6, (4,))
    images = np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)
    images[0] *= 3
    state = trained_like_state(variant, 10)
    return CalibratedNetwork(variant, 10, state, images, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOBILEMOD_CACHE", str(folder))
        yield folder


def built(name: str, network: CalibratedNetwork) -> Path:
    found = build(ROUTES[name], network)
    assert found.path is not None, found.reason
    return found.path


@pytest.fixture(scope="module")
def expected(network) -> np.ndarray:
    """The float network's logits on its images."""
    with torch.no_grad():
        return network.published()(torch.from_numpy(network.images)).numpy()


# coremltools' route


@pytest.fixture(scope="module")
def packages(network, tmp_path_factory) -> dict[str, Path]:
    """coremltools' float package, and its int8 ones by the last image and by all."""
    folder = tmp_path_factory.mktemp("coreml")
    names = ("float16", "last", "all")
    source, last, joined = (folder / f"{name}.mlpackage" for name in names)
    with quiet():
        plain_coreml.coreml_float(network, source)
        plain_coreml.coreml_int8(network, last, source)
        plain_coreml.coreml_int8_all_images(network, joined, source)
    return dict(zip(names, (source, last, joined), strict=True))


def scales(path: Path) -> dict[str, float]:
    """Scale of every activation's quantize, by the name of what it quantizes.

    Without those of sums, which coremltools writes in units of their addends' scales.
    """
    ops = open_package(path).operations
    return {
        op.inputs["input"].name: float(quantization(op)[0][0])
        for op in ops
        if op.op_type == "quantize" and not op.inputs["input"].name.startswith("add")
    }


def test_interpreter_computes_the_published_network(network, packages, expected):
    path = packages["float16"]
    assert sqnr_db(expected, MilNetwork(path).logits(network.images)) > 45
    assert int8_share(path) == 0.0


def test_coremltools_keeps_the_last_image_s_range_and_our_patch_all(network, packages, expected):
    """The first of the two images has three times the range of the last."""
    last, joined = packages["last"], packages["all"]
    a, b = scales(last), scales(joined)
    assert a.keys() == b.keys() and len(a) > 20
    assert all(b[name] >= a[name] * 0.999 for name in a)
    # Behind the norms the ranges are much alike.
    assert b["image"] == pytest.approx(np.abs(network.images).max() / 127, rel=1e-3)
    assert a["image"] == pytest.approx(np.abs(network.images[1]).max() / 127, rel=1e-3)
    quality = [sqnr_db(expected, MilNetwork(p).logits(network.images)) for p in (last, joined)]
    assert quality[1] > quality[0] + 3 and quality[1] > 15
    assert 0.3 < int8_share(joined) <= 1


# The simulated tool


def test_grid_is_eight_bits_and_holds_zero():
    x = torch.linspace(-1.0, 3.0, 4001)
    y = round_to_grid(x, -1.0, 3.0)
    assert len(y.unique()) == LEVELS + 1 and float((y - x).abs().max()) <= 2 / LEVELS + 1e-6
    assert float(round_to_grid(torch.zeros(1), 0.5, 3.0)) == 0.0
    assert float(round_to_grid(torch.tensor([9.0]), -1.0, 3.0)) == pytest.approx(3.0, abs=0.02)
    assert torch.equal(round_to_grid(torch.zeros(3), 0.0, 0.0), torch.zeros(3))


def test_saved_simulation_is_the_simulation(network, cache):
    path = built("minmax", network)
    run, runtime = load_minmax(path)
    model = network.published()
    direct = MinMaxNetwork(model, observe_ranges(model, network.batches()))
    with torch.no_grad():
        wanted = np.concatenate([direct(x).numpy() for x in network.batches()])
        true = model(torch.from_numpy(network.images)).numpy()
    assert np.array_equal(run(network.images), wanted)
    assert 5 < sqnr_db(true, wanted) < 40, "int8, and neither float nor noise"
    assert "PyTorch" in runtime


# Answers on a folder


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three images in two classes, and a damaged one."""
    rng = np.random.default_rng(5)
    for name in ("a/1", "a/2", "b/3", "b/4"):
        path = tmp_path / "val" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (70, 70, 3), np.uint8)).save(path)
    (tmp_path / "val" / "a" / "2.png").write_bytes(b"no image")
    return tmp_path / "val"


def test_answers_are_the_file_s_own_and_come_from_the_cache_again(
    network, cache, folder, monkeypatch, tmp_path
):
    path, images, preprocess = built("minmax", network), read_folder(folder), Preprocess(SIZE)
    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path / "answers"))
    found = answer(path, images, preprocess)
    assert found.kept == [0, 2, 3] and found.reason == "" and "PyTorch" in found.runtime
    pixels = np.stack([load_pixels(images.samples[i].path, preprocess) for i in found.kept])
    assert np.array_equal(found.logits, load_minmax(path)[0](preprocess.normalize(pixels)))
    (kept,) = (tmp_path / "answers").rglob("*.npz")
    stamp = kept.stat().st_mtime_ns
    again = answer(path, images, preprocess)
    assert np.array_equal(again.logits, found.logits) and again.kept == found.kept
    assert kept.stat().st_mtime_ns == stamp
    answer(path, images, Preprocess(SIZE, mean=(0.4, 0.4, 0.4)))
    assert len(list((tmp_path / "answers").rglob("*.npz"))) == 2


def test_file_that_its_runtime_refuses_has_a_reason(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path))
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"\0\0\0\0TFL3" + bytes(40))
    found = answer(path, read_folder(folder), Preprocess(SIZE))
    assert found.logits is None and found.reason and "broken.tflite: " not in found.reason


# Shares of an ONNX file


def test_share_of_an_onnx_file_counts_products_with_constants(tmp_path):
    """An int8 convolution and a float linear, worked out by hand."""
    onnx = pytest.importorskip("onnx")
    h, n = onnx.helper, onnx.numpy_helper

    def constant(name: str, *shape: int, dtype=np.float32):
        return n.from_array(np.arange(1, np.prod(shape) + 1).reshape(shape).astype(dtype), name)

    nodes = [
        h.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        h.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        h.make_node("DequantizeLinear", ["wq", "s", "z"], ["wd"]),
        h.make_node("Conv", ["xd", "wd"], ["y"], kernel_shape=[3, 3]),
        h.make_node("ReduceMean", ["y"], ["m"], keepdims=0, axes=[2, 3]),
        h.make_node("Gemm", ["m", "g"], ["out"], transB=1),
        h.make_node("Gemm", ["m", "mean"], ["of five"], transB=1),  # takes a mean: not counted
    ]
    graph = h.make_graph(
        nodes,
        "g",
        [h.make_tensor_value_info("x", 1, [1, 3, 4, 4])],
        [h.make_tensor_value_info("out", 1, [1, 2])],
        [constant("s"), constant("z", dtype=np.int8), constant("wq", 5, 3, 3, 3, dtype=np.int8),
         constant("g", 2, 5), n.from_array(np.full((1, 5), 0.2, np.float32), "mean")],
    )  # fmt: skip
    file = tmp_path / "m.onnx"
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 13)]), file)
    conv, gemm = 5 * 2 * 2 * 27, 2 * 5
    assert int8_share(file) == pytest.approx(conv / (conv + gemm))


# Rows and verdicts


@pytest.fixture(scope="module")
def judge() -> Judge:
    """A float network that is right on all of 20 images."""
    targets = np.arange(20) % 4
    reference = Predictions("torch float", np.eye(4, dtype=np.float32)[targets], "reference")
    labels = [{"id": "a", "label": "a"}]
    values = {**manifest_values("m", labels, Preprocess(SIZE).to_dict()), "parts": []}
    manifest = checked(Manifest, json.loads(json.dumps(values)), "", "")
    bundle = Bundle(Path("bundle"), values, manifest)
    return Judge(bundle, None, list(range(20)), targets, reference)  # type: ignore[arg-type]


def row(judge: Judge, key: str, tool: str, wrong: int, tmp: Path) -> AccuracyRow:
    """A row that errs on the first `wrong` images."""
    logits = 0.9 * judge.reference.outputs
    logits[:wrong] = logits[:wrong, ::-1]
    return judge.row(key, tool, tmp / "f.minmax", logits, "runtime")


@pytest.mark.parametrize("wrong,verdict", [(1, "yes"), (3, "yes, equal"), (5, "no")])
def test_smallest_drop_is_judged_against_the_best_other(judge, tmp_path, wrong, verdict):
    rows = [
        row(judge, "mobilemod-pte", "mobilemod", wrong, tmp_path),
        row(judge, "bad", "worse tool", 9, tmp_path),
        row(judge, "good", "better tool", 3, tmp_path),
        AccuracyRow("gone", "absent tool", ".pte", reason="no package"),
    ]
    checks = all_checks(rows, judge)
    assert [c.measure.asked for c in checks] == [m.asked for m in accuracy.MEASURES]
    assert {(c.peer.key, c.verdict) for c in checks} == {("good", verdict)}
    assert checks[0].ahead.points == 5.0 * (3 - wrong)
    lines = checks_table(checks)
    assert [line[-1] for line in lines[1:]] == [verdict] * 3
    assert lines[2][2] == str(wrong) and lines[2][4] == "3"
    table = rows_table(rows)
    assert len(table) == 1 + 3 and table[1][2:4] == [f"{100 - 5 * wrong:.2f}", f"{5 * wrong:.2f}"]
    lines = accuracy.missing_lines(rows)
    assert lines == ["absent tool .pte (gone): not run: no package"]
    values = accuracy.record(judge, rows, checks, {})
    json.dumps(values, allow_nan=False)
    assert values["files"][3]["drop"] is None and values["checks"][0]["measured"] == verdict
    assert lines[0] in accuracy.text(judge, rows, checks, accuracy.markdown)


def test_chance_gain_does_not_make_a_file_faithful(judge, tmp_path):
    """Of two files, one wins what it loses: the same drop, more answers changed, less SQNR."""
    targets = judge.targets.copy()
    targets[:2] = (targets[:2] + 1) % 4
    judge = replace(judge, targets=targets)
    ours = row(judge, "mobilemod-pte", "mobilemod", 0, tmp_path)
    logits = judge.reference.outputs.copy()
    logits[0] = np.eye(4)[targets[0]]
    logits[2] = np.roll(logits[2], 1)
    peer = judge.row("peer", "peer", tmp_path / "f.minmax", logits, "")
    assert (peer.drop.lost, peer.drop.won, peer.drop.points) == (1, 1, 0.0)
    verdicts = {c.measure.asked: c.verdict for c in all_checks([ours, peer], judge)}
    assert verdicts == {
        "smallest drop": "yes, equal",
        "fewest answers changed": "yes",
        "largest SQNR": "yes",
    }


def test_without_another_file_nothing_is_claimed(judge, tmp_path):
    rows = [row(judge, "mobilemod-pte", "mobilemod", 0, tmp_path)]
    assert all_checks(rows, judge) == []
    assert row_record(rows[0])["drop"]["points"] == 0.0


def test_outlier_verdicts(judge, tmp_path):
    rows = [
        row(judge, "mobilemod-pte", "mobilemod", 0, tmp_path),
        row(judge, "minmax", "simulated", 1, tmp_path),
        row(judge, "onnxruntime-int8-default", "ONNX Runtime", 0, tmp_path),
        row(judge, "executorch-int8", "ExecuTorch", 0, tmp_path),
    ]
    plain, changed = (outliers.PlantedNetwork(s, judge, rows, []) for s in (0.0, 2.0))
    assert [holds for _, holds in outliers.verdicts(changed)] == [True, True, False]
    table = outliers.table_of([plain, changed])
    assert len(table) == 5 and table[2][1] == table[2][4] == "5.00"
    text = outliers.text([plain, changed], outliers.markdown)
    assert "× 2: ONNX Runtime .minmax loses 5 or more points: 0.00: no" in text
    values = outliers.record([plain, changed], {})
    json.dumps(values, allow_nan=False)
    assert [len(n["checks"]) for n in values["networks"]] == [0, 3]


def test_changed_float_network_is_refused(judge):
    other = replace(
        judge, reference=replace(judge.reference, outputs=judge.reference.outputs + 0.1)
    )
    a, b = (outliers.PlantedNetwork(1.0, j, [], []) for j in (judge, other))
    assert outliers.check_same([a, a]) == outliers.check_same([a]) == 0.0
    with pytest.raises(UserError, match="changed the float network by 1.0e-01"):
        outliers.check_same([a, a, b])


def test_planted_checkpoint_is_one_that_export_reads(tmp_path):
    from export.source import open_source

    path = tmp_path / "planted.safetensors"
    planted = outliers.plant("efficientmod_xxs", 2.0, None, path)
    before = open_source("efficientmod_xxs", None, None)
    after = open_source("efficientmod_xxs", path, None)
    assert after.labels == before.labels
    p = planted[0]
    new, old = (s.module.get_submodule(p.module).weight.detach() for s in (after, before))
    ratio = new / old
    assert float(ratio[p.channel]) == pytest.approx(p.factor) and p.factor == 60.0


@pytest.mark.parametrize("module", [accuracy, outliers])
def test_options(module, tmp_path, monkeypatch):
    monkeypatch.delenv("MOBILEMOD_DATA", raising=False)
    with pytest.raises(UserError, match="give --data DIR"):
        module.parse([])
    with pytest.raises(UserError, match="--limit must be 1 or more"):
        module.parse(["--data", str(tmp_path), "--limit", "0"])
    with pytest.raises(UserError, match="unknown model"):
        module.parse(["--data", str(tmp_path), "--model", "resnet"])


@pytest.mark.parametrize("strengths", ["0", "-1", "a", "1,,2", "1e9"])
def test_strengths(strengths, tmp_path):
    with pytest.raises(UserError, match="--strengths"):
        outliers.parse(["--data", str(tmp_path), f"--strengths={strengths}"])
    assert outliers.parse(["--data", str(tmp_path)]).strengths == [1.0, 2.0]


def test_skipped_peers():
    assert ("onnx2tf-int8", "") not in chosen(accuracy.PEERS, "onnx2tf-int8")
    assert len(chosen(accuracy.PEERS, "onnxruntime-int8")) == len(accuracy.PEERS) - 2
    with pytest.raises(UserError, match="no such route; known: executorch-int8"):
        chosen(accuracy.PEERS, "tensorrt")


def test_every_peer_is_a_route():
    assert {peer for peer, _ in (*accuracy.PEERS, *outliers.PEERS)} <= ROUTES.keys()
