"""Two bundles side by side: what differs, paired image by image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mobilemod
from export.comparing.text import comparison_text
from export.verbs.main import main
from mobilemod.manifest import seal_bundle
from mobilemod.tasks.classification import TASK
from tests.manifests import read_manifest
from tests.tiny_bundle import IDS, make_bundle

IMAGES = len(IDS)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> tuple[Path, Path]:
    """A, and B whose int8 file is A's float one's twin of other weights."""
    root = tmp_path_factory.mktemp("two")
    a, b = make_bundle(root / "a"), make_bundle(root / "b", seed=5)
    values = read_manifest(b)
    seal_bundle(b, {**values, "tools": {**values["tools"], "numpy": "0.0"}})
    return a, b


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for i in range(IMAGES):
        folder = root / "val" / IDS[i]
        folder.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(folder / "x.png")
    return root


def test_a_bundle_and_itself_are_the_same(bundles, data, tmp_path):
    a = bundles[0]
    other = shutil.copytree(a, tmp_path / "copy")
    record = mobilemod.compare(a, other, data)
    assert record["images"] == IMAGES and record["tools"] == {} and record["only"] == {
        "a": [], "b": []
    }  # fmt: skip
    for file in record["files"]:
        assert file["a"] == file["b"]
        found = file["accuracy"]
        assert found["drop"]["points"] == 0 and found["worse"] == found["better"] == []
        assert found[TASK.agreement.key] == 100
    assert all(table["other"] == 0 for table in record["tables"])


def test_what_changed_is_told_image_by_image(bundles, data):
    a, b = bundles
    record = mobilemod.compare(a, b, data)
    models = [mobilemod.load(bundle, file="tiny_float32.tflite") for bundle in bundles]
    wrong = []
    for model in models:
        answers = {
            f"{n}/x.png": model.predict(data / "val" / n / "x.png").index for n in IDS[:IMAGES]
        }
        wrong.append({name for i, (name, got) in enumerate(answers.items()) if got != i})
    (found,) = (f["accuracy"] for f in record["files"] if f["precision"] == "float32")
    assert set(found["worse"]) == wrong[1] - wrong[0]
    assert set(found["better"]) == wrong[0] - wrong[1]
    points = 100 * (len(wrong[1]) - len(wrong[0])) / IMAGES
    assert found["drop"]["points"] == pytest.approx(points)
    assert record["tools"] == {"numpy": [read_manifest(a)["tools"].get("numpy"), "0.0"]}
    text = comparison_text(record)
    assert "0.0 in B" in text and f"{IMAGES} images, the same for both" in text


def test_times_are_in_turns(bundles):
    record = mobilemod.compare(*bundles, timed=True)
    assert record["images"] is None
    for file in record["files"]:
        first, second = file["time"]["ms"]
        assert 0 < first < 1000 and 0 < second < 1000 and 0.01 < file["time"]["ratio"] < 100


def test_what_can_not_be_compared_is_one_line(bundles, tmp_path, capsys):
    a, _ = bundles
    other = shutil.copytree(a, tmp_path / "other")
    values = read_manifest(other)
    labels = [{"id": f"x{i}", "label": f"x{i}"} for i in range(len(values["labels"]))]
    seal_bundle(other, {**values, "labels": labels})
    assert main(["compare", str(a), str(other)]) == 2
    assert "networks of other classes or tasks" in capsys.readouterr().err
    assert main(["compare", str(a), str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_verb_prints_and_keeps_it(bundles, tmp_path, capsys):
    path = tmp_path / "c.json"
    assert main(["compare", *map(str, bundles), "--json", str(path)]) == 0
    assert json.loads(path.read_text())["schema"] == "mobilemod/comparison/1"
    assert "A: " in capsys.readouterr().out
