"""`mobilemod stress`: the mean drop's statistics, its record, and what is run on which pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.bundle_parts import OpenedBundle
from export.measure.stress import StressConfig, make_record, stress_bundle
from export.measure.validation import (
    BATCH,
    CHUNK,
    Answers,
    candidates,
    in_batches,
    predict,
    read_validation_images,
)
from export.source import open_source
from export.verbs.main import main
from mobilemod.data.corruptions import CONDITIONS, Condition
from mobilemod.data.imagefolder import load_pixels
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Predictions, mean_drop
from mobilemod.manifest import load_bundle, seal_bundle
from mobilemod.results.gates import judge_drop
from mobilemod.results.stress.table import text_table
from mobilemod.tasks.classification import TASK
from tests.manifests import checkpoint, manifest_values, write_float

MODEL, SIZE, BLUR = "efficientmod_xxs", 64, Condition("gaussian blur", 5)


def outcomes(rng: np.random.Generator, images: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Right before and now under 15 conditions; an image that changes, changes under many."""
    before = rng.random((15, images)) < 0.8
    fragile = rng.random(images) < rate
    flips = fragile & (rng.random((15, images)) < 0.7)
    return before, np.where(flips, False, before)


# Statistics


def test_mean_interval_matches_a_bootstrap_over_images():
    before, now = outcomes(np.random.default_rng(2), 400, 0.05)
    found = mean_drop(TASK.worse_by(before, now))
    assert found.points == pytest.approx(100 * (before.mean() - now.mean()))
    per_image = 100 * (before.astype(float) - now).mean(0)
    drawn = np.random.default_rng(9).integers(0, 400, size=(20_000, 400))
    brute = np.percentile(per_image[drawn].mean(1), [2.5, 97.5])
    np.testing.assert_allclose([found.low, found.high], brute, atol=0.08)


def test_mean_interval_covers_the_truth_where_answers_hang_together():
    """As if all 15 N answers were independent, the interval would miss it most of the time."""
    rng = np.random.default_rng(4)
    truth = 100 * 0.8 * 0.05 * 0.7
    covered = independent = 0
    for trial in range(300):
        before, now = outcomes(rng, 600, 0.05)
        found = mean_drop(TASK.worse_by(before, now), True, trial, 1000)
        covered += found.low <= truth <= found.high
        one = mean_drop(TASK.worse_by(before, now).reshape(1, -1), True, trial, 1000)
        assert one.points == pytest.approx(found.points)
        independent += one.low <= truth <= one.high
    assert 0.92 <= covered / 300 <= 0.98
    assert independent / 300 < 0.7


def test_mean_of_one_condition_is_the_drop():
    rng = np.random.default_rng(6)
    targets = rng.integers(0, 4, 500)
    a, b = (rng.standard_normal((500, 4)).astype(np.float32) for _ in range(2))
    a[np.arange(500), targets] += 2
    b[np.arange(500), targets] += 1.5
    before, now = ((x.argmax(1) == targets)[None] for x in (a, b))
    expected, found = TASK.drop(a, b, targets), mean_drop(TASK.worse_by(before, now))
    assert found.points == pytest.approx(expected.points)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.4)


def test_mean_without_change_and_with_wrong_shapes():
    right = np.ones((3, 20), bool)
    same, lost = TASK.worse_by(right, right.copy()), TASK.worse_by(right, ~right)
    assert mean_drop(same) == mean_drop(same[:1])
    assert mean_drop(lost).points == mean_drop(lost).low == 100.0
    for bad in (same[0], same[:0]):
        with pytest.raises(ValueError, match="expected \\(C, N\\)"):
            mean_drop(bad)


# Record, table, gate


@pytest.fixture(scope="module")
def measured() -> dict:
    """The record of a file that under blur alone errs on two of eight images."""
    targets = np.arange(8) % 4
    right = np.eye(4, dtype=np.float32)[targets]
    wrong = right.copy()
    wrong[:2] = wrong[:2, ::-1]
    predictions = {
        c: [
            Predictions("torch float", right, "reference", None, "PyTorch"),
            Predictions("tflite int8", wrong if c == BLUR else right, "int8", "a.tflite", "LiteRT"),
        ]
        for c in (None, *CONDITIONS)
    }
    record = make_record(Answers(predictions, list(range(8)), []), targets, TASK)
    return {"model": MODEL, "recipe": "cpu", "images": 8, "damaged": ["x.jpg"], **record}


def test_record_has_every_condition_and_the_mean(measured):
    json.dumps(measured, allow_nan=False)
    assert [c["corruption"] for c in measured["conditions"]].count(None) == 1
    assert len(measured["conditions"]) == 16
    hit = [c for c in measured["conditions"] if c["models"][1]["drop"]["points"]]
    assert [(c["corruption"], c["strength"], c["level"]) for c in hit] == [("gaussian blur", 5, 6)]
    reference, file = measured["models"]
    assert reference["mean_drop"] is None and reference["mean_top1_percent"] == 100.0
    assert file["mean_drop"]["points"] == pytest.approx(25 / 15)
    assert file["mean_drop"]["low"] == 0.0 and 1.7 < file["mean_drop"]["high"] < 5


