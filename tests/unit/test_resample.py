"""Only the window that is kept is resized: Pillow's bits, in little memory."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageOps

from mobilemod.data import resample
from mobilemod.data.preprocess import FITS, INTERPOLATIONS, Preprocess
from tests.vectors.png import encode

SEED = 3
LIMIT_MB = 200
# Measured in a process of its own: the peak above what it had with the image decoded.
MEASURE = """
import json, sys
from pathlib import Path
from PIL import Image
from mobilemod.data.preprocess import Preprocess

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

spec = Preprocess(interpolation=sys.argv[1])
spec.pixels(Image.new("RGB", (320, 320)))
found = {}
for name in sys.argv[2:]:
    with Image.open(name) as image:
        image.load()
        before = peak()
        spec.pixels(image)
    found[name] = peak() - before
print(json.dumps(found))
"""


def whole(spec: Preprocess, image: Image.Image) -> np.ndarray:
    """Everything resized, then cropped: what is to be equalled."""
    image = ImageOps.exif_transpose(image).convert("RGB")
    (width, height), (high, wide) = image.size, spec.sides
    target = (round(wide / spec.crop_fraction), round(high / spec.crop_fraction))
    if spec.fit == "crop":
        square = round(spec.size / spec.crop_fraction) / min(width, height) if high == wide else 0
        scale = square or max(target[0] / width, target[1] / height)
        target = (max(target[0], round(width * scale)), max(target[1], round(height * scale)))
    if spec.fit == "letterbox":
        scale = min(target[0] / width, target[1] / height)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = image.resize(target, INTERPOLATIONS[spec.interpolation])
    found = np.full((high, wide, 3), (124, 116, 104), np.uint8)
    # From left and top on in the one, in the other where that is smaller.
    (x, left), (y, top) = (
        (max(0, side - t) // 2, max(0, t - side) // 2)
        for t, side in zip(target, (wide, high), strict=True)
    )
    part = np.asarray(resized)[top : top + high, left : left + wide]
    found[y : y + part.shape[0], x : x + part.shape[1]] = part
    return found


def drawn(width: int, height: int, mode: str = "RGB", orientation: int = 1) -> Image.Image:
    pixels = np.random.default_rng(SEED).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    image.getexif()[resample.ORIENTATION_TAG] = orientation
    return image


@pytest.mark.parametrize("moderate", [resample.MODERATE, 0])
@pytest.mark.parametrize("strip", [resample.STRIP, 900])
@pytest.mark.parametrize("few", [resample.FEW, 0])
def test_pillows_bits(monkeypatch, moderate, strip, few):
    """Of Pillow's passes and of our own, at once and in strips; sizes and shapes at random."""
    monkeypatch.setattr(resample, "MODERATE", moderate)
    monkeypatch.setattr(resample, "STRIP", strip)
    monkeypatch.setattr(resample, "FEW", few)
    rng = random.Random(SEED)
    for _ in range(200):
        long, ratio = 10 ** rng.uniform(0, 2.7), 10 ** rng.choice([0, rng.uniform(0, 2)])
        sides = [max(1, int(long)), max(1, int(long / ratio))]
        rng.shuffle(sides)
        spec = Preprocess(
            size=rng.choice([32, 64, (24, 64), (50, 33)]),
            fit=rng.choice(FITS),
            crop_fraction=rng.choice([0.9, 1.0, 0.875, 0.5]),
            interpolation=rng.choice(list(INTERPOLATIONS)),
        )
        mode, orientation = rng.choice(["RGB", "L", "RGBA", "CMYK", "1"]), rng.randint(0, 9)
        image = drawn(*sides, mode, orientation)
        assert np.array_equal(spec.pixels(image), whole(spec, image)), (sides, spec, orientation)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("width,height", [(12000, 1), (1, 12000), (3, 5000), (9000, 70)])
def test_extreme_shapes(width, height, interpolation):
    for size, fit in itertools.product((32, (20, 45)), FITS):
        spec = Preprocess(size=size, interpolation=interpolation, fit=fit)
        image = drawn(width, height)
        assert np.array_equal(spec.pixels(image), whole(spec, image))


PHOTOGRAPHS = [(1, 1), (17, 23), (224, 224), (375, 500), (640, 480), (90, 3000), (5000, 60)]


@pytest.mark.parametrize("width,height", [*PHOTOGRAPHS, (4032, 3024), (3024, 4032)])
def test_photographs(data_dir, width, height):
    """Of the sizes that cameras give and odd ones, the pixels and the network's input."""
    path = sorted(data_dir.glob("val/*/*.*"))[width % 7]
    with Image.open(path) as stored:
        image = stored.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    specs = [Preprocess(interpolation=i, fit=f) for i in INTERPOLATIONS for f in FITS]
    for spec in [Preprocess()] if width * height > 1e7 else specs:
        expected = whole(spec, image)
        assert np.array_equal(spec.pixels(image), expected), spec
    values = (expected.astype(np.float32) / np.float32(255) - np.float32(spec.mean)) / np.float32(
        spec.std
    )
    assert np.array_equal(spec(image), values.transpose(2, 0, 1))


def test_unneeded_rows_are_not_resized(monkeypatch):
    """Of a tall photograph: what lies above and below the window costs nothing."""
    image, rows = drawn(600, 800), []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda i, *args: rows.append(i.height) or resize(i, *args)
    )
    Preprocess(size=100).pixels(image)
    *strips, between = rows
    assert 0 < sum(strips) < 600 and between == 800


@pytest.mark.parametrize("interpolation", ["bicubic", "nearest"])
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory(tmp_path, interpolation):
    sizes = [(12000, 1), (1, 12000), (60000, 1), (1, 60000), (20_000_000, 1), (4000, 3000)]
    names = []
    for width, height in sizes:
        names.append(str(tmp_path / f"{width}x{height}.png"))
        rows = bytes((width + 7) // 8 + 1) * height
        (tmp_path / names[-1]).write_bytes(encode(width, height, 1, 0, rows))
    names.append(str(tmp_path / "turned.jpg"))
    turned = Image.new("CMYK", (6000, 5000))
    turned.getexif()[resample.ORIENTATION_TAG] = 6
    turned.save(names[-1], exif=turned.getexif())
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, interpolation, *names],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert set(found) == set(names)
    assert max(found.values()) < LIMIT_MB, found
