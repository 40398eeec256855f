"""Calibration images that can't stand for real ones are told."""

from __future__ import annotations

import numpy as np
import pytest

from quantization.calibration_doubts import FEW, doubts

REAL = np.random.default_rng(0).integers(0, 256, (FEW, 32, 32, 3), np.uint8)


def names(count: int) -> list[str]:
    """As many digests, all different."""
    return [f"{i:064x}" for i in range(count)]


def test_real_images_are_not_doubted():
    assert doubts(REAL, names(FEW)) == ()
    mixed = REAL.copy()
    mixed[: FEW // 4] = mixed[: FEW // 4, ..., :1]  # some grey ones are usual
    assert doubts(mixed, names(FEW)) == ()


@pytest.mark.parametrize(
    ("pixels", "digests", "line"),
    [
        (REAL[:1], names(1), "1 image; 32 or more"),
        (REAL[:5], names(5), "5 images; 32 or more"),
        (REAL[[0] * FEW], ["0" * 64] * FEW, "32 of 32 images are copies of one another"),
        (REAL[[0] * FEW], names(FEW), "32 of 32 images look alike"),
        (np.full_like(REAL, 128), names(FEW), "32 of 32 images are of one tone"),
        (np.repeat(REAL[..., :1], 3, -1), names(FEW), "32 of 32 images are grey"),
    ],
)
def test_odd_ones_are(pixels, digests, line):
    assert any(line in said for said in doubts(pixels, digests)), doubts(pixels, digests)
