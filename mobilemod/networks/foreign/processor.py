"""An image processor as `Preprocess`, measured on images that tell: none is known by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mobilemod.data.preprocess import INTERPOLATIONS, Preprocess

# Image -> float (3, H, W).
Process = Callable[[Image.Image], np.ndarray]
# Sides of the images that are asked about; the wide one tells what becomes of another ratio.
SQUARE, SMALL, WIDE = (300, 300), (210, 210), (420, 300)
# How far from what was measured a rounder number may be, as a share: float32 leaves that much.
SHARE = 2e-7
# Of 255: two pictures that differ by less are the same.
SAME = 0.02


@dataclass(frozen=True)
class Processed:
    """What a processor does; without `preprocess`, only its order of colours was asked.

    reversed: it gives blue, green, red. notes: in what `preprocess` is another, for people.
    """

    preprocess: Preprocess | None = None
    reversed: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Colours:
    """Value v of 0..255 becomes black + gain v / 255; each float64 (3,), in the order given out."""

    black: np.ndarray
    gain: np.ndarray
    reversed: bool

    def values(self, given: np.ndarray) -> np.ndarray:
        """Back to 0..255, red, green, blue: (3, H, W) to (H, W, 3)."""
        shown = 255 * (np.moveaxis(given, 0, -1) - self.black) / self.gain
        return shown[..., ::-1] if self.reversed else shown

    def statistics(self) -> dict[str, tuple[float, float, float]]:
        """Mean and deviation of values from 0 to 1, red, green, blue."""
        order = slice(None, None, -1 if self.reversed else 1)
        std = 1 / self.gain[order]
        found = {"mean": 0.0 - self.black[order] * std, "std": std}
        return {key: tuple(map(_round, row.tolist())) for key, row in found.items()}


def colours(process: Process) -> Colours:
    """What becomes of colours. ValueError where it isn't a mean and a deviation of each."""
    black, white = (_plain(process, (v, v, v)) for v in (0, 255))
    gain = white - black
    if not gain.all():
        raise ValueError("it gives black and white the same values")

    def shares(*colour: int) -> np.ndarray:
        return (_plain(process, colour) - black) / gain

    red, grey = shares(255, 0, 0), shares(102, 102, 102)
    order = [row for row in ((1, 0, 0), (0, 0, 1)) if np.allclose(red, row, atol=1e-4)]
    if not order or not np.allclose(grey, 102 / 255, atol=1e-4):
        raise ValueError("what it does to colours is no mean and deviation of each")
    return Colours(black, gain, order[0] == (0, 0, 1))


def measured(process: Process) -> Processed:
    """What a processor does to any image, found by asking it about a dozen.

    8-bit pixels are the processor's where it keeps the ratio of sides; the longer side may be one
    pixel more, since it is rounded here. ValueError says what a bundle can't say.
    """
    done = colours(process)
    pictures = {size: _noise(size) for size in (SQUARE, SMALL, WIDE)}
    seen = {size: done.values(process(picture)) for size, picture in pictures.items()}
    height, width, _ = seen[SQUARE].shape
    if seen[SMALL].shape != seen[SQUARE].shape:
        raise ValueError("an image that isn't resized to one size isn't supported")
    if height != width:
        raise ValueError(f"{height} x {width}: rectangular preprocessing is not supported yet")
    if min(seen[WIDE].shape[:2]) != height:
        raise ValueError("the size of what it gives follows the longer side; not supported")
    short = SQUARE[0] * _scale(process, done, SQUARE, 0)
    tried = (
        Preprocess(height, height / side, name, **done.statistics())
        for side in range(max(height, round(short) - 2), round(short) + 3)
        for name in INTERPOLATIONS
    )
    for preprocess in tried:
        near = (np.abs(preprocess.pixels(pictures[s]) - seen[s]).max() for s in (SQUARE, SMALL))
        if max(near) < SAME:
            break
    else:
        raise ValueError(
            f"how it resizes isn't known; one of {', '.join(INTERPOLATIONS)} to a shorter side, and"
            " a centre crop, is"
        )
    return Processed(preprocess, done.reversed, _notes(process, done, seen[WIDE], short))


def _notes(process: Process, done: Colours, wide: np.ndarray, short: float) -> tuple[str, ...]:
    """What it does to an image that is no square, where that can't be said in a bundle."""
    across, down = (_scale(process, done, WIDE, axis) for axis in (0, 1))
    if abs(across - down) * WIDE[0] > 2:  # more than the longer side's rounding
        side = wide.shape[0]
        return (
            f"its processor stretches images to {side} x {side}; here the shorter side is resized"
            f" to {round(short)} and the centre cropped, which gives another picture where sides"
            " differ",
        )
    if wide.shape[0] != wide.shape[1]:
        return ("its processor leaves the longer side; here the centre is cropped to a square",)
    return ()


def _plain(process: Process, colour: tuple[int, ...]) -> np.ndarray:
    """What becomes of an image of one colour, float64 (3,)."""
    given = np.float64(process(Image.new("RGB", WIDE, colour)))
    if given.ndim != 3 or len(given) != 3:
        raise ValueError(f"it gives {given.shape} for an image; (3, height, width) is taken")
    flat = given.reshape(3, -1)
    if np.ptp(flat, axis=1).max() > 1e-4 * max(1.0, np.abs(flat).max()):
        raise ValueError("it pads images, or changes pixels by their place; not supported")
    return flat[:, 0]


def _noise(size: tuple[int, int]) -> Image.Image:
    drawn = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(drawn)


def _scale(process: Process, done: Colours, size: tuple[int, int], axis: int) -> float:
    """Pixels given for one of the image's, along an axis (0 across): by a ramp's slope."""
    steps = np.linspace(0, 255, size[axis])
    ramp = np.broadcast_to(steps if axis == 0 else steps[:, None], size[::-1])
    image = Image.fromarray(np.repeat(ramp[..., None], 3, 2).round().astype(np.uint8))
    line = done.values(process(image)).mean((2, axis))
    edge = len(line) // 8
    slope = np.polyfit(np.arange(len(line) - 2 * edge), line[edge : len(line) - edge], 1)[0]
    if not slope > 0:
        raise ValueError("how it resizes isn't known")
    return float((steps[1] - steps[0]) / slope)


def _round(value: float) -> float:
    """The number that people wrote, where float32 can't tell it from this one."""
    rounder = (float(f"{value:.6g}"), float(f"{255 * value:.6g}") / 255)
    return next((r for r in rounder if abs(r - value) <= SHARE * abs(value)), value)
