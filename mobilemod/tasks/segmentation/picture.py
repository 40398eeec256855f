"""Small pictures of maps, as PNG in base64 for records and pages."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from mobilemod.tasks.segmentation.label_file import IGNORED
from mobilemod.tasks.segmentation.maps import laid_on

SIDE = 128  # pixels of a picture's longer side
NOTHING = (232, 232, 232)
ALIKE, DIFFERENT = (232, 232, 232), (200, 30, 40)


def colour(code: int) -> tuple[int, int, int]:
    """Of a class, by the bits of its number; ignored pixels have `NOTHING`'s.

    Source: the colour map of the PASCAL VOC development kit, from its colour 1 on, for its colour 0
    is black.
    """
    if code == IGNORED:
        return NOTHING
    red, green, blue, rest = 0, 0, 0, code + 1
    for bit in range(7, -1, -1):
        red |= (rest & 1) << bit
        green |= (rest >> 1 & 1) << bit
        blue |= (rest >> 2 & 1) << bit
        rest >>= 3
    return red, green, blue


PALETTE = [value for code in range(IGNORED + 1) for value in colour(code)]


def small(one: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A map as uint8 of at most `SIDE` pixels a side, in the proportions of `shape`."""
    scale = min(1.0, SIDE / max(shape))
    return laid_on(one, (max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))))


def picture(codes: np.ndarray) -> str:
    """base64 of a PNG of uint8 codes (height, width) in their colours."""
    return _png(codes, PALETTE)


def difference(a: np.ndarray, b: np.ndarray) -> str:
    """base64 of a PNG that shows where two maps of a size differ."""
    return _png((a != b).astype(np.uint8), [*ALIKE, *DIFFERENT])


def overlay(pixels: np.ndarray, codes: np.ndarray) -> Image.Image:
    """An RGB image of uint8 pixels (height, width, 3) with half of each class's colour over them.

    codes: a map of any size, laid on the pixels by the nearest one.
    """
    colours = np.array(PALETTE, np.uint16).reshape(-1, 3)[laid_on(codes, pixels.shape[:2])]
    return Image.fromarray(((pixels + colours + 1) // 2).astype(np.uint8))


def _png(codes: np.ndarray, palette: list[int]) -> str:
    image = Image.fromarray(np.ascontiguousarray(codes, np.uint8)).convert("L")
    image.putpalette(palette)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
