"""What the browser tests compare with: `python apps/web/tests/e2e/fixtures.py OUT --data DIR`.

Makes, where it isn't there: `bundle/` (the bundled network's .tflite files), `other/` (another
variant, other classes, 192 pixels, drawn weights), `maps/` (a drawn network of maps, of the classes
of `scenes/`, which are composed of a few images), and of the first, in `answers/`: `images/` (real
images under their own numbers), `pixels.bin` (each preprocessed, uint8), `expected.json` (targets
and Python's logits of each file, run by LiteRT here) and `camera.mjpeg`, a camera's stream made of
such images.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from safetensors.torch import save_file

from benchmarks.scenes.making import make_scenes
from export.bundle import ExportConfig, export_bundle
from export.quiet import quiet
from export.targets.target import get_target
from mobilemod.data.classes import ClassNames
from mobilemod.data.dataset import DataSet
from mobilemod.data.imagefolder import read_folder
from mobilemod.files import atomic_folder, file_sha256
from mobilemod.manifest import Bundle, load_bundle
from mobilemod.networks import efficientmod_fpn
from mobilemod.networks.efficientmod import VARIANTS, Variant
from mobilemod.networks.registry import get_variant
from mobilemod.networks.synthetic import trained_like_state
from mobilemod.progress import progress

CAMERA_SIZE = (640, 480)
CAMERA_IMAGES, FRAMES_EACH = 4, 30
# Every op of the published networks in a form that is quickly lowered. Workers of an export import
# this file too, and so know it.
OTHER_MODEL, OTHER_SIZE, OTHER_CLASSES = "efficientmod_narrow", 192, 7
VARIANTS[OTHER_MODEL] = Variant(
    OTHER_MODEL, (16, 24, 32, 64), (2, 2, 2, 2), (0, 0, 1, 1), 6, (4, 4, 4, 5)
)
MAPS_MODEL, MAPS_SIZE = f"{OTHER_MODEL}_fpn", 128
efficientmod_fpn.VARIANTS[MAPS_MODEL] = efficientmod_fpn.Variant(MAPS_MODEL, VARIANTS[OTHER_MODEL])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=200)
    args = parser.parse_args()
    bundle, other, maps = (args.out / name for name in ("bundle", "other", "maps"))
    if not bundle.is_dir():
        # From the bundled calibration table: no images, and the same file every time.
        export_bundle(ExportConfig(model="efficientmod_xxs", out=bundle, targets=("tflite",)))
    if not other.is_dir():
        few = few_images(args.data, args.out / "few")
        data = DataSet(few, classes=ClassNames(sorted=True))
        export_drawn(OTHER_MODEL, OTHER_CLASSES, data, OTHER_SIZE, other)
    if not maps.is_dir():
        few, scenes = few_images(args.data, args.out / "few"), args.out / "scenes"
        make_scenes(few, scenes, MAPS_SIZE, {"train": 4, "val": 2}, 0, 1)
        # And the background.
        export_drawn(MAPS_MODEL, OTHER_CLASSES + 1, DataSet(scenes), MAPS_SIZE, maps)
    answers = args.out / "answers"
    if not (answers / file_sha256(bundle / "manifest.json")).is_file():
        with atomic_folder(answers) as folder:
            write_answers(load_bundle(bundle), args.data, args.limit, folder)


def export_drawn(model: str, classes: int, data: DataSet, size: int, out: Path) -> None:
    """The .tflite files of a network with drawn weights."""
    weights = out.parent / f"{model}.safetensors"
    save_file(trained_like_state(get_variant(model), classes), weights)
    export_bundle(
        ExportConfig(
            model=model, out=out, checkpoint=weights, data=data, targets=("tflite",), size=size,
            check=False,
        )
    )  # fmt: skip


def few_images(data: Path, out: Path) -> Path:
    """A data folder of the first classes with an image or two, enough to calibrate on."""
    for split in ("train", "val"):
        folder = read_folder(DataSet(data).folder(split))
        for name in folder.classes[:OTHER_CLASSES]:
            (out / split / name).mkdir(parents=True, exist_ok=True)
            for image in sorted((folder.root / name).iterdir())[:2]:
                shutil.copy(image, out / split / name)
    return out


def write_answers(bundle: Bundle, data: Path, limit: int, out: Path) -> None:
    folder = read_folder(DataSet(data).folder("val"), bundle.label_ids).spread(limit)
    (out / "images").mkdir()
    spec = bundle.preprocess
    pixels = []
    for i, sample in enumerate(folder.samples):
        shutil.copy(sample.path, out / "images" / f"{i:06d}{sample.path.suffix.lower()}")
        with Image.open(sample.path) as image:
            pixels.append(spec.pixels(image))
    (out / "pixels.bin").write_bytes(np.stack(pixels).tobytes())
    logits = {}
    for entry in bundle.manifest.files:
        with quiet():
            runner = get_target(entry.target).load(bundle.folder / entry.file, 1)
        rows = progress(pixels, entry.file, len(pixels), "image")
        logits[entry.file] = [runner.run(spec.normalize(p[None])).tolist() for p in rows]
    write_camera(out / "camera.mjpeg", [s.path for s in folder.samples])
    expected = {
        "images": [f"{i:06d}{s.path.suffix.lower()}" for i, s in enumerate(folder.samples)],
        "targets": [s.target for s in folder.samples],
        "logits": logits,
    }
    (out / "expected.json").write_text(json.dumps(expected), "utf-8")
    (out / file_sha256(bundle.folder / "manifest.json")).touch()


def write_camera(path: Path, images: list[Path]) -> None:
    """JPEGs one after another, which Chromium plays as a camera."""
    step = max(1, len(images) // CAMERA_IMAGES)
    with path.open("wb") as f:
        for source in images[::step][:CAMERA_IMAGES]:
            with Image.open(source) as image:
                frame = ImageOps.fit(image.convert("RGB"), CAMERA_SIZE, Image.Resampling.BICUBIC)
            data = io.BytesIO()
            frame.save(data, "JPEG", quality=92)
            f.write(data.getvalue() * FRAMES_EACH)


if __name__ == "__main__":
    main()
