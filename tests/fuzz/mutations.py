"""Small image files of every format, and changed ones: what disks and cables do to files."""

from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
from PIL import Image

INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF,
               0x80000000, 0xFFFFFFFF)  # fmt: skip
SIDES = (0, 1, 7, 30, 300, 301, 1000, 1001, 2048, 11_000, 65_535, 0x7FFFFFFF, 0xFFFFFFFF)
# Where a file says how large it is: (pattern, bytes from its start to the two numbers, form).
DIMENSIONS = (
    (b"IHDR", 4, ">I"), (b"\xff[\xc0-\xc2]", 5, ">H"), (b"VP8X", 12, "<H"),
    (b"\x9d\x01\x2a", 3, "<H"), (b"ispe", 8, ">I"), (b"GIF8", 6, "<H"), (b"BM", 18, "<i"),
    (b"\x00\x01[\x03\x04]\x00", 8, "<I"), (b"\x01\x01[\x03\x04]\x00", 8, "<I"),
)  # fmt: skip
# Before or behind a length or an offset.
LENGTHS = (b"\xff[\xc4\xda\xdb\xe0-\xe2]", b"IDAT", b"IHDR", b"PLTE", b"eXIf", b"iCCP", b"RIFF",
           b"VP8[ LX]", b"ANM[FI]", b"EXIF", b"ftyp", b"meta", b"iloc", b"iinf", b"iprp", b"ipco",
           b"av1C", b"mdat", b"MPF\x00", b"II\\*\x00", b"MM\x00\\*", b"!\xf9", b"BM")  # fmt: skip


def corpus() -> list[bytes]:
    """JPEG, MPO, PNG, WebP, AVIF, TIFF, GIF, PPM and BMP files of several modes."""
    small = np.random.default_rng(1).integers(0, 256, (3, 4, 3), np.uint8)
    rgb = Image.fromarray(small).resize((40, 30), Image.Resampling.BICUBIC)
    grey, deep = rgb.convert("L"), Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40))
    turned = rgb.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "a description", 72.0
    exif.get_ifd(0x8769)[0x9003] = "2024:03:30 12:00:00"

    def saved(form: str, image: Image.Image, **options) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        return buffer.getvalue()

    files = [
        saved("JPEG", rgb, exif=exif), saved("JPEG", rgb, progressive=True, exif=exif),
        saved("JPEG", grey), saved("JPEG", rgb.convert("CMYK"), dpi=(72, 72)),
        saved("MPO", rgb, save_all=True, append_images=[turned], exif=exif),
        saved("PNG", rgb, exif=exif), saved("PNG", rgb.quantize(16), transparency=3),
        saved("PNG", deep), saved("PNG", rgb.convert("RGBA")),
        saved("WEBP", rgb, exif=exif), saved("WEBP", rgb, lossless=True),
        saved("WEBP", rgb, save_all=True, append_images=[turned.resize(rgb.size)]),
        saved("AVIF", rgb, exif=exif, speed=10), saved("AVIF", rgb.convert("RGBA"), speed=10),
        *(saved("TIFF", rgb, compression=c, exif=exif)
          for c in (None, "tiff_lzw", "tiff_deflate", "jpeg", "packbits")),
        saved("TIFF", rgb.convert("1"), compression="group4"), saved("TIFF", deep),
        saved("GIF", rgb), saved("GIF", rgb, save_all=True, append_images=[grey.convert("RGB")]),
        saved("PPM", rgb), saved("PPM", grey), saved("BMP", rgb), saved("BMP", rgb.quantize(16)),
    ]  # fmt: skip
    return files


def mutated(files: list[bytes], seed: int, number: int) -> bytes:
    """The `number`th changed file; a function of its arguments alone."""
    rng = np.random.default_rng([seed, number])
    data = bytearray(files[number % len(files)])
    for _ in range(int(rng.integers(1, 4))):
        KINDS[int(rng.integers(len(KINDS)))](data, rng, files)
    if data.startswith(b"\x89PNG") and rng.random() < 0.7:
        _mend_checks(data)
    return bytes(data)


def _flip(data: bytearray, rng: np.random.Generator, files: list[bytes]) -> None:
    for at in rng.integers(0, max(1, len(data)), int(rng.integers(1, 9))):
        if at < len(data):
            data[at] ^= 1 << int(rng.integers(8))


def _cut(data: bytearray, rng: np.random.Generator, files: list[bytes]) -> None:
    del data[int(rng.integers(len(data) + 1)) :]


def _splice(data: bytearray, rng: np.random.Generator, files: list[bytes]) -> None:
    """A piece deleted, repeated, or taken from any file of the corpus."""
    source = (b"", bytes(data), files[int(rng.integers(len(files)))])[int(rng.integers(3))]
    start, at = (int(rng.integers(len(x) + 1)) for x in (source, data))
    piece = source[start : start + int(rng.integers(1, 200))]
    data[at : at + int(rng.integers(0, 200))] = piece


def _head(data: bytearray, rng: np.random.Generator, files: list[bytes]) -> None:
    _put(data, int(rng.integers(0, 128)), _any(INTERESTING, rng), rng)


def _dimensions(data: bytearray, rng: np.random.Generator, files: list[bytes]) -> None:
    if data[:1] == b"P":
        data[3:8] = b"%d %d" % (_any(SIDES, rng), _any(SIDES, rng))
        return
    found = [(m.start() + skip, form) for pattern, skip, form in DIMENSIONS
             for m in re.finditer(pattern, bytes(data), re.DOTALL)]  # fmt: skip
    if not found:
        return
    at, form = found[int(rng.integers(len(found)))]
    width = struct.calcsize(form)
    for k in range(2):
        value = _any(SIDES, rng) & (1 << 8 * width) - 1
        order = "big" if form[0] == ">" else "little"
        if at + (k + 1) * width <= len(data):
            data[at + k * width : at + (k + 1) * width] = value.to_bytes(width, order)


def _length(data: bytearray, rng: np.random.Generator, files: list[bytes]) -> None:
    found = [m for p in LENGTHS for m in re.finditer(p, bytes(data), re.DOTALL)]
    if found:
        m = found[int(rng.integers(len(found)))]
        at = (m.start() - 4, m.end(), m.end() + 4)[int(rng.integers(3))]
        _put(data, max(0, at), _any(INTERESTING, rng), rng)


def _exif(data: bytearray, rng: np.random.Generator, files: list[bytes]) -> None:
    """Types, counts, values and offsets of EXIF's and TIFF's tables."""
    found = [m.start() for m in re.finditer(rb"II\*\x00|MM\x00\*", bytes(data))]
    if found:
        at = found[int(rng.integers(len(found)))] + 4
        _put(data, at + 2 * int(rng.integers(0, 90)), _any(INTERESTING[:9], rng), rng)


def _put(data: bytearray, at: int, value: int, rng: np.random.Generator) -> None:
    width = (1, 2, 4)[int(rng.integers(3))]
    raw = (value & (1 << 8 * width) - 1).to_bytes(width, ("big", "little")[int(rng.integers(2))])
    data[at : at + width] = raw


def _any(values: tuple[int, ...], rng: np.random.Generator) -> int:
    return values[int(rng.integers(len(values)))]


def _mend_checks(data: bytearray) -> None:
    """Right sums for PNG's chunks, so that what they hold is looked at."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4


KINDS = (_flip, _cut, _splice, _head, _dimensions, _length, _exif)
