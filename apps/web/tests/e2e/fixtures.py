"""What the browser tests compare with: `python apps/web/tests/e2e/fixtures.py OUT …`.

Writes into OUT: `images/` (real images under their own numbers), `pixels.bin` (each preprocessed,
uint8), `expected.json` (names, targets, and Python's logits of each .tflite file, run by LiteRT
here), and `camera.mjpeg`, a camera's stream made of such images.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from export.backend import backend_for
from export.quiet import quiet
from mobilemod.data.imagefolder import read_folder, split_dir
from mobilemod.manifest import load_bundle
from mobilemod.progress import progress

CAMERA_SIZE = (640, 480)
CAMERA_IMAGES, FRAMES_EACH = 4, 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=200)
    args = parser.parse_args()
    bundle = load_bundle(args.bundle)
    folder = read_folder(split_dir(args.data, "val"), bundle.label_ids).spread(args.limit)
    (args.out / "images").mkdir(parents=True, exist_ok=True)
    spec = bundle.preprocess
    pixels = []
    for i, sample in enumerate(folder.samples):
        shutil.copy(sample.path, args.out / "images" / f"{i:06d}{sample.path.suffix.lower()}")
        with Image.open(sample.path) as image:
            pixels.append(spec.pixels(image))
    (args.out / "pixels.bin").write_bytes(np.stack(pixels).tobytes())
    logits = {}
    for entry in bundle.model_files():
        if entry["target"] != "tflite":
            continue
        with quiet():
            runner = backend_for(args.bundle / entry["file"]).load(args.bundle / entry["file"], 1)
        rows = progress(pixels, entry["file"], len(pixels), "image")
        logits[entry["file"]] = [runner.run(spec.normalize(p[None])).tolist() for p in rows]
    write_camera(args.out / "camera.mjpeg", [s.path for s in folder.samples])
    expected = {
        "images": [f"{i:06d}{s.path.suffix.lower()}" for i, s in enumerate(folder.samples)],
        "targets": [s.target for s in folder.samples],
        "logits": logits,
    }
    (args.out / "expected.json").write_text(json.dumps(expected), "utf-8")


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
