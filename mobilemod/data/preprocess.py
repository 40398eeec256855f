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
# Whether the image keeps its sides' ratio and loses what juts out, takes the input's, or keeps its
# own with bars beside it.
FITS = ("crop", "stretch", "letterbox")
# Pixels of a square's side, or (height, width).
Size = int | tuple[int, int]


@dataclass(frozen=True)
class Preprocess:
    """How a decoded image becomes the network's input.

    The image is resized to `round(side / crop_fraction)` pixels on each side with Pillow's
    antialiased `interpolation`; with `fit` "crop" it keeps the ratio of its sides and covers these,
    so that one side may be longer, with "letterbox" it lies within, so that one may be shorter. The
    centre `height` x `width` is cropped, where there is less the rest is filled with `bar`; 8-bit
    values are divided by 255, then `(x - mean) / std` per channel, in `layout` order. `size` is an
    int where the sides are equal.
    Source: the published network's evaluation (bicubic, crop fraction 0.9, ImageNet statistics).
    """

    size: Size = 224
    crop_fraction: float = 0.9
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    color: str = "RGB"
    layout: str = "NCHW"
    fit: str = "crop"

    def __post_init__(self) -> None:
        for key, known in (("interpolation", INTERPOLATIONS), ("fit", FITS)):
            value = getattr(self, key)
            if value not in known:
                raise UserError(f"preprocessing: {key} {value!r} is not one of {', '.join(known)}")
        for side in self.sides:
            if side < LEAST_SIZE:
                raise UserError(f"image size {side}: must be at least {LEAST_SIZE}")
        if self.height == self.width:
            object.__setattr__(self, "size", self.height)
        if not 0 < self.crop_fraction <= 1:
            raise UserError(f"preprocessing: crop_fraction {self.crop_fraction} is not in (0, 1]")

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the input, pixels."""
        return sides_of(self.size)

    @property
    def height(self) -> int:
        """Of the input, pixels."""
        return self.sides[0]

    @property
    def width(self) -> int:
        """Of the input, pixels."""
        return self.sides[1]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(3, height, width), one image of the network's."""
        return (3, *self.sides)

    @property
    def pixels_text(self) -> str:
        """Height and width, for people."""
        return f"{self.height} x {self.width}"

    def to_dict(self) -> dict:
        """As JSON-ready values; without `fit` where it is "crop", which readers assume."""
        values = dataclasses.asdict(self)
        if self.fit == "crop":
            del values["fit"]
        return values

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
        if isinstance(values.get("size"), list):
            values["size"] = tuple(values["size"])
        return cls(**values)

    @property
    def bar(self) -> tuple[int, ...]:
        """The 8-bit colour beside a letterboxed image: what is nearest to 0 when normalized.

        Of the mean as float32, as normalizing has it and every reader of a manifest.
        """
        return tuple(min(255, max(0, round(255 * float(np.float32(m))))) for m in self.mean)

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of an image of these, before the centre is cropped."""
        whole = [round(side / self.crop_fraction) for side in (self.width, self.height)]
        if self.fit == "stretch":
            return whole[0], whole[1]
        if self.fit == "letterbox":
            scale = min(whole[0] / width, whole[1] / height)
            return max(1, round(width * scale)), max(1, round(height * scale))
        scale = max(whole[0] / width, whole[1] / height)
        return max(whole[0], round(width * scale)), max(whole[1], round(height * scale))

    def placed(self, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
        """Width and height that an image of these is resized to, and the window (left, top, right,
        bottom) of it that is cropped."""
        target = self.resized(width, height)
        sides = self.width, self.height
        left, top = (max(0, t - side) // 2 for t, side in zip(target, sides, strict=True))
        right, bottom = min(left + self.width, target[0]), min(top + self.height, target[1])
        return target, (left, top, right, bottom)

    def set_in(self, window: np.ndarray, bar: tuple[int, ...] | int) -> np.ndarray:
        """The window of `placed`, (h, w, …), in the middle of the input, (height, width, …), with
        `bar` beside it; itself where there is nothing beside it."""
        height, width = window.shape[:2]
        if (height, width) == self.sides:
            return window
        whole = np.empty((*self.sides, *window.shape[2:]), window.dtype)
        whole[:] = bar
        top, left = (self.height - height) // 2, (self.width - width) // 2
        whole[top : top + height, left : left + width] = window
        return whole

    def smaller(self, side: int) -> Preprocess:
        """The same view of an image with `side` pixels on the longer side, or as few as can be."""
        scale = min(1.0, max(side / max(self.sides), LEAST_SIZE / min(self.sides)))
        return dataclasses.replace(self, size=tuple(round(s * scale) for s in self.sides))

    def pixels(self, image: Image.Image) -> np.ndarray:
        """The resized and cropped image, uint8 (height, width, 3).

        Raises what Pillow does where the image is damaged, `ValueError` where its values have no
        known white (see `rgb_converter`).
        """
        upright = Upright(image)
        target, window = self.placed(*upright.size)
        found = resize_window(upright, target, window, INTERPOLATIONS[self.interpolation])
        return self.set_in(found, self.bar)

    def normalize(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (..., height, width, 3) to float32 (..., 3, height, width), normalized."""
        x = np.moveaxis(pixels, -1, -3).astype(np.float32, order="C")
        # In place, and by planes: three colours side by side take several times as long.
        x /= np.float32(255)
        x -= np.float32(self.mean)[:, None, None]
        x /= np.float32(self.std)[:, None, None]
        return x

    def __call__(self, image: Image.Image) -> np.ndarray:
        """float32 (3, height, width)."""
        return self.normalize(self.pixels(image))


def sides_of(size: Size) -> tuple[int, int]:
    """Height and width of what says them; `UserError` where it isn't one number or two."""
    sides = size if isinstance(size, tuple) else (size, size)
    if len(sides) != 2:
        raise UserError(f"image size {size}: give one side, or height and width")
    return sides
