"""`mobilemod sensitivity` on a bundle: what it writes, that it goes on, and its errors."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from export.measure.sensitivity import (
    SensitivityConfig,
    get_ready,
    make_setup,
    measure_bundle,
    read_images,
)
from export.source import Source, open_source
from export.targets.base import FORMS
from mobilemod.data.imagefolder import load_pixels
from mobilemod.errors import UserError
from mobilemod.manifest import load_bundle, seal_bundle
from quantization.calibration import Calibration, observe
from quantization.program import make_table
from quantization.recipe import load_recipe
from tests.commands import said
from tests.manifests import accept, checkpoint, manifest_values, resign, write_float

MODEL = "efficientmod_xxs"
IMAGES = 6  # two batches


@pytest.fixture(scope="module")
def source() -> Source:
    """The bundled network at 64 pixels."""
    return open_source(MODEL, None, None, size=64)


@pytest.fixture(scope="module")
def data(source, tmp_path_factory) -> Path:
    """`val/` with one smooth image in each of the network's classes."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(8)
    for name in source.label_ids:
        folder = root / "val" / name
        folder.mkdir(parents=True)
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((80, 80), Image.Resampling.BICUBIC).save(folder / "a.png")
    return root


@pytest.fixture(scope="module")
def bundle(source, data, tmp_path_factory) -> Path:
    """The parts of a bundle that sensitivity reads, of the bundled network at 64 pixels.

    Its files are made by what an export makes them with; the lowered models are left out, and
    the table is of the xnnpack form alone.
    """
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    folder.mkdir()
    recipe, preprocess = load_recipe("cpu"), source.preprocess
    form = source.canonical.form(FORMS["xnnpack"])
    pixels = [load_pixels(path, preprocess) for path in sorted(data.rglob("*.png"))]
    batch = torch.from_numpy(preprocess.normalize(np.stack(pixels)))
    calibration = Calibration(source.weights, "images", len(batch), observe(form, [batch], 1))
    make_table(form, "xnnpack", recipe, calibration).save(folder / "parameters-xnnpack.json")
    calibration.save(folder / "calibration.json")
    (folder / "recipe.json").write_text(json.dumps(recipe.to_dict()), "utf-8")
    more = {"checkpoint": checkpoint(write_float(folder, source.canonical))}
    seal_bundle(folder, manifest_values(MODEL, source.labels, preprocess.to_dict(), **more))
    return folder


@pytest.fixture
def copy(bundle, tmp_path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


@pytest.mark.slow
def test_one_command_writes_table_record_and_page_and_goes_on(run, bundle, data, tmp_path):
    cache, out = tmp_path / "cache", tmp_path / "out"
    arguments = ["sensitivity", bundle, "--data", data, "--images", IMAGES, "--out", out]
    first = run(*arguments, MOBILEMOD_CACHE=str(cache))
    assert first.returncode == 0, first.stderr
    assert said(first) == []
    assert "SQNR" in first.stdout and "against the labels" in first.stdout
    page = out / "sensitivity-xnnpack-module.html"
    assert first.stdout.splitlines()[-1] == f"page: {page}"
    assert page.read_text("utf-8").startswith("<!doctype html>")
    text = page.with_suffix(".json").read_text("utf-8")
    record = json.loads(text)
    assert record["schema"] == "mobilemod/sensitivity/1"
    assert record["images"] == IMAGES and record["targets"] == "labels"
    assert record["items"][0]["name"] in first.stdout
    assert set(out.iterdir()) == {page, page.with_suffix(".json")}
    # As if stopped before the last part: only that is computed again, to the same end.
    parts = sorted((cache / "sensitivity").rglob("*.npz"))
    assert len(parts) == 4
    parts[0].unlink()
    stamps = [p.stat().st_mtime_ns for p in parts[1:]]
    second = run(*arguments, "--json", "-", MOBILEMOD_CACHE=str(cache))
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout) == record
    assert page.with_suffix(".json").read_text("utf-8") == text
    assert parts[0].exists() and [p.stat().st_mtime_ns for p in parts[1:]] == stamps


def test_no_data_is_one_line(run, bundle):
    process = run("sensitivity", bundle)
    assert process.returncode == 2
    assert process.stderr.strip().splitlines() == [process.stderr.strip()]
    assert process.stderr.startswith("mobilemod: error: no images: give --data DIR")


