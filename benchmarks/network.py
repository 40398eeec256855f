"""The network that the benchmark's files are built of: a bundle's weights, real images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from export.bundle_parts import OpenedBundle
from mobilemod.data.imagefolder import read_split
from mobilemod.manifest import Bundle
from mobilemod.networks.family import Variant
from mobilemod.networks.registry import module_of, network
from mobilemod.training.images import load_images
from quantization.calibration import weights_digest


@dataclass(frozen=True)
class CalibratedNetwork:
    """A network to build files of, with what they are calibrated on.

    state: the published parameters, float32. images: calibration images, float32 (N, 3, S, S),
    normalized. mean, std: their normalization, for a tool that undoes or repeats it.
    """

    variant: Variant
    num_classes: int
    state: dict[str, Tensor]
    images: np.ndarray
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def module(self) -> str:
        """The module of this repository that makes the network."""
        return module_of(self.variant)

    def published(self) -> nn.Module:
        """The published form, in eval mode."""
        return network(self.variant, self.num_classes, self.state)

    def mobile(self) -> nn.Module:
        """The mobile form with no kernel split, in eval mode."""
        from export.targets.base import FORMS
        from mobilemod.forms.mobile import build_mobile

        return build_mobile(self.published(), FORMS["coreml"])

    def sample(self) -> tuple[Tensor]:
        """The example input for tracing: one image, float32 (1, 3, S, S)."""
        return (torch.from_numpy(self.images[:1]),)

    def batches(self) -> list[Tensor]:
        """The calibration images one by one, float32 (1, 3, S, S)."""
        return [torch.from_numpy(x[None]) for x in self.images]

    def digest(self) -> str:
        """sha256 of all that decides a file of this network."""
        h = hashlib.sha256()
        h.update(f"{self.variant} {self.num_classes} {self.mean} {self.std}".encode())
        h.update(weights_digest(self.state).encode())
        h.update(np.ascontiguousarray(self.images).tobytes())
        return h.hexdigest()


def bundle_network(bundle: Bundle, data: Path, images: int) -> CalibratedNetwork:
    """The network of a bundle, to be calibrated on `images` of `data`'s training images."""
    preprocess, model = bundle.preprocess, OpenedBundle(bundle).reference
    return CalibratedNetwork(
        model.variant,
        model.num_classes,
        model.state_dict(),
        _read(bundle, data, "train", images),
        preprocess.mean,
        preprocess.std,
    )


def test_images(bundle: Bundle, data: Path, count: int) -> np.ndarray:
    """`count` of `data`'s validation images, float32 (N, 3, S, S), normalized."""
    return _read(bundle, data, "val", count)


def _read(bundle: Bundle, data: Path, split: str, count: int) -> np.ndarray:
    folder = read_split(data, split, bundle.label_ids, bundle.manifest.num_classes).spread(count)
    images = load_images(folder, f"reading {split}", bundle.preprocess)
    return bundle.preprocess.normalize(images.pixels)