def test_table_has_a_line_per_condition_and_the_mean_last(measured):
    lines = text_table(measured).splitlines()
    cells = {tuple(line.split()[:2]): line.split() for line in lines[4:]}
    assert len(lines) == 2 + 2 + 16 + 1 + 1
    assert cells["none", "–"][2:4] == ["100.00", "0.00"]
    assert [line for line in lines if line.startswith("gaussian blur") and " 25.00 " in line]
    assert lines[-2].split() == ["mean", "of", "15", "100.00", "1.67", "[0.00,", "4.17]"]
    assert lines[-1] == "1 damaged images left out"


@pytest.mark.parametrize("limit,passed", [(0.7, False), (1.66, False), (1.67, True)])
def test_gate_on_the_mean(measured, limit, passed):
    file = measured["models"][1]
    verdict = judge_drop(file["name"], file["mean_drop"], limit, "mean drop")
    assert verdict.passed is passed and verdict.kind == "mean drop"
    assert verdict.line.endswith(f"gate {limit:g}: {'pass' if passed else 'fail'}")


# On a bundle


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """`val/` with one image of coloured squares in each of the network's classes."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(8)
    for name in open_source(MODEL, None, None).label_ids:
        (root / "val" / name).mkdir(parents=True)
        coarse = Image.fromarray(rng.integers(0, 256, (10, 10, 3), np.uint8))
        coarse.resize((80, 80), Image.Resampling.NEAREST).save(root / "val" / name / "a.png")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A bundle of the bundled network with no file but the float reference."""
    source = open_source(MODEL, None, None, size=SIZE)
    folder = tmp_path_factory.mktemp("bundles")
    preprocess, own = source.preprocess.to_dict(), checkpoint(write_float(folder, source.canonical))
    seal_bundle(folder, manifest_values(MODEL, source.labels, preprocess, checkpoint=own))
    return folder


def test_candidates_see_the_corrupted_pixels(folder, data, monkeypatch, tmp_path):
    import torch

    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path))
    bundle = load_bundle(folder)
    images = read_validation_images(bundle, data, 5)
    conditions = (None, BLUR, Condition("gaussian noise", 3))
    answers = predict(bundle, images, candidates(bundle), conditions)
    assert answers.kept == [0, 1, 2, 3, 4] and set(answers.predictions) == set(conditions)
    network = OpenedBundle(bundle).reference
    found = []
    for condition in conditions:
        pixels = [load_pixels(s.path, bundle.preprocess) for s in images.samples]
        if condition is not None:
            names = [f"{s.path.parent.name}/{s.path.name}" for s in images.samples]
            pixels = [condition(p, name) for p, name in zip(pixels, names, strict=True)]
        with torch.no_grad():
            x = torch.from_numpy(bundle.preprocess.normalize(np.stack(pixels)))
            expected = network(x).numpy()
        (prediction,) = answers.predictions[condition]
        assert np.allclose(prediction.outputs, expected, atol=1e-4)
        found.append(prediction.outputs)
    assert all(np.abs(found[0] - other).max() > 0.1 for other in found[1:])
    assert len(list(tmp_path.rglob("*.npy"))) == 3


def test_bundle_without_int8_files_is_one_line(folder, data, capsys):
    arguments = ["stress", str(folder), "--data", str(data)]
    assert main(arguments) == 2
    assert "no int8 file to measure" in capsys.readouterr().err
    assert main([*arguments, "--targets", "coreml"]) == 2
    assert "has no int8 file for 'coreml'" in capsys.readouterr().err
    assert not (folder / "stress").exists()


@pytest.mark.parametrize(
    "change,says",
    [
        ({"images": 0}, "--images must be 1 or more"),
        ({"bundle": Path("nowhere")}, "nowhere is no bundle"),
    ],
)
def test_wrong_input_is_named(folder, data, change, says):
    with pytest.raises(UserError, match=says):
        stress_bundle(StressConfig(**{"bundle": folder, "data": data, **change}))


def test_no_data_is_one_line(folder, monkeypatch, capsys):
    monkeypatch.delenv("MOBILEMOD_DATA", raising=False)
    assert main(["stress", str(folder)]) == 2
    assert "no images: give --data DIR" in capsys.readouterr().err


def test_a_chunk_is_run_few_images_at_a_time():
    images = np.random.default_rng(0).random((CHUNK - 3, 3, 4, 4), np.float32)
    seen = []

    def run(x: np.ndarray) -> np.ndarray:
        seen.append(len(x))
        return x.sum(axis=(2, 3))

    assert np.array_equal(in_batches(run, images), images.sum(axis=(2, 3)))
    assert max(seen) == BATCH < CHUNK and sum(seen) == len(images)
