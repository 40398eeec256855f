"""One scene: textures, and regions of photographs on them and on each other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.scenes.look import LEAST_SIDE, Light, Look
from benchmarks.scenes.photographs import Photographs
from benchmarks.scenes.shapes import WHOLE, Cut
from benchmarks.scenes.textures import texture

BACKGROUND, IGNORED = 0, 255
# What regions on top leave of each region, of its pixels.
LEAST_VISIBLE = 0.6
PLACES = 12


@dataclass(frozen=True)
class Scene:
    """image: uint8 (size, size, 3). labels: uint8 (size, size), 0 the background, 1 + a class's
    place, 255 ignored. regions: the codes of those that are there. photographs: all that it is
    made of.
    """

    image: np.ndarray
    labels: np.ndarray
    regions: tuple[int, ...]
    photographs: tuple[Path, ...]


def scene_rng(seed: int, split: str, index: int) -> np.random.Generator:
    """A scene's own generator: none hangs on another scene."""
    digest = hashlib.sha256(f"{seed}\0{split}\0{index}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def compose(
    photographs: Photographs, seed: int, split: str, index: int, size: int, look: Look
) -> Scene:
    """Scene `index` of a split. It has a region of class `index`, modulo their number.

    A pixel with a label comes from one photograph alone; where an outline mixes two, it is ignored.
    Raises `UserError` for photographs that can't be read.
    """
    rng = scene_rng(seed, split, index)
    count = len(photographs.files)
    first = index % count
    others = [int(c) for c in rng.permutation(count) if c != first]
    canvas = _Canvas(photographs, size, look, rng)
    for _ in range(_count(rng, look.beneath)):
        canvas.add(None)
    # Before the others, where there is always a place for it.
    canvas.add(first)
    following = others[: _count(rng, look.regions) - 1] + [None] * _count(rng, look.over)
    for at in rng.permutation(len(following)):
        canvas.add(following[at])
    return canvas.scene()


class _Canvas:
    """What is composed so far. owner: which layer each pixel belongs to, -1 where two mix."""

    def __init__(
        self, photographs: Photographs, size: int, look: Look, rng: np.random.Generator
    ) -> None:
        self.photographs, self.size, self.look, self.rng = photographs, size, look, rng
        self.used: list[Path] = []
        self.image = self._texture()
        self.labels = np.full((size, size), BACKGROUND, np.uint8)
        self.owner = np.zeros((size, size), np.int16)
        # Pixels that each layer of a class had when it was laid.
        self.laid: dict[int, int] = {}
        self.layers = 0
        self.codes: list[int] = []

    def add(self, label: int | None) -> None:
        """Lay a region of a class on what is there, or a piece of texture for None.

        It is left out where no place is found that leaves enough of the others.
        """
        cut = Cut.draw(self._read(label), self.size, self.look, self.rng)
        middle = np.full(2, self.size / 2)
        places = self.rng.uniform(0.12, 0.88, (PLACES, 2)) * self.size
        for place in (*places, middle):
            mask = cut.mask(place, self.size)
            share = np.asarray(mask)
            within = share == WHOLE
            if _large_enough(within) and self._leaves_enough(share > 0):
                break
        else:
            return
        pixels = cut.pixels(place, self.size) if label is not None else self._texture()
        light = Light.draw(self.look, self.rng)
        self.image = Image.composite(light(pixels), self.image, mask)
        self.layers += 1
        code = BACKGROUND if label is None else label + 1
        between = (share > 0) & ~within
        for plane, own, mixed in ((self.labels, code, IGNORED), (self.owner, self.layers, -1)):
            plane[within], plane[between] = own, mixed
        if label is not None:
            self.laid[self.layers] = int(within.sum())
            self.codes.append(code)

    def scene(self) -> Scene:
        """All of it in one light."""
        image = np.array(Light.draw(self.look, self.rng)(self.image))
        return Scene(image, self.labels, tuple(self.codes), tuple(self.used))

    def _leaves_enough(self, covered: np.ndarray) -> bool:
        kept = np.bincount(self.owner[~covered & (self.owner > 0)], minlength=self.layers + 1)
        return all(kept[layer] >= LEAST_VISIBLE * n for layer, n in self.laid.items())

    def _read(self, label: int | None) -> Image.Image:
        path, image = self.photographs.read(self.rng, label)
        self.used.append(path)
        return image

    def _texture(self) -> Image.Image:
        return texture(self._read(None), self.size, self.look, self.rng)


def _count(rng: np.random.Generator, ends: tuple[int, int]) -> int:
    return int(rng.integers(ends[0], ends[1] + 1))


def _large_enough(within: np.ndarray) -> bool:
    """Whether what the frame leaves of a region is `LEAST_SIDE` wide and high."""
    least = LEAST_SIDE * within.shape[0]
    return all(
        along.any() and np.ptp(np.flatnonzero(along)) + 1 >= least
        for along in (within.any(0), within.any(1))
    )
