"""Outlines of regions, and how a piece of a photograph gets its place in a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.scenes.look import LEAST_SIDE, Look

POINTS = 96
WAVES = range(2, 7)
# An outline keeps this much of half a photograph's side away from its edge, so that no pixel
# of a region lies beyond the photograph.
MARGIN = 0.04
WHOLE = 255


def outline(rng: np.random.Generator) -> np.ndarray:
    """Corners of an irregular shape around 0, float64 (N, 2); the farthest has the distance 1."""
    kind = rng.integers(4)
    angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    radii = np.ones(POINTS)
    if kind == 0:  # a polygon
        count = int(rng.integers(4, 9))
        angles = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) * 2 * np.pi / count
        radii = rng.uniform(0.75, 1.0, count)
    elif kind > 1:  # a blob; 1 is an ellipse
        for wave in WAVES:
            radii += rng.normal(0, 0.3 / wave) * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
        radii = np.maximum(radii, 0.5)
    points = np.stack([np.cos(angles), np.sin(angles)], -1) * radii[:, None]
    points[:, 1] *= rng.uniform(0.7, 1.0)
    points = points @ _turn(rng.uniform(0, 2 * np.pi))
    return points / np.linalg.norm(points, axis=1).max()


@dataclass(frozen=True)
class Cut:
    """A piece of a photograph, turned and scaled, with no place yet.

    image: the photograph in the scene's scale. centre: of the piece, in that image's pixels.
    points: its outline around that centre as the scene shows it, float64 (N, 2). turned: (2, 2),
    orthogonal, from the image's axes to the scene's.
    """

    image: Image.Image
    centre: np.ndarray
    points: np.ndarray
    turned: np.ndarray

    @classmethod
    def draw(cls, photograph: Image.Image, size: int, look: Look, rng: np.random.Generator) -> Cut:
        """From around the photograph's centre, for a scene of size x size."""
        sides = np.array(photograph.size, np.float64)
        half = sides.min() / 2
        centre = sides / 2 + rng.uniform(-0.1, 0.1, 2) * half
        points = centre + rng.uniform(*look.taken) * half * outline(rng)
        points = np.clip(points, MARGIN * half, sides - MARGIN * half) - centre
        turned = _turn(np.radians(rng.uniform(-look.turn, look.turn)))
        if rng.integers(2):
            turned = turned @ np.diag([-1.0, 1.0])
        extent = np.ptp(points @ turned.T, axis=0)
        wanted = rng.uniform(*look.side) * size
        # The border takes a pixel from either side.
        scale = max(wanted / extent.max(), (LEAST_SIDE * size + 3) / extent.min())
        target = np.maximum(np.rint(sides * scale), 1).astype(int)
        by = target / sides
        image = photograph.resize((int(target[0]), int(target[1])), Image.Resampling.BICUBIC)
        return cls(image, centre * by, points * by @ turned.T, turned)

    def mask(self, place: np.ndarray, size: int) -> Image.Image:
        """Where it lies with its centre at `place`, mode "L": `WHOLE` within, 0 outside.

        Pixels beside the outline, one to either side, have something in between.
        """
        mask = Image.new("L", (size, size))
        corners = [(float(x), float(y)) for x, y in self.points + place - 0.5]
        ImageDraw.Draw(mask).polygon(corners, fill=WHOLE)
        return mask.filter(ImageFilter.BoxBlur(1))

    def pixels(self, place: np.ndarray, size: int) -> Image.Image:
        """The photograph with its piece's centre at `place`, RGB, size x size."""
        (a, b), (c, d) = back = self.turned.T
        x, y = self.centre - back @ place
        return self.image.transform(
            (size, size),
            Image.Transform.AFFINE,
            (float(a), float(b), float(x), float(c), float(d), float(y)),
            Image.Resampling.BICUBIC,
        )


def _turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
