"""Whether calibration images can stand for real ones: what is odd about them, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

# Under so many images a range is one image's.
FEW = 32
# 8-bit steps, standard deviation over an image and its channels: a picture of one tone.
FLAT = 4.0
# 8-bit steps, mean difference of an image from the mean of all: the same picture again.
ALIKE = 2.0
# 8-bit steps between the channels of a pixel, in the mean.
GREY = 1.0
MOST = 0.5


def doubts(pixels: np.ndarray, digests: Sequence[str]) -> tuple[str, ...]:
    """Lines for people, none where nothing is odd.

    pixels: uint8 (N, H, W, 3), as the network sees them. digests: of the files' bytes.
    """
    count = len(pixels)
    found = []
    if count < FEW:
        plural = "s"[: count != 1]
        found.append(
            f"{count} image{plural}; {FEW} or more of what the network will see are wanted"
        )
    repeated = sum(n for n in Counter(digests).values() if n > 1)
    if repeated > MOST * count:
        found.append(f"{repeated} of {count} images are copies of one another")
    small = pixels[:, ::4, ::4].astype(np.float32)
    apart = np.abs(small - small.mean(0)).mean((1, 2, 3))
    if count > 1 and (apart < ALIKE).mean() > MOST:
        found.append(f"{(apart < ALIKE).sum()} of {count} images look alike")
    flat = small.std((1, 2, 3)) < FLAT
    if flat.mean() > MOST:
        found.append(f"{flat.sum()} of {count} images are of one tone")
    grey = (small.max(-1) - small.min(-1)).mean((1, 2)) < GREY
    if (grey & ~flat).mean() > MOST:
        found.append(f"{(grey & ~flat).sum()} of {count} images are grey: colours weren't seen")
    return tuple(f"{line}; int8's ranges may not fit real images" for line in found)
