"""Work on batches of images over worker processes, joined in the images' order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from mobilemod.data.imagefolder import (
    MAX_DAMAGED,
    Damage,
    Damaged,
    ImageFolder,
    changed,
    read_batch,
    refuse,
)
from mobilemod.data.preprocess import Preprocess
from mobilemod.files import atomic_path
from mobilemod.progress import progress

T = TypeVar("T")
# The work on one batch; it and its tasks must be picklable.
Work = Callable[["Batch", Any], T]


@dataclass(frozen=True)
class Batch:
    """Images that were read together, at least one.

    names: as `ImageFolder.name`. pixels: uint8 (H, W, 3) each.
    """

    names: list[str]
    pixels: list[np.ndarray]
    preprocess: Preprocess

    def normalized(self) -> np.ndarray:
        """float32 (B, 3, H, W)."""
        return self.preprocess.normalize(np.stack(self.pixels))


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What one task gave on one batch.

    kept: indices in the whole set of the samples that could be read. digest: of what was read,
    "" for nothing. value: None where nothing could be read.
    """

    kept: list[int]
    damaged: list[Damaged]
    digest: str
    value: T | None


@dataclass(frozen=True)
class Joined(Generic[T]):
    """What the tasks gave on a set. Batches without a readable image are in none of these.

    starts, kept: of each batch, the index of its first sample and those that could be read.
    values: by task, of each batch.
    """

    starts: list[int]
    kept: list[list[int]]
    values: list[list[T]]
    damage: Damage

    @property
    def indices(self) -> list[int]:
        """All samples that could be read."""
        return [i for kept in self.kept for i in kept]


def over_batches(
    pool: Executor,
    images: ImageFolder,
    preprocess: Preprocess,
    size: int,
    work: Work[T],
    tasks: Sequence[Any],
    label: str,
    starts: Sequence[int] | None = None,
    digests: dict[int, str] | None = None,
    most_damaged: float = MAX_DAMAGED,
) -> Joined[T]:
    """`work(batch, task)` for every task on every batch of `size` images.

    starts: the batches' first samples, all of the set without it. digests: of what earlier calls
    read, by start; filled. Raises `UserError` where more than `most_damaged` of the set can't be
    read, and where two tasks, or two calls, found other images.
    """
    total = len(images.samples)
    starts = range(0, total, size) if starts is None else starts
    digests = {} if digests is None else digests
    damaged = 0
    futures = {}
    for start in starts:
        part = images.subset(list(range(start, min(start + size, total))))
        for i, task in enumerate(tasks):
            futures[pool.submit(answer, work, task, part, start, preprocess)] = start, i
    found: dict[tuple[int, int], Answer[T]] = {}
    for future in progress(as_completed(futures), label, len(futures), f"{size} img"):
        start, i = futures[future]
        found[start, i] = result = future.result()
        if digests.setdefault(start, result.digest) != result.digest:
            raise changed(images)
        # The same images are damaged for every task.
        damaged += len(result.damaged) if i == 0 else 0
        if damaged > most_damaged * total:
            refuse(images, preprocess)
    held = [start for start in starts if digests[start]]
    return Joined(
        held,
        [found[start, 0].kept for start in held],
        [[found[start, i].value for start in held] for i in range(len(tasks))],
        Damage(total, [image for start in starts for image in found[start, 0].damaged]),
    )


def answer(
    work: Work[T], task: Any, images: ImageFolder, start: int, preprocess: Preprocess
) -> Answer[T]:
    """One task on one batch, within a worker. start: where in the set the batch begins."""
    indices, pixels, damaged = read_batch(images, preprocess)
    kept = [start + i for i in indices]
    if not pixels:
        return Answer(kept, damaged, "", None)
    read = hashlib.sha256(str(indices).encode())
    for image in pixels:
        read.update(np.ascontiguousarray(image))
    batch = Batch([images.name(i) for i in indices], pixels, preprocess)
    return Answer(kept, damaged, read.hexdigest(), work(batch, task))


def cached(
    path: Path,
    make: Callable[[], T],
    load: Callable[[Path], T] = np.load,
    save: Callable[[Any, T], None] = np.save,
) -> T:
    """What lies at `path`, else what `make` gives, which is kept there. save: (file, value)."""
    if path.exists():
        return load(path)
    value = make()
    with atomic_path(path) as temporary, temporary.open("wb") as f:
        save(f, value)
    return value
