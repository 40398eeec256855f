"""One PNG of labels: a code for each pixel, never a colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mobilemod.data.image_file import DamagedImage, read_image
from mobilemod.data.preprocess import Preprocess
from mobilemod.data.resample import ORIENTATION_TAG

IGNORED = 255
# Pillow spreads greys of few bits over 0 to 255; the codes are these parts of that.
_SPREAD = {"L;2": 85, "L;4": 17}
_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file, turned as its EXIF says; raises `DamagedImage`.

    Reads no pixels.
    """
    return read_image(path, _upright_size, loaded=False)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    try:
        turned = int(image.getexif().get(ORIENTATION_TAG, 1)) in (5, 6, 7, 8)
    except Exception:  # EXIF comes in any shape, and the pixels are there without it
        turned = False
    return (height, width) if turned else (width, height)


def label_size(path: Path) -> tuple[int, int]:
    """Width and height of a file of labels; `DamagedImage` where it can't be one.

    Reads no pixels.
    """
    return read_image(path, _checked_size, loaded=False)


def _checked_size(image: Image.Image) -> tuple[int, int]:
    if image.format != "PNG":
        raise DamagedImage("no PNG", f"{image.format}; labels are grey or paletted PNG files")
    if image.mode not in ("1", "L", "P", *_DEEP):
        what = f"mode {image.mode}; save the codes as a grey or paletted PNG"
        raise DamagedImage("colours, not codes", what)
    return image.size


def read_codes(path: Path, zero_ignored: bool) -> np.ndarray:
    """uint8 (height, width): classes from 0, and `IGNORED`; raises `DamagedImage`.

    zero_ignored: the file has 0 for what is ignored and classes from 1, as ADE20K's.
    """
    values = read_image(path, _codes, loaded=False)
    if values.max(initial=0) > IGNORED:
        raise DamagedImage("a code out of range", f"{int(values.max())}; at most {IGNORED}")
    codes = values.astype(np.uint8)
    # 0 - 1 is 255; what was 255 stays ignored.
    return np.where(codes == IGNORED, IGNORED, codes - np.uint8(1)) if zero_ignored else codes


def _codes(image: Image.Image) -> np.ndarray:
    _checked_size(image)
    args = image.tile[0][3] if image.tile else ""
    raw = args if isinstance(args, str) else args[0]
    image.load()
    values = np.asarray(image)
    if values.dtype == bool:
        return values.astype(np.uint8)
    return values // _SPREAD.get(raw, 1)


def placed(codes: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """The codes (height, width) at the pixels of the network's input, by the nearest one.

    Resized and cropped as the image is, so that they lie on what the network sees; `IGNORED` beside
    it.
    """
    height, width = codes.shape
    (wide, high), (left, top, right, bottom) = preprocess.placed(width, height)
    rows, columns = nearest(height, high, top, bottom), nearest(width, wide, left, right)
    return preprocess.set_in(codes[rows[:, None], columns], IGNORED)


def nearest(source: int, target: int, begin: int = 0, end: int | None = None) -> np.ndarray:
    """int64: of `source` pixels the one under the centre of each of `target`, from `begin` to
    before `end`."""
    at = np.arange(begin, target if end is None else end, dtype=np.int64)
    return np.minimum((2 * at + 1) * source // (2 * target), source - 1)
