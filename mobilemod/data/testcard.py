"""A drawn image for self-tests where no photograph is at hand."""

from __future__ import annotations

import numpy as np


def draw_card(height: int, width: int | None = None) -> np.ndarray:
    """Red grows to the right, green downwards, blue in stripes; uint8 (height, width, 3).

    The three differ everywhere, so that a swapped channel order or a transposed image shows. width:
    None for a square.
    """
    red, green = np.meshgrid(*(np.linspace(0, 255, side) for side in (width or height, height)))
    blue = 127.5 + 127.5 * np.sin((red + green) / 16)
    return np.stack([red, green, blue], -1).round().astype(np.uint8)
