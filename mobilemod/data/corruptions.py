"""Corruptions of a preprocessed image: blur, noise, JPEG, brightness and contrast.

Kinds and strengths are those of ImageNet-C at its levels 1, 3 and 5: Hendrycks and Dietterich,
"Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019,
arXiv 1903.12261. The code is this project's own, so that single pixels differ from that data set.

A corruption takes uint8 (H, W, 3) RGB, the network's input before it is normalized, and gives the
same. It is a function of the image, its name, the kind and the strength alone.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mobilemod.errors import UserError, unknown

STRENGTHS = (1, 3, 5)
# ImageNet-C's images have this many pixels a side; a blur is as wide in relation to the image.
NORMAL_SIZE = 224
# A Gaussian is cut off at so many standard deviations: 6e-5 of its weight lies outside.
BLUR_REACH = 4.0


def gaussian_blur(pixels: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Convolve with a Gaussian of `sigma` pixels (at a shorter side of 224); edges are repeated."""
    sigma = sigma * min(pixels.shape[:2]) / NORMAL_SIZE
    reach = max(1, int(BLUR_REACH * sigma + 0.5))
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    x = pixels.astype(np.float32)
    for _ in ("down", "across"):
        padded = np.pad(x, ((reach, reach), (0, 0), (0, 0)), mode="edge")
        x = sum(w * padded[i : i + len(x)] for i, w in enumerate(kernel)).swapaxes(0, 1)
    return _pixels(x)


def gaussian_noise(pixels: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Add independent noise of this standard deviation, in parts of the range 0..255."""
    noise = rng.standard_normal(pixels.shape, np.float32)
    return _pixels(pixels + np.float32(255 * deviation) * noise)


def jpeg(pixels: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    """Compress as JPEG of this quality (Pillow's scale, 4:2:0) and decompress."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=int(quality))
    with Image.open(buffer) as image:
        return np.array(image.convert("RGB"))


def brightness(pixels: np.ndarray, change: float, rng: np.random.Generator) -> np.ndarray:
    """Add to the value of hue, saturation and value, in parts of its range.

    The value is the largest of the three colours; with hue and saturation kept, all three grow by
    the same factor. Black has no hue: it becomes grey.
    """
    x = pixels.astype(np.float32)
    value = x.max(-1, keepdims=True)
    raised = np.clip(value + np.float32(255 * change), 0, 255)
    grey = np.broadcast_to(raised, x.shape)
    return _pixels(np.divide(x * raised, value, out=grey.copy(), where=value > 0))


def contrast(pixels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Keep this share of every pixel's distance to its colour's mean over the image."""
    x = pixels.astype(np.float32)
    mean = x.mean((0, 1), dtype=np.float64).astype(np.float32)
    return _pixels(mean + np.float32(share) * (x - mean))


def _pixels(x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8, order="C")


@dataclass(frozen=True)
class Corruption:
    """One kind. levels: its parameter at each of `STRENGTHS`, in the function's own unit."""

    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    levels: tuple[float, float, float]
    unit: str


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian blur": Corruption(gaussian_blur, (1.0, 3.0, 6.0), "sigma, pixels at 224 a side"),
    "gaussian noise": Corruption(gaussian_noise, (0.08, 0.18, 0.38), "deviation, of 0..1"),
    "jpeg": Corruption(jpeg, (25, 15, 7), "quality"),
    "brightness": Corruption(brightness, (0.1, 0.3, 0.5), "added to the value, of 0..1"),
    "contrast": Corruption(contrast, (0.4, 0.2, 0.05), "share kept"),
}


@dataclass(frozen=True)
class Condition:
    """A corruption at a strength of `STRENGTHS`; `UserError` for an unknown one."""

    corruption: str
    strength: int

    def __post_init__(self) -> None:
        if self.corruption not in CORRUPTIONS:
            raise unknown("corruption", self.corruption, CORRUPTIONS)
        if self.strength not in STRENGTHS:
            raise UserError(f"strength {self.strength} is not one of {STRENGTHS}")

    @property
    def level(self) -> float:
        """The corruption's parameter."""
        return CORRUPTIONS[self.corruption].levels[STRENGTHS.index(self.strength)]

    def __call__(self, pixels: np.ndarray, name: str) -> np.ndarray:
        """uint8 (H, W, 3) corrupted; name: the image's, which seeds the noise.

        The noise of one image is the same at every strength, but for its size.
        """
        seed = hashlib.sha256(f"{self.corruption}\0{name}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(seed[:16], "big"))
        return CORRUPTIONS[self.corruption].apply(pixels, self.level, rng)


CONDITIONS = tuple(Condition(name, s) for name in CORRUPTIONS for s in STRENGTHS)
