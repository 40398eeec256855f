"""One preprocessing specification, used here and carried to the apps by the manifest."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mobilemod.errors import UserError

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


ORIENTATION_TAG = 0x0112
# EXIF orientation -> how the stored image is turned to be upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # EXIF comes in any shape, and the pixels are there without it
        return image
    return image if turn is None else image.transpose(turn)


@dataclass(frozen=True)
class Preprocess:
    """How a decoded image becomes the network's input.

    The shorter side is resized to `round(size / crop_fraction)` pixels with Pillow's antialiased
    `interpolation`, the centre `size` x `size` is cropped, 8-bit values are divided by 255, then
    `(x - mean) / std` per channel, in `layout` order.
    Source: the published network's evaluation (bicubic, crop fraction 0.9, ImageNet statistics).
    """

    size: int = 224
    crop_fraction: float = 0.9
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    color: str = "RGB"
    layout: str = "NCHW"

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise UserError(
                f"preprocessing: interpolation {self.interpolation!r} is not one of "
                f"{', '.join(INTERPOLATIONS)}"
            )
        if self.size < 32 or self.size % 32:
            raise UserError(f"image size {self.size}: must be a multiple of 32, at least 32")
        if not 0 < self.crop_fraction <= 1:
            raise UserError(f"preprocessing: crop_fraction {self.crop_fraction} is not in (0, 1]")

    def to_dict(self) -> dict:
        """As JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Preprocess:
        """From `to_dict`'s form; an unknown key is a `UserError`."""
        names = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - names)
        if unknown:
            raise UserError(f"preprocessing: unknown key {unknown[0]!r}; known: {sorted(names)}")
        values = dict(values)
        for key in ("mean", "std"):
            if key in values:
                values[key] = tuple(values[key])
        return cls(**values)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """The resized and cropped image, uint8 (size, size, 3)."""
        image = _upright(image).convert("RGB")
        width, height = image.size
        short = round(self.size / self.crop_fraction)
        scale = short / min(width, height)
        target = (max(short, round(width * scale)), max(short, round(height * scale)))
        if target != image.size:
            image = image.resize(target, INTERPOLATIONS[self.interpolation])
        left = (target[0] - self.size) // 2
        top = (target[1] - self.size) // 2
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)))

    def normalize(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (..., size, size, 3) to float32 (..., 3, size, size), normalized."""
        mean = np.asarray(self.mean, np.float32)
        std = np.asarray(self.std, np.float32)
        x = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(np.moveaxis(x, -1, -3))

    def __call__(self, image: Image.Image) -> np.ndarray:
        """float32 (3, size, size)."""
        return self.normalize(self.pixels(image))
