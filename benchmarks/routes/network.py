"""The network that the benchmark's files are built of: a bundle's weights, real images."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from export.source import open_source
from mobilemod.data.imagefolder import Damage, iter_pixels
from mobilemod.errors import UserError
from mobilemod.forms.canonical import Canonical, canonical_form
from mobilemod.forms.mobile_ops import PLAIN_FORM
from mobilemod.manifest import Bundle
from mobilemod.networks.family import Variant
from mobilemod.networks.registry import module_of, network
from mobilemod.progress import progress
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

    def canonical(self) -> Canonical:
        """The canonical form for images of the size of `images`."""
        return canonical_form(self.published(), self.images.shape[1:])

    def mobile(self) -> nn.Module:
        """The mobile form with no kernel split, in eval mode."""
        return self.canonical().form(PLAIN_FORM)

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


def bundle_network(
    bundle: Bundle, data: Path, images: int, checkpoint: Path | None = None
) -> CalibratedNetwork:
    """The network of a bundle, to be calibrated on `images` of `data`'s training images.

    A bundle holds its canonical form alone: the published one is made of `checkpoint`, None for
    the one that comes with the project; `UserError` where the bundle was made of other weights.
    """
    preprocess, manifest = bundle.preprocess, bundle.manifest
    source = open_source(manifest.model, checkpoint, None, size=preprocess.size)
    if source.weights != manifest.checkpoint.weights:
        raise UserError(
            f"{bundle.folder} was made of other weights than {source.checkpoint}; give the "
            f"checkpoint that it was made of ({manifest.checkpoint.file}) by --checkpoint"
        )
    model = source.module
    return CalibratedNetwork(
        model.variant,
        model.num_classes,
        model.state_dict(),
        _read(bundle, data, "train", images),
        preprocess.mean,
        preprocess.std,
    )


def checkpoint_option(parser: argparse.ArgumentParser) -> None:
    """`--checkpoint` of the commands that need the published network of a bundle."""
    parser.add_argument(
        "--checkpoint", type=Path, help="of the bundle, where it isn't the one that comes with it"
    )


def test_images(bundle: Bundle, data: Path, count: int) -> np.ndarray:
    """`count` of `data`'s validation images, float32 (N, 3, S, S), normalized."""
    return _read(bundle, data, "val", count)


def _read(bundle: Bundle, data: Path, split: str, count: int) -> np.ndarray:
    folder = bundle.read(data, split).spread(count)
    found = iter_pixels(folder, bundle.preprocess, Damage(len(folder.samples)))
    pixels = [p for _, p in progress(found, f"reading {split}", len(folder.samples), "img")]
    return bundle.preprocess.normalize(np.stack(pixels))
