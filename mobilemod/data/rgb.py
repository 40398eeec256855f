"""Any image that Pillow opens to 8-bit RGB, by its values.

Of 16 bits the high byte stays, as Pillow and the web app's decoder keep it of colours too; PGM and
PPM files are scaled by their largest value and rounded. Alpha is dropped, not blended.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

# TIFF 6.0, tags of an image.
BITS_PER_SAMPLE = 258
PHOTOMETRIC = 262
WHITE_IS_ZERO = 0


def rgb_converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What turns `image`, or a piece cropped from it, into mode "RGB".

    Raises `ValueError` for greys without a known white (floats, signed values, 32 bits) and for
    a palette's indices without the palette.
    """
    if image.mode in ("P", "PA") and not (image.palette and image.palette.palette):
        raise ValueError("the image has indices into a palette, and no palette")
    to_grey = _deep_grey(image)
    if to_grey is None:
        return _to_rgb
    # Pillow inverts 8-bit TIFF files whose white is 0, deeper ones not.
    inverted = _tag(image, PHOTOMETRIC) == WHITE_IS_ZERO

    def convert(part: Image.Image) -> Image.Image:
        grey = to_grey(np.asarray(part)).astype(np.uint8)
        return Image.fromarray(~grey if inverted else grey).convert("RGB")

    return convert


def to_rgb(image: Image.Image) -> Image.Image:
    """`image` in mode "RGB"; the same object where it has that. Raises as `rgb_converter`."""
    return rgb_converter(image)(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode == "La":
        image = image.convert("LA")
    if "transparency" in image.info:
        # Pillow would carry it over, and warn or fail where it can't.
        image = image.copy()
        del image.info["transparency"]
    return image.convert("RGB")


def _deep_grey(image: Image.Image) -> Callable[[np.ndarray], np.ndarray] | None:
    """What scales a grey deeper than 8 bits to 0..255; None for any other image."""
    if image.mode.startswith("I;16"):
        bits = 12 if _tag(image, BITS_PER_SAMPLE) == (12,) else 16
        return lambda values: values >> (bits - 8)
    if image.mode == "I" and image.format == "PPM":
        # The decoder scales greys to 65535, whatever the file's largest value; colours it rounds.
        return lambda values: (values + 128) // 257
    if image.mode in ("I", "F"):
        what = "floating-point" if image.mode == "F" else "signed or 32-bit"
        raise ValueError(f"{what} greys have no known white; save the image with 8 or 16 bits")
    return None


def _tag(image: Image.Image, tag: int) -> object:
    """A TIFF file's value; None for other formats."""
    return getattr(image, "tag_v2", {}).get(tag)
