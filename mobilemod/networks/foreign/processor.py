"""An image processor as `Preprocess`, measured on images that tell: none is known by name."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mobilemod.data.preprocess import INTERPOLATIONS, Preprocess

# Image -> float (3, H, W).
Process = Callable[[Image.Image], np.ndarray]
# Width and height of the images that are asked about; two tell what becomes of another ratio.
SQUARE, SMALL, WIDE, TALL = (300, 300), (210, 210), (420, 300), (300, 420)
# How far from what was measured a rounder number may be, as a share: float32 leaves that much.
SHARE = 2e-7
# Of 255: two pictures that differ by less are the same.
SAME = 0.02
# Pixels by which a measured length may be wrong, or rounded otherwise.
NEAR = 2


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
    """What a processor does to any image, found by asking it about some twenty.

    8-bit pixels are the processor's where it stretches, and where a square is cropped of an image
    that keeps the ratio of its sides; the longer side may be one pixel more, since it is rounded
    here. ValueError says what a bundle can't say.
    """
    done = colours(process)
    pictures = {size: _noise(size) for size in (SQUARE, SMALL, WIDE)}
    seen = {size: done.values(process(picture)) for size, picture in pictures.items()}
    height, width, _ = seen[SQUARE].shape
    if seen[SMALL].shape != seen[SQUARE].shape:
        raise ValueError("an image that isn't resized to one size isn't supported")
    whole = seen[WIDE].shape != seen[SQUARE].shape
    if whole and not height == width == min(seen[WIDE].shape[:2]):
        raise ValueError("the size of what it gives follows the longer side; not supported")
    lengths = {size: _resized(process, done, size) for size in (SQUARE, WIDE, TALL)}
    fit = "stretch" if _near(lengths[SQUARE], lengths[WIDE]) else "crop"
    # Of other images only a stretched one has the same pixels, as the longer side may differ.
    told = (SQUARE, SMALL, WIDE) if fit == "stretch" else (SQUARE, SMALL)
    fractions = _fractions((width, height), lengths[SQUARE])
    for fraction, name in itertools.product(fractions, INTERPOLATIONS):
        preprocess = Preprocess((height, width), fraction, name, **done.statistics(), fit=fit)
        if all(np.abs(preprocess.pixels(pictures[s]) - seen[s]).max() < SAME for s in told):
            break
    else:
        raise ValueError(
            f"how it resizes isn't known; one of {', '.join(INTERPOLATIONS)}, to a shorter side or "
            "to two sides, and a centre crop, is"
        )
    return Processed(preprocess, done.reversed, _notes(preprocess, lengths, whole))


def _fractions(kept: tuple[int, int], resized: tuple[float, float]) -> list[float]:
    """The crop fractions, each once, that may leave `kept` of about `resized` pixels."""
    found = (
        side / length
        for side, about in zip(kept, resized, strict=True)
        for length in range(max(side, round(about) - NEAR), round(about) + NEAR + 1)
    )
    return list(dict.fromkeys(found))


def _resized(process: Process, done: Colours, size: tuple[int, int]) -> tuple[float, float]:
    """Width and height that an image of this size becomes, before anything is cropped."""
    across, down = (size[axis] * _scale(process, done, size, axis) for axis in (0, 1))
    return across, down


def _near(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) <= NEAR


def _notes(
    preprocess: Preprocess, lengths: dict[tuple[int, int], tuple[float, float]], whole: bool
) -> tuple[str, ...]:
    """What it does to an image that is no square, where that can't be said in a bundle.

    lengths: what images become, by their size. whole: nothing of the longer side is cropped.
    """
    if whole:
        return ("its processor leaves the longer side; here the centre is cropped to a square",)
    for (width, height), theirs in lengths.items():
        ours = preprocess.resized(width, height)
        if not _near(ours, theirs):
            made = f"{round(theirs[0])} x {round(theirs[1])}"
            return (
                f"its processor resizes {width} x {height} pixels to {made} before it crops, here "
                f"they become {ours[0]} x {ours[1]}: another picture where sides differ",
            )
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
