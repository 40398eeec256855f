"""Backgrounds made of photographs, without the parts that show what was photographed."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.scenes.look import Look


def texture(
    photograph: Image.Image, size: int, look: Look, rng: np.random.Generator
) -> Image.Image:
    """RGB, size x size: blurred, magnified or tiled, with grain."""
    make = (_blurred, _magnified, _tiled, _tiled)[rng.integers(4)]
    image = make(photograph, size, rng)
    grain = rng.standard_normal((size, size, 1), np.float32) * np.float32(rng.uniform(*look.grain))
    return Image.fromarray(np.clip(np.rint(np.asarray(image) + grain), 0, 255).astype(np.uint8))


def _crop(photograph: Image.Image, side: int, rng: np.random.Generator) -> Image.Image:
    """A square of it; all of its shorter side at most."""
    side = min(side, *photograph.size)
    left, top = (int(rng.integers(extent - side + 1)) for extent in photograph.size)
    return photograph.crop((left, top, left + side, top + side))


def _blurred(photograph: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    part = _crop(photograph, int(min(photograph.size) * rng.uniform(0.4, 1)), rng)
    radius = size * rng.uniform(0.03, 0.06)
    return part.resize((size, size), Image.Resampling.BICUBIC).filter(
        ImageFilter.GaussianBlur(radius)
    )


def _magnified(photograph: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    part = _crop(photograph, max(4, int(min(photograph.size) * rng.uniform(0.04, 0.1))), rng)
    return part.resize((size, size), Image.Resampling.BICUBIC)


def _tiled(photograph: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    """A small patch and its mirror images, over and over: no seams."""
    part = _crop(photograph, max(4, int(min(photograph.size) * rng.uniform(0.04, 0.12))), rng)
    side = max(4, int(size * rng.uniform(0.02, 0.1)))
    tile = np.asarray(part.resize((side, side), Image.Resampling.BICUBIC))
    tile = np.concatenate([tile, tile[:, ::-1]], 1)
    tile = np.concatenate([tile, tile[::-1]], 0)
    times = -(-size // (2 * side))
    return Image.fromarray(np.tile(tile, (times, times, 1))[:size, :size])
