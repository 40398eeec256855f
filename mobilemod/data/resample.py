"""A window of a resized image, equal to the bit to Pillow's resize of the whole and a crop.

A pass along one axis is Pillow's own where that makes a side of moderate length, else computed here
for the window alone, with Pillow's arithmetic: an image of 60000 x 1 pixels would become one of
15 million columns. Source: Pillow's Resample.c and Geometry.c.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from mobilemod.data.rgb import rgb_converter

BITS = 22  # of a weight's fraction
# Pillow resizes a whole side where it becomes at most this many times the window's.
MODERATE = 8
# Pixels that are converted and resized at a time, at most.
STRIP = 1 << 21
# As many, or as many lines, stay in a processor's cache and are worth a call.
FEW = 1 << 16
LINES = 128
# Source pixels on either side of an output's centre that it is made of, where nothing is shrunk.
SUPPORT = {
    Image.Resampling.NEAREST: 0.5,
    Image.Resampling.BILINEAR: 1.0,
    Image.Resampling.BICUBIC: 2.0,
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


class Upright:
    """An image turned as its EXIF says and in RGB, both done for the parts that are asked for."""

    def __init__(self, image: Image.Image) -> None:
        """Loads the image: raises what Pillow does, and as `rgb_converter`."""
        image.load()
        self.image = image
        self.orientation = _orientation(image)
        self.to_rgb = rgb_converter(image)
        self.size = image.size[::-1] if self.orientation >= 5 else image.size

    def part(self, left: int, top: int, right: int, bottom: int) -> Image.Image:
        """A rectangle, mode "RGB"; may be the image itself."""
        box = self._stored(left, top, right, bottom)
        part = self.image if box == (0, 0, *self.image.size) else self.image.crop(box)
        part = self.to_rgb(part)
        return part.transpose(TURNS[self.orientation]) if self.orientation > 1 else part

    def strips(self, box: Sequence[int], axis: int) -> Iterator[Image.Image]:
        """A rectangle in pieces along an axis, 0 from top to bottom, 1 from left to right."""
        begin, end, across = box[1 - axis], box[3 - axis], box[axis + 2] - box[axis]
        step = max(1, min(STRIP // across, max(LINES, FEW // across)))
        for first in range(begin, end, step):
            piece = list(box)
            piece[1 - axis], piece[3 - axis] = first, min(first + step, end)
            yield self.part(*piece)

    def _stored(self, left: int, top: int, right: int, bottom: int) -> tuple[int, int, int, int]:
        """The rectangle before it was turned."""
        width, height = self.image.size
        if self.orientation >= 5:
            left, top, right, bottom = top, left, bottom, right
        if self.orientation in (2, 3, 7, 8):
            left, right = width - right, width - left
        if self.orientation in (3, 4, 6, 7):
            top, bottom = height - bottom, height - top
        return left, top, right, bottom


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(ORIENTATION_TAG, 1)
        return int(found) if found in TURNS else 1
    except Exception:  # EXIF comes in any shape, and the pixels are there without it
        return 1


def resize_window(
    image: Upright, target: tuple[int, int], window: tuple[int, int, int, int], resample: int
) -> np.ndarray:
    """A window (left, top, right, bottom) of `image` resized to `target` (width, height).

    resample: Pillow's NEAREST, BILINEAR or BICUBIC. Returns uint8 (bottom - top, right - left, 3).
    """
    (width, height), (wide, high) = image.size, target
    left, top, right, bottom = window
    columns = _Pass(width, wide, left, right - left, resample, axis=1)
    rows = _Pass(height, high, top, bottom - top, resample, axis=0)
    if columns.whole and rows.whole and width * height <= FEW:
        return np.asarray(image.part(0, 0, width, height).resize(target, resample).crop(window))
    # Pillow's order, which shows in the last bit.
    vertical_first = height - high > max(0, 2 * (width - wide))
    first, second = (rows, columns) if vertical_first else (columns, rows)
    box = [0, 0, width, height]
    for one in (first, second):
        # What Pillow resizes first it has to see whole, for its weights.
        if one is second or not one.whole:
            box[1 - one.axis], box[3 - one.axis] = one.first, one.last
    # So it is with the second, where only what the window needs is filled.
    begin, end = (0, second.source) if second.whole else (second.first, second.last)
    shape = (first.size, end - begin) if first is columns else (end - begin, first.size)
    between, at = Image.new("RGB", shape, None), second.first - begin
    for strip in image.strips(box, second.axis):
        resized = first(strip)
        between.paste(resized, (0, at) if first is columns else (at, 0))
        at += resized.size[1 - second.axis]
    return np.asarray(second(between))


class _Pass:
    """The window's part of one axis, 0 vertical, resized from `source` to `target` pixels.

    Needs the source's pixels from `first` to before `last`, and where `whole` the others' places.
    """

    def __init__(
        self, source: int, target: int, offset: int, size: int, resample: int, axis: int
    ) -> None:
        self.source, self.target, self.offset, self.size = source, target, offset, size
        self.resample, self.axis = resample, axis
        self.whole = target <= MODERATE * size
        if self.whole:
            scale = source / target
            reach = math.ceil(SUPPORT[resample] * max(scale, 1.0)) + 1
            self.first = max(0, math.floor(offset * scale) - reach)
            self.last = min(source, math.ceil((offset + size) * scale) + reach)
            return
        if resample == Image.Resampling.NEAREST:
            self.starts = np.minimum(_positions(source / target, offset, size), source - 1)
            self.weights = np.full((size, 1), 1 << BITS, np.int32)
        else:
            self.starts, self.weights = _weights(source, target, offset, size, resample)
        self.first = int(self.starts.min())
        self.last = min(int(self.starts.max()) + self.weights.shape[1], source)

    def __call__(self, image: Image.Image) -> Image.Image:
        """`image` with this axis resized and cut."""
        if not self.whole:
            return Image.fromarray(self._sums(np.asarray(image)))
        begin, end = self.offset, self.offset + self.size
        if self.axis == 1:
            resized = image.resize((self.target, image.height), self.resample)
            return resized.crop((begin, 0, end, image.height))
        resized = image.resize((image.width, self.target), self.resample)
        return resized.crop((0, begin, image.width, end))

    def _sums(self, pixels: np.ndarray) -> np.ndarray:
        x = np.moveaxis(pixels, self.axis, 0)
        total = np.full((self.size, *x.shape[1:]), 1 << (BITS - 1), np.int32)
        for k, weight in enumerate(self.weights.T):
            # Weights beyond the last pixel are 0.
            at = np.minimum(self.starts + k, self.last - 1) - self.first
            total += weight[:, None, None] * x[at]
        return np.moveaxis(np.clip(total >> BITS, 0, 255).astype(np.uint8), 0, self.axis)


def _weights(
    source: int, target: int, offset: int, size: int, resample: int
) -> tuple[np.ndarray, np.ndarray]:
    """First source pixels, int64 (size,), and their weights, int32 (size, taps)."""
    scale = source / target
    widened = max(scale, 1.0)
    support = SUPPORT[resample] * widened
    centres = (np.arange(offset, offset + size) + 0.5) * scale
    starts = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    counts = np.minimum((centres + support + 0.5).astype(np.int64), source) - starts
    taps = np.arange(math.ceil(support) * 2 + 1)
    distances = np.abs((taps + starts[:, None] - centres[:, None] + 0.5) * (1.0 / widened))
    weights = np.where(taps < counts[:, None], _kernel(distances, resample), 0.0)
    # Added one after the other, as rounding wants it.
    sums = np.cumsum(weights, 1)[:, -1:]
    fixed = np.divide(weights, sums, out=weights, where=sums != 0) * (1 << BITS)
    return starts, (fixed + np.where(fixed < 0, -0.5, 0.5)).astype(np.int32)


def _kernel(x: np.ndarray, resample: int) -> np.ndarray:
    if resample == Image.Resampling.BILINEAR:
        return np.maximum(1.0 - x, 0.0)
    # Keys' cubic with a = -0.5.
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _positions(step: float, offset: int, size: int) -> np.ndarray:
    """Nearest source pixels, int64 (size,), of outputs from `offset` on.

    Pillow adds the step up, which rounds otherwise than multiplying.
    """
    at, count = step * 0.5, offset
    while count:
        at += step
        count -= 1
        # Until the next power of two every sum is rounded alike: they are taken in one.
        by = (at + step) - at
        times = min(count, int((2.0 ** math.frexp(at)[1] - at) / by) - 1)
        if times > 0:
            at, count = at + times * by, count - times
    walked = np.full(size, step)
    walked[0] = at
    return np.cumsum(walked).astype(np.int64)
