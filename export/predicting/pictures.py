"""Images as a user gives them: files, folders, and what is in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mobilemod.data.image_file import DamagedImage
from mobilemod.data.imagefolder import load_pixels
from mobilemod.data.listing import left_out_text, list_images, say_left_out
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError, shown

# What one image may be: a file, an image of Pillow's, or uint8 (H, W, 3) in RGB.
Picture = str | os.PathLike[str] | Image.Image | np.ndarray


def pixels_of(picture: Picture, preprocess: Preprocess) -> np.ndarray:
    """uint8 (height, width, 3) as the network sees it; `UserError` where that can't be had."""
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise UserError(
                f"an array of {picture.dtype} {picture.shape}: give uint8 (height, width, 3), RGB"
            )
        if not picture.size:
            raise UserError(f"an array of {picture.shape} holds no pixel")
        picture = Image.fromarray(picture)
    if isinstance(picture, Image.Image):
        try:
            return preprocess.pixels(picture)
        except Exception as error:  # decoders and plugins raise anything
            raise UserError(f"the image can't be read: {error}") from error
    if not isinstance(picture, str | os.PathLike):
        kind = type(picture).__name__
        raise UserError(f"a {kind} is no image: give a file, Pillow's image, or uint8 (H, W, 3)")
    path = Path(picture)
    try:
        return load_pixels(path, preprocess)
    except DamagedImage as error:
        raise UserError(f"{shown(path)}: {error}; give another image") from None


def images_in(paths: Sequence[Path]) -> list[Path]:
    """The files, and those in the folders, sorted; what isn't read there is told on stderr.

    `UserError` for a folder without an image.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        files, others = list_images(path)
        if not files:
            raise UserError(f"{shown(path)} holds no images; give image files, or their folder")
        if others:
            say_left_out(path, left_out_text(others))
        found += files
    return found
