"""The photographs that scenes are made of: those of one split for its scenes alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilemod.data.dataset import MEASURED, TRAIN, DataSet
from mobilemod.data.image_file import DamagedImage, read_image
from mobilemod.data.imagefolder import FileContent, ImageFolder, class_names, read_folder
from mobilemod.data.resample import Upright
from mobilemod.errors import UserError, shown
from mobilemod.progress import working

SPLITS = (TRAIN, MEASURED)
# Label codes are bytes, the background's and the ignored one among them.
MAX_CLASSES = 254
LEAST_PIXELS = 64
ATTEMPTS = 8


@dataclass(frozen=True)
class Photographs:
    """Files of each class, in one order everywhere."""

    files: tuple[tuple[Path, ...], ...]

    def read(self, rng: np.random.Generator, label: int | None = None) -> tuple[Path, Image.Image]:
        """A photograph of a class, or of any; RGB, upright.

        Those that can't be read, or are smaller than `LEAST_PIXELS`, are passed over. Raises
        `UserError` after `ATTEMPTS` of them.
        """
        for _ in range(ATTEMPTS):
            files = self.files[rng.integers(len(self.files)) if label is None else label]
            path = files[rng.integers(len(files))]
            try:
                return path, read_image(path, _whole)
            except DamagedImage as error:
                last = error
        raise UserError(
            f"{shown(path)}: {last}; {ATTEMPTS} photographs that scenes should be made of can't be "
            "read: mend or remove them"
        )


def _whole(image: Image.Image) -> Image.Image:
    upright = Upright(image)
    if min(upright.size) < LEAST_PIXELS:
        wide, high = upright.size
        raise DamagedImage("too small", f"{wide} x {high} pixels; at least {LEAST_PIXELS} a side")
    return upright.part(0, 0, *upright.size)


@dataclass(frozen=True)
class Sources:
    """Photographs by split. names: the classes'. facts: by split, for the record."""

    names: tuple[str, ...]
    photographs: dict[str, Photographs]
    facts: dict[str, dict[str, Any]]


def read_sources(data: Path) -> Sources:
    """Both splits of `data`; of val without the photographs whose bytes train has too.

    Raises `UserError` where a split or a class is missing, or nothing is left of one.
    """
    folders = {split: read_folder(DataSet(data).folder(split)) for split in SPLITS}
    train, val = folders[TRAIN], folders[MEASURED]
    if train.root == val.root:
        raise UserError(f"{shown(data)} has no folders {TRAIN} and {MEASURED}; scenes need both")
    if missing := sorted(set(train.classes) ^ set(val.classes)):
        raise UserError(f"{shown(data)}: only one of {' and '.join(SPLITS)} has {missing[0]!r}")
    if len(train.classes) > MAX_CLASSES:
        raise UserError(
            f"{shown(data)} has {len(train.classes)} classes; labels of a byte hold {MAX_CLASSES}"
        )
    with working("looking which photographs both splits have"):
        seen: set[FileContent] = set(train.contents())
        unseen = [i for i in range(len(val.samples)) if not seen & set(val.subset([i]).contents())]
        found = {TRAIN: train, MEASURED: val.subset(unseen)}
        facts = {split: _facts(folder) for split, folder in found.items()}
    facts[MEASURED]["left_out_as_in_train"] = len(val.samples) - len(unseen)
    names = tuple(c["label"] for c in class_names(train.classes))
    return Sources(names, {split: _by_class(folder) for split, folder in found.items()}, facts)


def _facts(folder: ImageFolder) -> dict[str, Any]:
    return {"photographs": len(folder.samples), "sha256": folder.digest()}


def _by_class(folder: ImageFolder) -> Photographs:
    files: list[list[Path]] = [[] for _ in folder.classes]
    for sample in folder.samples:
        files[sample.target or 0].append(sample.path)
    for name, own in zip(folder.classes, files, strict=True):
        if not own:
            raise UserError(
                f"{shown(folder.root / name)} holds no photograph that {TRAIN} doesn't have too"
            )
    return Photographs(tuple(map(tuple, files)))
