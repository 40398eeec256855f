"""What docs/architecture.md promises: a new thing is one file or folder, and all else finds it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests import toys
from tests.toys import LABELS, make_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return make_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def at(tree) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`at(*words)`: Python in the tree; the finished process."""
    return partial(toys.at, tree)


@pytest.fixture(scope="module")
def record(tree, at) -> dict:
    """What the export of the toy network with the toy recipe printed."""
    done = at(
        "-m", "export.verbs", "export", "--model", "toy_small", "--checkpoint", "toy_small.pth",
        "--data", "data", "--recipe", "toy", "--targets", "tflite,toy", "--out", "bundle",
        "--json", "-",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_they_are_listed(at):
    text = " ".join(at("-m", "export.verbs", "export", "--help").stdout.split())
    assert (
        "toy_small, toy_large" in text
        and "grey_small" in text
        and "executorch,tflite,coreml,toy" in text
    )


def test_a_new_network_is_lowered_to_a_new_target_by_a_new_recipe(tree, record):
    assert record["calibration"] == "images" and record["recipe"] == "toy"
    manifest = json.loads((tree / "bundle" / "manifest.json").read_text())
    assert manifest["model"] == "toy_small"
    assert [label["id"] for label in manifest["labels"]] == list(LABELS)
    assert manifest["preprocess"]["size"] == 64 and manifest["preprocess"]["std"] == [0.25] * 3
    files = {f["file"]: f for f in manifest["files"]}
    assert list(files) == [
        f"toy_small_{p}{s}" for s in (".tflite", ".toy") for p in ("int8", "float32")
    ]
    assert all(
        files[f"toy_small_int8{s}"]["audit"]["int8_share"] == 1.0 for s in (".tflite", ".toy")
    )
    for golden in manifest["golden"]:
        expected = golden["logits"]["reference"]
        for name in files:
            limit = (0.1 if "int8" in name else 1e-4) * np.abs(expected).max()
            assert np.allclose(expected, golden["logits"][name], atol=limit), name


def test_its_files_are_validated(tree, at, record):
    limits = ("--max-drop", "100", "--min-agreement", "0")
    done = at("-m", "export.verbs", "validate", "bundle", "--data", "data", *limits, "--json", "-")
    assert done.returncode in (0, 4), done.stderr
    found = {p["name"]: p for p in json.loads(done.stdout)["predictions"]}
    assert {"tflite int8", "tflite float32", "toy int8", "toy float32"} <= set(found)
    assert found["toy float32"]["top1_percent"] == found["torch float"]["top1_percent"]
    said = at("-m", "export.verbs", "profile", "bundle/toy_small_int8.toy")
    assert said.returncode == 2 and "no profile of toy files" in said.stderr


def test_a_new_device_runs_them(at, record):
    words = ("--data", "data", "--device", "toy", "--quick", "--json", "-")
    done = at("-m", "export.verbs", "validate", "bundle", *words)
    assert done.returncode in (0, 4), done.stderr
    (measured,) = json.loads(done.stdout)["records"]
    assert measured["complete"] and measured["counts"]["answered"] == 12
    assert all(f["toy"] for f in measured["files"])
    done = at(
        "-m", "export.verbs", "bench", "bundle", "--device", "toy", "--runs", 5, "--json", "-"
    )
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout)["files"]
    assert files and all(f["toy"] and f["latency"]["runs"] == 5 for f in files)
    said = at("-m", "export.verbs", "validate", "bundle", "--device", "toi", "--audit-only").stderr
    assert "did you mean 'toy'?" in said


@pytest.fixture(scope="module")
def measured(at) -> dict:
    """The record of `validate` of the new task's network, exported by the new target."""
    done = at(
        "-m", "export.verbs", "export", "--model", "grey_small", "--checkpoint", "grey_small.pth",
        "--data", "data", "--recipe", "toy", "--targets", "tflite,toy", "--out", "grey",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    limits = ("--max-drop", "100", "--max-upper", "100", "--min-agreement", "0")
    done = at("-m", "export.verbs", "validate", "grey", "--data", "data", *limits, "--json", "-")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_new_task_is_measured_by_its_own_metric(tree, measured):
    manifest = json.loads((tree / "grey" / "manifest.json").read_text())
    assert manifest["task"] == measured["task"] == "brightness"
    assert manifest["labels"] == [{"id": "grey", "label": "grey"}]
    golden = [g["logits"]["reference"] for g in manifest["golden"][1:]]
    found = {p["name"]: p for p in measured["predictions"]}
    base, int8 = found["torch float"], found["toy int8"]
    key = "mean_absolute_error"
    names = [f"{c}/{i}.png" for c in sorted(LABELS) for i in range(2)]
    assert measured["data"]["images"] == len(names)
    truth = np.array([_brightness(tree / "data" / "val" / name) for name in names])
    shown = [int(i) for i in np.linspace(0, len(names) - 1, len(golden)).round()]
    errors = [abs(g[0] - truth[i]) for g, i in zip(golden, shown, strict=True)]
    assert min(errors) - 1e-3 <= base[key] <= 255 and np.ptp(truth) > 0
    # Less is better: what int8 loses is what its error grew by.
    assert int8["drop"]["points"] == pytest.approx(int8[key] - base[key], abs=1e-6)
    assert int8["drop"]["low"] <= int8["drop"]["points"] <= int8["drop"]["high"]
    assert found["toy float32"][key] == pytest.approx(base[key], abs=1e-4)
    assert {w["target"] for w in measured["worst_images"][0]["images"]} <= set(truth.tolist())


def test_a_new_task_is_shown_in_its_own_words(tree, at, measured):
    text = at("-m", "export.verbs", "report", "grey").stdout
    assert "mean absolute error grey levels" in text and "top-1" not in text
    page = (tree / "grey" / "report" / "report.html").read_text("utf-8")
    assert "grey levels of mean absolute error" in page and "top-1" not in page


def test_a_new_task_runs_on_a_new_device(at, measured):
    words = ("--data", "data", "--device", "toy", "--quick", "--json", "-")
    done = at("-m", "export.verbs", "validate", "grey", *words)
    assert done.returncode in (0, 1, 4), done.stderr
    assert "left out" not in done.stderr  # its record is of a known form
    (record,) = json.loads(done.stdout)["records"]
    assert record["task"] == "brightness" and record["complete"]
    for file in record["files"]:
        told = file["accuracy"]
        assert told["host"]["agreement_percent"] == 100.0
        # What is right isn't in the job, so that only agreement is measured.
        assert told["mean_absolute_error"] is None and told["drop"] is None
        assert file["self_test"]["verdict"] == "right"


def _brightness(path: Path) -> float:
    """Of an image as the toy network sees it: its shorter side 64 pixels, the middle."""
    from mobilemod.data.image_file import read_image
    from mobilemod.data.preprocess import Preprocess

    preprocess = Preprocess(64, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return float(read_image(path, preprocess.pixels).mean())
