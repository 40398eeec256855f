"""Training and validation images in memory, and the batches that are made of them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mobilemod.data.imagefolder import Damage, ImageFolder, iter_pixels
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.progress import progress
from mobilemod.training.augment import Augmentation, augment, to_batch

SOURCE_SIZE = 224
SOURCE = Preprocess(size=SOURCE_SIZE, crop_fraction=1.0)
PREFETCH_BATCHES = 4
EVALUATION_BATCH = 32
How = TypeVar("How", contravariant=True)


@dataclass(frozen=True)
class Images:
    """A decoded set: uint8 (N, S, S, 3) and int64 (N,). damaged: images that were left out."""

    pixels: np.ndarray
    targets: np.ndarray
    damaged: int = 0

    def __len__(self) -> int:
        return len(self.targets)

    def subset(self, chosen: np.ndarray) -> Images:
        """These images, in this order."""
        return Images(self.pixels[chosen], self.targets[chosen], self.damaged)

    def batch(
        self, chosen: np.ndarray, size: int, how: Augmentation, rngs: Sequence[np.random.Generator]
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Those images augmented, uint8 (size, size, 3) each, and their targets."""
        drawn = zip(chosen, rngs, strict=True)
        return [augment(self.pixels[j], size, how, rng) for j, rng in drawn], self.targets[chosen]

    def measured(self, preprocess: Preprocess) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Whole images, uint8 (B, S, S, 3), and their targets."""
        for start in range(0, len(self), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            images = [preprocess.pixels(Image.fromarray(p)) for p in self.pixels[part]]
            yield np.stack(images), self.targets[part]


def load_images(folder: ImageFolder, label: str, preprocess: Preprocess = SOURCE) -> Images:
    """Decode the folder once, to `preprocess`'s size; damaged images are left out."""
    damage = Damage(len(folder.samples))
    pixels, kept = [], []
    for i, image in progress(
        iter_pixels(folder, preprocess, damage), label, len(folder.samples), "img"
    ):
        pixels.append(image)
        kept.append(i)
    return Images(np.stack(pixels), folder.targets[kept], len(damage.images))


class ImageSet(Protocol[How]):
    """Images and what is right for them, of which batches are made."""

    @property
    def damaged(self) -> int:
        """Images that were left out."""
        ...

    def __len__(self) -> int: ...

    def subset(self, chosen: np.ndarray) -> Self:
        """These images, in this order."""
        ...

    def batch(
        self, chosen: np.ndarray, size: int, how: How, rngs: Sequence[np.random.Generator]
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Those images, changed at random, uint8 (size, size, 3) each, and their targets.

        rngs: one an image.
        """
        ...

    def measured(self, preprocess: Preprocess) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All images as they are measured, uint8 (B, H, W, 3), and their targets, in batches."""
        ...


@dataclass(frozen=True)
class Batches(Generic[How]):
    """The batches of every epoch, the same in every run with the same values.

    preprocess: its mean and standard deviation normalize them. share: the part of each batch that
    is made, see `mobilemod.training.processes`.
    """

    images: ImageSet[How]
    batch_size: int
    seed: int
    augmentation: How
    preprocess: Preprocess = SOURCE
    share: Callable[[np.ndarray], np.ndarray] = lambda places: places

    def __post_init__(self) -> None:
        if self.per_epoch < 1:
            raise UserError(
                f"{len(self.images)} training images make no batch of {self.batch_size}; "
                "give a smaller --batch-size"
            )

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch; a rest too small for one is left out."""
        return len(self.images) // self.batch_size

    def epoch(self, epoch: int, size: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Augmented images (B, 3, size, size) and targets (B, …), from batch `first` on.

        They are made in threads, `PREFETCH_BATCHES` ahead.
        """
        order = np.random.default_rng([self.seed, epoch, 0]).permutation(len(self.images))
        mean, std = np.float32(self.preprocess.mean), np.float32(self.preprocess.std)

        def make(i: int) -> tuple[Tensor, Tensor]:
            places = i * self.batch_size + self.share(np.arange(self.batch_size))
            rngs = [np.random.default_rng([self.seed, epoch, 2, int(k)]) for k in places]
            images, targets = self.images.batch(order[places], size, self.augmentation, rngs)
            return to_batch(images, mean, std), torch.from_numpy(targets)

        workers = max(1, min(8, (os.cpu_count() or 2) - 1))
        todo = iter(range(first, self.per_epoch))
        with ThreadPoolExecutor(workers) as pool:
            pending = [pool.submit(make, i) for i in itertools.islice(todo, PREFETCH_BATCHES)]
            while pending:
                yield pending.pop(0).result()
                pending += [pool.submit(make, i) for i in itertools.islice(todo, 1)]


@torch.no_grad()
def predict(
    model: nn.Module, pixels: Iterable[np.ndarray], preprocess: Preprocess, device: str = "cpu"
) -> np.ndarray:
    """Outputs, float32 (N, K), of batches of uint8 (B, S, S, 3) images."""
    outputs = []
    for batch in pixels:
        x = torch.from_numpy(preprocess.normalize(batch))
        x = x.to(device, memory_format=torch.channels_last)
        outputs.append(model(x).float().cpu().numpy())
    return np.concatenate(outputs)
