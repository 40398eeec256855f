"""One preprocessing specification, used here and carried to the apps by the manifest."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mobilemod.data.resample import Upright, resize_window
from mobilemod.errors import UserError, unknown

# As of `mobilemod.ranges.SIDE`, which isn't taken to devices.
LEAST_SIZE = 16
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


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
        if self.size < LEAST_SIZE:
            raise UserError(f"image size {self.size}: must be at least {LEAST_SIZE}")
        if not 0 < self.crop_fraction <= 1:
            raise UserError(f"preprocessing: crop_fraction {self.crop_fraction} is not in (0, 1]")

    def to_dict(self) -> dict:
        """As JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Preprocess:
        """From `to_dict`'s form; an unknown key is a `UserError`."""
        names = {f.name for f in dataclasses.fields(cls)}
        for key in sorted(set(values) - names):
            raise UserError(f"preprocessing: {unknown('key', key, sorted(names))}")
        values = dict(values)
        for key in ("mean", "std"):
            if key in values:
                values[key] = tuple(values[key])
        return cls(**values)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """The resized and cropped image, uint8 (size, size, 3).

        Raises what Pillow does where the image is damaged, `ValueError` where its values have no
        known white (see `rgb_converter`).
        """
        upright = Upright(image)
        width, height = upright.size
        short = round(self.size / self.crop_fraction)
        scale = short / min(width, height)
        target = (max(short, round(width * scale)), max(short, round(height * scale)))
        left = (target[0] - self.size) // 2
        top = (target[1] - self.size) // 2
        resample = INTERPOLATIONS[self.interpolation]
        return resize_window(upright, target, left, top, self.size, resample)

    def normalize(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (..., size, size, 3) to float32 (..., 3, size, size), normalized."""
        mean = np.asarray(self.mean, np.float32)
        std = np.asarray(self.std, np.float32)
        x = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(np.moveaxis(x, -1, -3))

    def __call__(self, image: Image.Image) -> np.ndarray:
        """float32 (3, size, size)."""
        return self.normalize(self.pixels(image))
