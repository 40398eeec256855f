"""EfficientMod with Semantic FPN through the command line: three files of maps, measured."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from export.verbs.main import main
from mobilemod.evaluation.runs import from_runs
from mobilemod.manifest import load_bundle
from mobilemod.networks.checkpoints import save_checkpoint
from mobilemod.networks.registry import get_variant
from mobilemod.networks.synthetic import trained_like_state

MODEL, SIZE, CLASSES = "efficientmod_xxs_fpn", 64, 5
MAP = [SIZE // 4, SIZE // 4]


def draw_scenes(root, counts: dict[str, int]) -> None:
    """Grey and coloured blocks, labelled by their colour, in the plain layout."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for part in ("images", "labels"):
            (root / split / part).mkdir(parents=True)
        for i in range(count):
            codes = np.kron(rng.integers(0, CLASSES, (4, 6)), np.ones((20, 20))).astype(np.uint8)
            pixels = rng.integers(0, 60, (*codes.shape, 3)) + 40 * codes[..., None]
            Image.fromarray(pixels.astype(np.uint8)).save(root / split / "images" / f"{i}.png")
            Image.fromarray(codes).save(root / split / "labels" / f"{i}.png")
    (root / "classes.txt").write_text("".join(f"block {i}\n" for i in range(CLASSES)))


@pytest.mark.slow
def test_from_a_checkpoint_to_a_report(tmp_path, capsys):
    data, out, file = tmp_path / "data", tmp_path / "bundle", tmp_path / "drawn.safetensors"
    draw_scenes(data, {"train": 16, "val": 12})
    state = trained_like_state(get_variant(MODEL), CLASSES)
    save_checkpoint(file, state, {"model": MODEL, "num_classes": str(CLASSES)}, torch.float32)
    argv = ["export", "--model", MODEL, "--checkpoint", str(file), "--data", str(data)]
    assert main([*argv, "--size", str(SIZE), "--fit", "letterbox", "--out", str(out)]) == 0

    bundle = load_bundle(out)
    manifest = bundle.manifest
    assert (manifest.task, manifest.map, manifest.num_classes) == ("segmentation", MAP, CLASSES)
    assert bundle.label_names == tuple(f"block {i}" for i in range(CLASSES))
    assert bundle.preprocess.fit == "letterbox"
    xnnpack = [f for f in manifest.files if f.target in ("executorch", "tflite")]
    assert len(xnnpack) == 4 and all(f.audit.partitions == 1 for f in xnnpack)
    assert all(f.audit.int8_share == 1 for f in manifest.files if f.precision == "int8")
    for golden in manifest.golden:
        maps = {n: from_runs(r, MAP[0] * MAP[1]) for n, r in golden.runs.items()}
        alike = maps[f"{MODEL}_int8.pte"] == maps[f"{MODEL}_int8.tflite"]
        assert alike.mean() > 0.99 and not golden.logits

    capsys.readouterr()
    main(["validate", str(out), "--data", str(data)])  # no gate holds weights that are drawn
    assert "mIoU %" in capsys.readouterr().out
    record = json.loads((out / "report" / "validation.json").read_text("utf-8"))
    by_name = {p["name"]: p for p in record["predictions"]}
    assert len(by_name) == 9 and record["data"]["images"] == 12
    for name in ("tflite float32", "executorch float32"):
        assert abs(by_name[name]["drop"]["points"]) < 0.1
    pairs = {(p["reference"], p["other"]): p for p in record["agreement"]}
    assert pairs["executorch int8", "tflite int8"]["pixel_agreement_percent"] > 99
    assert [row["label"] for row in record["per_class"]] == list(bundle.label_names)
    page = (out / "report" / "report.html").read_text("utf-8")
    assert "block 3" in page and "data:image/png" in page


@pytest.mark.slow
def test_files_of_classes_measure_the_same(tmp_path, capsys):
    """The same network, whose files give the maps: the same answers to the last pixel."""
    data, file = tmp_path / "data", tmp_path / "drawn.safetensors"
    draw_scenes(data, {"train": 16, "val": 12})
    state = trained_like_state(get_variant(MODEL), CLASSES)
    save_checkpoint(file, state, {"model": MODEL, "num_classes": str(CLASSES)}, torch.float32)
    argv = ["export", "--model", MODEL, "--checkpoint", str(file), "--data", str(data)]
    argv += ["--size", str(SIZE), "--targets", "tflite,executorch"]
    records, bundles = {}, {}
    for answer in ("scores", "classes"):
        out = tmp_path / answer
        assert main([*argv, "--answer", answer, "--out", str(out)]) == 0
        main(["validate", str(out), "--data", str(data)])
        records[answer] = json.loads((out / "report" / "validation.json").read_text("utf-8"))
        bundles[answer] = load_bundle(out)
    assert bundles["classes"].manifest.answer == "classes"
    for one, other in zip(*(b.manifest.golden for b in bundles.values()), strict=True):
        assert one.runs == other.runs
    for one, other in zip(*(r["predictions"] for r in records.values()), strict=True):
        assert one | {"bytes": 0} == other | {"bytes": 0}
    assert records["scores"]["agreement"] == records["classes"]["agreement"]

    path = tmp_path / "classes" / f"{MODEL}_int8.tflite"
    capsys.readouterr()
    assert main(["inspect", str(path), str(path.with_suffix(".pte"))]) == 0
    said = capsys.readouterr().out
    assert said.count("XNNPACK has no argmax over classes") == 2
    assert said.count("delegate partitions   1") == 2
    image = next((data / "val" / "images").glob("*.png"))
    assert main(["diff", str(path), "program", "--image", str(image)]) == 2
    assert "give classes, which tell too little; export with --answer scores" in (
        capsys.readouterr().err
    )
    assert main(["profile", str(path)]) == 0
    assert "arg_max" in capsys.readouterr().out
