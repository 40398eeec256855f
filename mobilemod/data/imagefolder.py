"""A folder with one sub-folder of images per class (the ImageFolder layout)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from mobilemod.data.classes import class_index
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError

IMAGE_SUFFIXES = {".jpeg", ".jpg", ".png", ".webp", ".bmp"}
MAX_DAMAGED = 0.01


@cache
def imagenet_synsets() -> dict[str, tuple[int, str]]:
    """WordNet id -> (ImageNet-1K index, label), 1,000 entries.

    Source: the ILSVRC 2012 synset list, whose index is the rank of the sorted ids.
    """
    text = resources.files("mobilemod.data").joinpath("imagenet_synsets.tsv").read_text("utf-8")
    rows = (line.split("\t") for line in text.splitlines())
    return {wnid: (index, label) for index, (wnid, label) in enumerate(rows)}


@dataclass(frozen=True)
class Sample:
    """One image file and the index of its class in the model's output."""

    path: Path
    target: int


@dataclass(frozen=True)
class ImageFolder:
    """The samples of `root`, sorted by class and file name."""

    root: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]

    @property
    def targets(self) -> np.ndarray:
        """int64 (N,)."""
        return np.array([s.target for s in self.samples], np.int64)

    def name(self, index: int) -> str:
        """A sample's path below `root`, the same on every system: "n01440764/a.jpg"."""
        return self.samples[index].path.relative_to(self.root).as_posix()

    def subset(self, indices: list[int]) -> ImageFolder:
        """The same folder with only these samples, in this order."""
        return ImageFolder(self.root, self.classes, tuple(self.samples[i] for i in indices))

    def spread(self, count: int) -> ImageFolder:
        """`count` samples evenly spaced over the sorted list: every class, the same each time."""
        total = len(self.samples)
        if count >= total:
            return self
        return self.subset([int(i) for i in np.linspace(0, total - 1, count).round()])

    def digest(self) -> str:
        """sha256 over the names, targets and bytes of all samples."""
        h = hashlib.sha256()
        for s in self.samples:
            h.update(f"{s.path.relative_to(self.root)}\0{s.target}\0".encode())
            h.update(hashlib.sha256(s.path.read_bytes()).digest())
        return h.hexdigest()


def split_dir(data: Path, split: str) -> Path:
    """`data/split` where it exists (train/val layout), else `data` itself."""
    if not data.is_dir():
        raise UserError(
            f"no data folder at {data}; give DATA=/path (or MOBILEMOD_DATA), or run 'make data'"
        )
    return data / split if (data / split).is_dir() else data


def required_classes(ids: tuple[str, ...]) -> tuple[str, ...] | None:
    """The class folders that a model with these label ids demands of a data set.

    None where its labels are ImageNet's, whose subsets are welcome, or only numbers.
    """
    if ids == tuple(imagenet_synsets()) or ids == tuple(map(str, range(len(ids)))):
        return None
    return ids


def read_split(data: Path, split: str, label_ids: tuple[str, ...], num_classes: int) -> ImageFolder:
    """A split of `data` for a model with these label ids; raises `UserError` as `read_folder`."""
    return read_folder(split_dir(data, split), required_classes(label_ids), num_classes)


def read_folder(
    root: Path, labels: tuple[str, ...] | None = None, num_classes: int | None = None
) -> ImageFolder:
    """List the images under `root` and give each the model's class index.

    `labels`: the class folder names the model was trained on, in output order; every one must be
    there. Without it, one of 1,000 classes takes ImageNet's (WordNet id, index or label, see
    `class_index`), and a model of `num_classes` equal to the number of folders their sorted order.
    Raises `UserError` for an empty folder, a missing class, and a name that isn't ImageNet's.
    """
    if not root.is_dir():
        raise UserError(f"no such data folder: {root}")
    classes = tuple(sorted(p.name for p in root.iterdir() if p.is_dir()))
    if not classes:
        raise UserError(f"{root} holds no class folders; expected {root}/<class>/<image>.jpg")
    index = _class_index(root, classes, labels, num_classes)
    samples = []
    for name in classes:
        files = sorted(p for p in (root / name).iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise UserError(f"class folder {root / name} holds no images ({_suffixes()})")
        samples += [Sample(p, index[name]) for p in files]
    return ImageFolder(root, classes, tuple(samples))


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))


def _class_index(
    root: Path, classes: tuple[str, ...], labels: tuple[str, ...] | None, num_classes: int | None
) -> dict[str, int]:
    if labels is not None:
        missing = [name for name in labels if name not in classes]
        extra = [name for name in classes if name not in labels]
        if missing:
            raise UserError(
                f"{root} lacks the class folder {missing[0]!r} "
                f"({len(missing)} of the model's {len(labels)} classes missing)"
            )
        if extra:
            raise UserError(f"{root} has a class the model doesn't know: {extra[0]!r}")
        return {name: i for i, name in enumerate(labels)}
    if num_classes == 1000:
        synsets = imagenet_synsets()
        return class_index(root, classes, tuple(synsets), [label for _, label in synsets.values()])
    if num_classes is None or num_classes == len(classes):
        return {name: i for i, name in enumerate(classes)}
    raise UserError(
        f"{root} has {len(classes)} class folders, the model {num_classes} classes; "
        "they must be equal (or the model ImageNet's, with folders named by WordNet id)"
    )


@dataclass
class Damage:
    """Images that could not be read; more than `MAX_DAMAGED` of the set is an error."""

    total: int
    files: list[str] = field(default_factory=list)

    def add(self, path: Path, error: Exception) -> None:
        self.files.append(str(path))
        if len(self.files) > MAX_DAMAGED * self.total:
            raise UserError(
                f"{len(self.files)} of {self.total} images can't be read (more than 1 %), "
                f"first {self.files[0]}: {str(error).splitlines()[0] if str(error) else error!r}"
            )


def load_pixels(path: Path, preprocess: Preprocess) -> np.ndarray:
    """uint8 (size, size, 3) of one file; `OSError` or `ValueError` when it is damaged."""
    with Image.open(path) as image:
        image.load()
        return preprocess.pixels(image)


def iter_pixels(
    folder: ImageFolder, preprocess: Preprocess, damage: Damage
) -> Iterator[tuple[int, np.ndarray]]:
    """(sample index, uint8 (size, size, 3)) of every readable image; the rest go to `damage`."""
    for i, sample in enumerate(folder.samples):
        try:
            yield i, load_pixels(sample.path, preprocess)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            damage.add(sample.path, error)


def read_batch(
    folder: ImageFolder, preprocess: Preprocess
) -> tuple[list[int], list[np.ndarray], list[str]]:
    """Sample indices, uint8 (size, size, 3) images, and the files that were damaged.

    However many those are: whoever joins the batches of a set judges that.
    """
    damage = Damage(10**9)
    found = list(iter_pixels(folder, preprocess, damage))
    return [i for i, _ in found], [pixels for _, pixels in found], damage.files