def test_a_form_that_the_bundle_lacks_is_one_line(run, bundle, data):
    process = run("sensitivity", bundle, "--data", data, "--form", "coreml")
    assert process.returncode == 2
    assert process.stderr.strip().splitlines() == [process.stderr.strip()]
    assert "has no form coreml" in process.stderr and "it has xnnpack" in process.stderr
    assert not (bundle / "sensitivity").exists()


@pytest.mark.parametrize(
    "change,says",
    [
        ({"form": "onnx"}, "unknown form 'onnx'"),
        ({"by": "block"}, "'block' is not one of module, tensor"),
        ({"images": 0}, "--images must be 1 or more"),
        ({"recipe": "nowhere.json"}, "no recipe 'nowhere.json'"),
        ({"data": Path("nowhere")}, "no data folder at nowhere"),
        ({"bundle": Path("nowhere")}, "nowhere is no bundle"),
    ],
)
def test_wrong_input_is_named(bundle, data, change, says):
    with pytest.raises(UserError, match=says) as error:
        measure_bundle(SensitivityConfig(**{"bundle": bundle, "data": data, **change}))
    assert "\n" not in str(error.value)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drop_tensor(path: Path) -> None:
    values = json.loads(path.read_text("utf-8"))
    values["tensors"] = [t for t in values["tensors"] if t["tensor"] != "head:out"]
    path.write_text(json.dumps(values), "utf-8")


def drop_scale(path: Path) -> None:
    values = json.loads(path.read_text("utf-8"))
    head = next(t for t in values["tensors"] if t["tensor"] == "head:weight")
    head["scale"] = head["scale"][1:]
    path.write_text(json.dumps(values), "utf-8")


def other_weights(path: Path) -> None:
    values = json.loads(path.read_text("utf-8"))
    values["checkpoint"]["weights"] = "0" * 64
    resign(path.parent, values)


@pytest.mark.parametrize(
    "file,damage,says",
    [
        ("form.json", cut, "form.json is damaged"),
        ("reference.safetensors", cut, "reference.safetensors"),
        ("reference.safetensors", os.unlink, "reference.safetensors is missing"),
        ("parameters-xnnpack.json", cut, "parameters-xnnpack.json is damaged"),
        ("parameters-xnnpack.json", drop_tensor, "1 tensors differ, first head:out"),
        ("parameters-xnnpack.json", drop_scale, "head:weight has 9 scales for 10"),
        ("parameters-xnnpack.json", os.unlink, "parameters-xnnpack.json is missing"),
        ("recipe.json", cut, "recipe.json: not JSON"),
        ("manifest.json", cut, "manifest.json is damaged"),
        ("manifest.json", other_weights, "weights differ"),
    ],
)
def test_a_damaged_bundle_is_named(copy, data, file, damage, says):
    damage(copy / file)
    if (copy / file).exists() and file != "manifest.json":
        accept(copy, file)  # so that its content is what is wrong
    with pytest.raises(UserError, match=says) as error:
        measure_bundle(SensitivityConfig(copy, data))
    assert "\n" not in str(error.value)
    assert not (copy / "sensitivity").exists()


def test_another_recipe_takes_the_bundles_calibration(bundle, data):
    own = get_ready(make_setup(SensitivityConfig(bundle, data, by="tensor")))
    npu = get_ready(make_setup(SensitivityConfig(bundle, data, recipe="npu", by="tensor")))
    assert own.table.recipe == "cpu" and npu.table.recipe == "npu"
    softmax = "layers.3.blocks.2.attn:softmax"
    assert softmax in npu.table.entries and softmax not in own.table.entries
    shared = own.table.entries["head:out"]
    assert npu.table.entries["head:out"] == shared
    assert own.digest != npu.digest
    # A form without a table in the bundle can be had from a recipe.
    form = get_ready(make_setup(SensitivityConfig(bundle, data, form="coreml", recipe="cpu")))
    assert form.table.form == "coreml"


def test_a_folder_without_classes_has_no_labels(bundle, data, tmp_path):
    for i, file in enumerate(sorted(data.rglob("*.png"))):
        shutil.copy(file, tmp_path / f"{i}.png")
    loaded = load_bundle(bundle, verify=False)
    images, known = read_images(loaded, tmp_path, 4)
    assert not known
    assert len(images.samples) == 4 and images.classes == ()
    assert read_images(loaded, data, 4)[0].classes == tuple(sorted(loaded.label_ids))
