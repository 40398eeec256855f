"""What scenes may look like: how many regions, how large, in which light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

Range = tuple[float, float]
# A region's shorter side, of the scene's: 72 pixels of 256.
LEAST_SIDE = 72 / 256


@dataclass(frozen=True)
class Look:
    """Ranges that each scene draws from.

    regions: of a class, per scene. side: a region's longer side, of the scene's. taken: how much of
    a photograph an outline takes, of half its shorter side. turn: degrees to either side. gain,
    gamma, colour: light, see `Light`. grain: deviation of a texture's noise, in steps of 0..255.
    beneath, over: pieces of texture, below the regions and among them.
    """

    regions: tuple[int, int] = (1, 3)
    side: Range = (0.5, 0.95)
    taken: Range = (0.9, 1.2)
    turn: float = 10.0
    gain: Range = (0.8, 1.25)
    gamma: Range = (0.8, 1.25)
    colour: Range = (0.93, 1.07)
    grain: Range = (0.0, 10.0)
    beneath: tuple[int, int] = (0, 2)
    over: tuple[int, int] = (0, 1)


@dataclass(frozen=True)
class Light:
    """A pixel's value v of 0..1 becomes gain · colour · v^gamma; colour: red, green, blue."""

    gain: float
    gamma: float
    colour: tuple[float, float, float]

    @classmethod
    def draw(cls, look: Look, rng: np.random.Generator) -> Light:
        """Brighter as often as darker by the same factor."""
        gain, gamma, *colour = (
            _between(rng, r) for r in (look.gain, look.gamma, *(look.colour,) * 3)
        )
        return cls(gain, gamma, (colour[0], colour[1], colour[2]))

    def __call__(self, image: Image.Image) -> Image.Image:
        """An RGB image in this light."""
        ramp = (np.arange(256) / 255) ** self.gamma * self.gain * 255
        tables = np.clip(np.rint(np.outer(self.colour, ramp)), 0, 255)
        return image.point([int(v) for v in tables.ravel()])


def _between(rng: np.random.Generator, ends: Range) -> float:
    return float(np.exp(rng.uniform(*np.log(ends))))
