"""Draws the app icon: `python apps/ios/check/icon.py` writes it into the asset catalog.

A grid of cells as a network sees a picture, coarse and fine. Needs Pillow.
"""

from __future__ import annotations

import struct
from pathlib import Path

SIDE = 1024
ICONS = Path(__file__).resolve().parents[1] / "App/Sources/Assets.xcassets/AppIcon.appiconset"
# What an opaque 8-bit RGB PNG of this size begins with.
PNG_HEAD = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBB", 13, b"IHDR", SIDE, SIDE, 8, 2)
BACKGROUND, DARK, LIGHT = (18, 32, 58), (38, 96, 164), (120, 214, 198)


def main() -> None:
    """Write AppIcon.png, RGB of 1024 x 1024."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (SIDE, SIDE), BACKGROUND)
    draw = ImageDraw.Draw(image)
    margin, cell = 160, 88
    for row in range(8):
        for column in range(8):
            x, y = margin + column * cell, margin + row * cell
            near = 1 - min(1.0, ((column - 3.5) ** 2 + (row - 3.5) ** 2) ** 0.5 / 5)
            colour = tuple(round(a + (b - a) * near) for a, b in zip(DARK, LIGHT, strict=True))
            gap = 6 + round(26 * (1 - near))
            box = (x + gap, y + gap, x + cell - gap, y + cell - gap)
            draw.rounded_rectangle(box, radius=12, fill=colour)
    image.save(ICONS / "AppIcon.png", optimize=True)


if __name__ == "__main__":
    main()
