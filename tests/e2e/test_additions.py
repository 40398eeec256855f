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
    assert "toy_small, toy_large" in text and "executorch,tflite,coreml,toy" in text


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
    said = at("-m", "export.verbs", "validate", "bundle", "--device", "toi", "--audit-only").stderr
    assert "did you mean 'toy'?" in said
