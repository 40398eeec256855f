"""PNGs of every kind, whole and damaged, and what they hold: the cases of `png.json`."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from mobilemod.data.resample import ORIENTATION_TAG, Upright

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
NAMES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGBA"}
# Adam7: first column and row, and steps, of each pass.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip


def chunk(kind: bytes, data: bytes) -> bytes:
    """With its length and check sum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode(
    width: int,
    height: int,
    depth: int,
    kind: int,
    raw: bytes,
    *,
    interlace: int = 0,
    extra: bytes = b"",
    filtering: int = 0,
) -> bytes:
    """A PNG of filtered rows. kind: the header's colour type; extra: chunks before the data.

    The data is stored, not compressed, so that no version of zlib writes it otherwise.
    """
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, filtering, interlace)
    packed = zlib.compress(raw, 0)
    data = chunk(b"IDAT", packed[: len(packed) // 2]) + chunk(b"IDAT", packed[len(packed) // 2 :])
    return SIGNATURE + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


def rows(width: int, height: int, depth: int, kind: int, interlace: int = 0) -> bytes:
    """Noise under all five filters in turn."""
    rng = np.random.default_rng([width, height, depth, kind, interlace])
    found = b""
    for x, y, dx, dy in PASSES if interlace else ((0, 0, 1, 1),):
        columns, lines = -(-(width - x) // dx), -(-(height - y) // dy)
        if columns > 0:
            length = (columns * depth * CHANNELS[kind] + 7) // 8
            for line in range(max(0, lines)):
                found += bytes([line % 5]) + rng.bytes(length)
    return found


def palette(entries: int) -> bytes:
    """A chunk of colours."""
    return chunk(b"PLTE", np.random.default_rng(entries).bytes(3 * entries))


def exif(orientation: int) -> bytes:
    """A chunk of EXIF that holds an orientation alone."""
    entry = struct.pack(">HHIHH", ORIENTATION_TAG, 3, 1, orientation, 0)
    return chunk(b"eXIf", b"MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4))


def whole_files() -> dict[str, bytes]:
    """Every colour type and depth, interlaced or not; what is passed over; what is cut late."""
    files = {}
    for kind, depths in DEPTHS.items():
        for depth in depths:
            extra = palette(1 << depth) if kind == 3 else b""
            for interlace in (0, 1):
                name = f"{NAMES[kind]}, {depth} bits{', interlaced' if interlace else ''}"
                raw = rows(13, 9, depth, kind, interlace)
                files[name] = encode(13, 9, depth, kind, raw, interlace=interlace, extra=extra)
    for width, height in ((1, 1), (3, 2), (5, 1), (1, 9)):
        raw = rows(width, height, 8, 2, 1)
        files[f"interlaced, {width} x {height}"] = encode(width, height, 8, 2, raw, interlace=1)
    grey, colour, index = (rows(6, 4, 8, kind) for kind in (0, 2, 3))
    rgb = encode(6, 4, 8, 2, colour)
    transparent = {"grey": (0, grey, 2), "RGB": (2, colour, 6), "palette": (3, index, 200)}
    for name, (kind, raw, count) in transparent.items():
        extra = (palette(256) if kind == 3 else b"") + chunk(b"tRNS", bytes(count))
        files[f"{name}, tRNS is passed over"] = encode(6, 4, 8, kind, raw, extra=extra)
    gamma = chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"sBIT", b"\3\3\3")
    files["gamma is passed over"] = encode(6, 4, 8, 2, colour, extra=gamma)
    files["indices beyond the palette are black"] = encode(6, 4, 8, 3, index, extra=palette(100))
    for orientation in range(1, 9):
        files[f"EXIF orientation {orientation}"] = encode(
            6, 4, 8, 2, colour, extra=exif(orientation)
        )
    deep = encode(6, 4, 16, 0, rows(6, 4, 16, 0, 1), interlace=1, extra=exif(6))
    files["deep, interlaced and turned"] = deep
    files["EXIF after the data"] = rgb[:-12] + exif(3) + rgb[-12:]
    files["no end"] = rgb[:-12]
    files["more data than rows"] = encode(6, 4, 8, 2, colour * 3)
    return files


def damaged_files() -> dict[str, bytes]:
    """What holds no image."""
    colour = rows(6, 4, 8, 2)
    rgb = encode(6, 4, 8, 2, colour)
    data = rgb.index(b"IDAT")
    wrong = bytearray(rgb)
    wrong[data - 6] ^= 1
    files = {
        "a header's check sum is wrong": bytes(wrong),
        "cut in the data": rgb[: data + 20],
        "cut before the data": rgb[: data - 4],
        "the signature alone": SIGNATURE,
        "an unknown filter of a row": encode(6, 4, 8, 2, b"\5" + colour[1:]),
        "another filter method": encode(6, 4, 8, 2, colour, filtering=1),
        "interlaced and cut": encode(6, 4, 8, 2, rows(6, 4, 8, 2, 1), interlace=1)[:-40],
        "no palette": encode(6, 4, 8, 3, rows(6, 4, 8, 3)),
        "no width": encode(0, 4, 8, 2, colour),
        "no height": encode(6, 0, 8, 2, colour),
        "tiny and too large": encode(60000, 60000, 8, 2, colour),
        "tiny and large": encode(9000, 9000, 16, 6, colour),
        "no zlib data": rgb[: data - 4] + chunk(b"IDAT", b"x\x9cgarbage") + rgb[-12:],
    }
    for kind, depth in ((0, 3), (2, 4), (3, 16), (4, 4), (6, 2), (1, 8), (5, 8), (7, 8)):
        files[f"colour type {kind} of {depth} bits"] = encode(6, 4, depth, kind, colour * 4)
    return files


def cases() -> list[dict[str, Any]]:
    """Each file with its upright pixels as RGB, or that it is damaged."""
    found = []
    for name, data in whole_files().items():
        rgb = read(data)
        found.append({
            "name": name, "png": base64.b64encode(data).decode(),
            "width": rgb.width, "height": rgb.height,
            "rgb": base64.b64encode(rgb.tobytes()).decode(),
        })  # fmt: skip
    for name, data in damaged_files().items():
        try:
            read(data)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            found.append({"name": name, "png": base64.b64encode(data).decode(), "damaged": True})
        else:
            raise AssertionError(f"Python reads it: {name}")
    return found


def read(data: bytes) -> Image.Image:
    """Upright, in RGB."""
    with Image.open(io.BytesIO(data)) as opened:
        image = Upright(opened)
        return image.part(0, 0, *image.size)
