"""Training images: decoded once, then random resized crops, flips, jitter, mixup and cutmix."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mobilemod.training.config import TrainConfig


class Augmentation(Protocol):
    """How much images are changed: share of the area that a crop keeps, strength of the jitter,
    how often a part is erased."""

    crop_scale: tuple[float, float]
    color_jitter: float
    erase_probability: float


def random_resized_crop(
    pixels: np.ndarray, size: int, scale: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """A crop of `scale` of the area and aspect 3/4..4/3, resized; uint8 HWC in and out.

    Source: Szegedy et al., 2015 (Inception's training crop).
    """
    height, width = pixels.shape[:2]
    box = (0.0, 0.0, float(width), float(height))
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if w <= width and h <= height:
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            box = (left, top, left + w, top + h)
            break
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image)


def color_jitter(pixels: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Random brightness, contrast and saturation by up to `amount` of each; uint8 HWC."""
    if amount == 0:
        return pixels
    b, c, s = rng.uniform(1 - amount, 1 + amount, 3).astype(np.float32)
    x = pixels.astype(np.float32) * b
    x = (x - x.mean()) * c + x.mean()
    grey = x.mean(axis=2, keepdims=True)
    return np.clip((x - grey) * s + grey, 0, 255).astype(np.uint8)


def erase(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A rectangle of 2 to 25 % of the area, aspect 0.3 to 3.3, as noise; uint8 HWC.

    Source: Zhong et al., "Random Erasing Data Augmentation", 2020.
    """
    height, width = pixels.shape[:2]
    area = height * width * rng.uniform(0.02, 0.25)
    aspect = math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
    h = min(height, max(1, round(math.sqrt(area * aspect))))
    w = min(width, max(1, round(math.sqrt(area / aspect))))
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    erased = pixels.copy()
    erased[top : top + h, left : left + w] = rng.integers(0, 256, (h, w, 3), np.uint8)
    return erased


def augment(
    pixels: np.ndarray, size: int, how: Augmentation, rng: np.random.Generator
) -> np.ndarray:
    """One training image, uint8 (size, size, 3)."""
    out = random_resized_crop(pixels, size, how.crop_scale, rng)
    if rng.random() < 0.5:
        out = out[:, ::-1]
    out = color_jitter(out, how.color_jitter, rng)
    if how.erase_probability and rng.random() < how.erase_probability:
        out = erase(out, rng)
    return out


def mix(
    x: Tensor, targets: Tensor, config: TrainConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, float]:
    """Mixup (Zhang et al., 2018) or cutmix (Yun et al., 2019) of a batch with its reverse.

    Returns the images, both targets, and the weight of the first target.
    """
    other = targets.flip(0)
    if rng.random() >= config.mix_probability:
        return x, targets, other, 1.0
    if rng.random() < 0.5:
        lam = float(rng.beta(config.mixup, config.mixup))
        return x * lam + x.flip(0) * (1 - lam), targets, other, lam
    lam = float(rng.beta(config.cutmix, config.cutmix))
    height, width = x.shape[-2:]
    h, w = round(height * math.sqrt(1 - lam)), round(width * math.sqrt(1 - lam))
    top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    mixed = x.clone()
    mixed[..., top : top + h, left : left + w] = x.flip(0)[..., top : top + h, left : left + w]
    return mixed, targets, other, 1.0 - h * w / (height * width)


def to_batch(images: list[np.ndarray], mean: np.ndarray, std: np.ndarray) -> Tensor:
    """uint8 HWC images to one normalized float (B, 3, H, W) batch in channels-last memory."""
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div_(255)
    return x.sub_(torch.from_numpy(mean)[:, None, None]).div_(torch.from_numpy(std)[:, None, None])
