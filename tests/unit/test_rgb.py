"""Images of every depth and kind to 8-bit RGB: scaled by value, or refused with a reason."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from mobilemod.data.image_file import DamagedImage
from mobilemod.data.imagefolder import load_pixels
from mobilemod.data.preprocess import Preprocess
from mobilemod.data.rgb import to_rgb
from tests.vectors.png import encode

SMALL = Preprocess(size=32, crop_fraction=1.0)
DEEP = np.linspace(0, 65535, 32 * 32).round().astype(np.uint16).reshape(32, 32)
GREY = (DEEP >> 8).astype(np.uint8)


def as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, -1)


def tiff(values: np.ndarray, bits: int, sample: int = 1, photometric: int = 1) -> bytes:
    """Uncompressed greys in one strip; `values` in the file's byte order, `bits` of each given."""
    mark, e = (b"MM\0*", ">") if values.dtype.byteorder == ">" else (b"II*\0", "<")
    data = values.tobytes()
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(int)
        data = b"".join(int(a << 12 | b).to_bytes(3, "big") for a, b in pairs)
    height, width = values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8),
            (277, 1), (278, height), (279, len(data)), (339, sample)]  # fmt: skip
    entries = b"".join(struct.pack(f"{e}HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack(f"{e}H", len(tags)) + entries + bytes(4)
    return mark + struct.pack(f"{e}I", 8 + len(data)) + data + directory


def saved(mode: str, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(GREY if mode == "L" else DEEP).save(buffer, kind)
    return buffer.getvalue()


DEEP_FILES = {
    "png": saved("I;16", "PNG"),
    "tif": tiff(DEEP, 16),
    "big-endian.tif": tiff(DEEP.astype(">u2"), 16),
    "12-bit.tif": tiff(DEEP >> 4, 12),
}


@pytest.mark.parametrize("name", DEEP_FILES)
def test_deep_greys_keep_their_high_byte(tmp_path, name):
    (tmp_path / name).write_bytes(DEEP_FILES[name])
    assert np.array_equal(load_pixels(tmp_path / name, SMALL), as_rgb(GREY))


def test_deep_greys_and_colours_agree(tmp_path):
    """A 16-bit PNG of three equal colours, written out since Pillow writes none."""
    raw = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in DEEP)
    (tmp_path / "rgb.png").write_bytes(encode(32, 32, 16, 2, raw))
    (tmp_path / "grey.png").write_bytes(DEEP_FILES["png"])
    assert np.array_equal(load_pixels(tmp_path / "rgb.png", SMALL), as_rgb(GREY))
    assert np.array_equal(load_pixels(tmp_path / "grey.png", SMALL), as_rgb(GREY))


def test_white_is_zero(tmp_path):
    (tmp_path / "8.tif").write_bytes(tiff(GREY, 8, photometric=0))
    (tmp_path / "16.tif").write_bytes(tiff(DEEP, 16, photometric=0))
    expected = as_rgb(255 - GREY)
    for name in ("8.tif", "16.tif"):
        assert np.array_equal(load_pixels(tmp_path / name, SMALL), expected)


@pytest.mark.parametrize("largest", [1, 100, 255, 300, 1023, 4095, 65535])
@pytest.mark.parametrize("kind", [b"P5", b"P6"])
def test_netpbm_is_scaled_by_its_largest_value(tmp_path, largest, kind):
    values = np.linspace(0, largest, 32 * 32).round().astype(int)
    samples = values.repeat(3 if kind == b"P6" else 1)
    data = samples.astype(">u2" if largest > 255 else "u1").tobytes()
    (tmp_path / "a.ppm").write_bytes(b"%s 32 32 %d\n%s" % (kind, largest, data))
    found = load_pixels(tmp_path / "a.ppm", SMALL).reshape(-1, 3)
    assert np.abs(found - (values / largest * 255)[:, None]).max() <= 0.51


@pytest.mark.parametrize("name,data,reason", [
    ("f.tif", tiff(GREY.astype("<f4"), 32, sample=3), "floating-point greys"),
    ("unit.tif", tiff((GREY / 255).astype("<f4"), 32, sample=3), "floating-point greys"),
    ("i.tif", tiff(DEEP.astype("<i4"), 32, sample=2), "signed or 32-bit greys"),
    ("u.tif", tiff(DEEP.astype("<u4"), 32), "signed or 32-bit greys"),
    ("signed.tif", tiff(DEEP, 16, sample=2), "signed or 32-bit greys"),
    ("no-palette.png", encode(32, 32, 8, 3, bytes(33 * 32)), "no palette"),
    ("f.pfm", b"Pf\n32 32\n-1.0\n" + GREY.astype("<f4").tobytes(), "floating-point greys"),
])  # fmt: skip
def test_values_without_a_meaning_are_damage(tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DamagedImage, match=reason):
        load_pixels(tmp_path / name, SMALL)


@pytest.mark.parametrize("mode", [
    "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "I;16",
    "I;16B", "I;16L", "I;16N", "LAB",
])  # fmt: skip
def test_every_mode_by_value(mode):
    if mode.startswith("I;16"):
        image = Image.frombytes(mode, (32, 32), DEEP.astype(">u2" if mode[-1] == "B" else "<u2"))
    else:
        via = {"La": "LA", "RGBa": "RGBA"}.get(mode, "L")
        image = Image.fromarray(GREY).convert(via).convert(mode)
    found = np.asarray(to_rgb(image)).astype(int)
    assert np.abs(found - as_rgb(GREY)).max() <= (2 if mode == "LAB" else 0)


def test_bilevel():
    assert set(np.unique(to_rgb(Image.fromarray(GREY > 99)))) == {0, 255}


def test_transparency_is_dropped_without_a_word(tmp_path):
    palette = Image.fromarray(GREY % 4)
    palette = palette.convert("P")
    palette.putpalette([9, 8, 7, 60, 50, 40, 200, 0, 0, 255, 254, 253])
    expected = np.array([[9, 8, 7], [60, 50, 40], [200, 0, 0], [255, 254, 253]])[GREY % 4]
    for transparency in (b"\0\x80", 2):
        palette.save(tmp_path / "p.png", transparency=transparency)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.array_equal(load_pixels(tmp_path / "p.png", SMALL), expected)
    Image.fromarray(GREY).save(tmp_path / "l.png", transparency=300)
    assert np.array_equal(load_pixels(tmp_path / "l.png", SMALL), as_rgb(GREY))
