"""A folder with one sub-folder of images per class (the ImageFolder layout)."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mobilemod.data.classes import ClassNames, class_index
from mobilemod.data.dataset import DataSet
from mobilemod.data.image_file import IMAGE_SUFFIXES, DamagedImage, read_image
from mobilemod.data.listing import class_folders, left_out_text, list_images, say_left_out
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError, shown
from mobilemod.files import file_sha256
from mobilemod.progress import progress

MAX_DAMAGED = 0.01
# Size in bytes and sha256 of an image file.
FileContent = tuple[int, str]


@cache
def imagenet_synsets() -> dict[str, tuple[int, str]]:
    """WordNet id -> (ImageNet-1K index, label), 1,000 entries.

    Source: the ILSVRC 2012 synset list, whose index is the rank of the sorted ids.
    """
    text = resources.files("mobilemod.data").joinpath("imagenet_synsets.tsv").read_text("utf-8")
    rows = (line.split("\t") for line in text.splitlines())
    return {wnid: (index, label) for index, (wnid, label) in enumerate(rows)}


def class_names(ids: Iterable[str]) -> tuple[dict[str, str], ...]:
    """Each with `id` and `label`: ImageNet's for its WordNet ids, else the id itself."""
    synsets = imagenet_synsets()
    return tuple({"id": i, "label": synsets[i][1] if i in synsets else i} for i in ids)


@dataclass(frozen=True)
class Sample:
    """One image file and the index of its class in the model's output.

    target: None where a task finds what is right elsewhere.
    """

    path: Path
    target: int | None


@dataclass(frozen=True)
class ImageFolder:
    """The samples of `root`, sorted by class and file name.

    left_out: how many files are there that aren't read, by kind (".heic"). split: its name.
    """

    root: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    left_out: dict[str, int] = field(default_factory=dict, compare=False)
    split: str = field(default="", compare=False)

    @property
    def targets(self) -> np.ndarray:
        """int64 (N,)."""
        return np.array([s.target for s in self.samples], np.int64)

    def name(self, index: int) -> str:
        """A sample's path below `root`, the same on every system: "n01440764/a.jpg".

        As `shown` writes it: text that any record can hold.
        """
        return shown(self.samples[index].path.relative_to(self.root).as_posix())

    def subset(self, indices: list[int]) -> ImageFolder:
        """The same folder with only these samples, in this order."""
        samples = tuple(self.samples[i] for i in indices)
        return dataclasses.replace(self, samples=samples)

    def spread(self, count: int) -> ImageFolder:
        """`count` samples evenly spaced over the sorted list: every class, the same each time."""
        total = len(self.samples)
        if count >= total:
            return self
        return self.subset([int(i) for i in np.linspace(0, total - 1, count).round()])

    def contents(self) -> tuple[FileContent, ...]:
        """Of every sample that can be read: its size in bytes and the sha256 of its bytes."""
        found = []
        for sample in self.samples:
            with contextlib.suppress(OSError):
                found.append((sample.path.stat().st_size, file_sha256(sample.path)))
        return tuple(found)

    def about(self, calibrated: Sequence[FileContent]) -> dict[str, Any]:
        """What was measured, for records.

        calibrated: `contents` of the images that ranges were observed on; () where not known.
        """
        return {
            "folder": shown(self.root),
            "split": self.split,
            "calibrated_on": self._among(calibrated) if calibrated else None,
        }

    def _among(self, contents: Sequence[FileContent]) -> int:
        """How many samples have the bytes of one of `contents`."""
        sizes, digests = {size for size, _ in contents}, {digest for _, digest in contents}
        count = 0
        for sample in self.samples:
            with contextlib.suppress(OSError):
                same_size = sample.path.stat().st_size in sizes
                count += same_size and file_sha256(sample.path) in digests
        return count

    def digest(self) -> str:
        """sha256 over the names, targets and bytes of all samples; a file that can't be read has
        none."""
        h = hashlib.sha256()
        for i, s in enumerate(self.samples):
            h.update(f"{self.name(i)}\0{s.target}\0".encode())
            try:
                h.update(bytes.fromhex(file_sha256(s.path)))
            except OSError:
                h.update(b"unreadable")
        return h.hexdigest()


def required_classes(ids: tuple[str, ...]) -> tuple[str, ...] | None:
    """The class folders that a model with these label ids demands of a data set.

    None where its labels are ImageNet's, whose subsets are welcome, or only numbers.
    """
    if ids == tuple(imagenet_synsets()) or ids == tuple(map(str, range(len(ids)))):
        return None
    return ids


def read_split(
    data: Path | DataSet, split: str, label_ids: tuple[str, ...], num_classes: int
) -> ImageFolder:
    """A split of `data` for a model with these label ids; raises `UserError` as `read_folder`.

    split: "train", or "val" for the one that is measured. label_ids: () where the images count,
    not what is on them; targets then mean nothing.
    """
    data = DataSet.of(data)
    root = data.folder(split)
    outputs = num_classes if label_ids else None
    folder = read_folder(root, required_classes(label_ids), outputs, data.classes)
    return dataclasses.replace(folder, split=split if root == data.root else root.name)


def read_folder(
    root: Path,
    labels: tuple[str, ...] | None = None,
    num_classes: int | None = None,
    given: ClassNames | None = None,
) -> ImageFolder:
    """List the images under `root` and give each the model's class index.

    `labels`: the label ids that the model was trained on, in output order; every one must be there.
    Without it, a model of 1,000 classes is ImageNet's, and one of another number has no names, so
    that folders are its indices; without either, the folders in sorted order are the classes. How a
    folder is known by its name, or by what is `given`: `class_index`.
    Images in folders below a class's are of that class. What isn't read is told on stderr.
    Raises `UserError` for an empty folder, a missing class, and a name that isn't the model's.
    """
    if not root.is_dir():
        raise UserError(f"no such data folder: {root}")
    folders = class_folders(root)
    classes = tuple(folders)
    if not classes:
        raise UserError(f"{root} holds no class folders; expected {root}/<class>/<image>.jpg")
    index = _class_index(root, classes, labels, num_classes, given)
    samples = []
    beside, others = list_images(root, nested=False)
    others += Counter({"images beside the class folders": len(beside)})
    for name, folder in folders.items():
        files, more = list_images(folder)
        if not files:
            why = f"; left out: {left_out_text(more)}" if more else ""
            known = ", ".join(sorted(IMAGE_SUFFIXES))
            raise UserError(f"class folder {shown(folder)} holds no images ({known}){why}")
        samples += [Sample(p, index[name]) for p in files]
        others += more
    if others:
        say_left_out(root, left_out_text(others))
    return ImageFolder(root, classes, tuple(samples), dict(others))


def _class_index(
    root: Path,
    classes: tuple[str, ...],
    labels: tuple[str, ...] | None,
    num_classes: int | None,
    given: ClassNames | None,
) -> dict[str, int]:
    synsets = imagenet_synsets()
    if labels is None and num_classes is None:
        return {name: i for i, name in enumerate(classes)}
    if labels is None and num_classes == 1000:
        names = [label for _, label in synsets.values()]
        return class_index(root, classes, tuple(synsets), names, given)
    ids = labels or tuple(map(str, range(num_classes or 0)))
    names = [synsets[i][1] if i in synsets else i for i in ids]
    index = class_index(root, classes, ids, names, given)
    missing = sorted(set(range(len(ids))) - set(index.values()))
    if missing and labels is not None:
        raise UserError(
            f"{shown(root)} lacks the class folder {ids[missing[0]]!r} "
            f"({len(missing)} of the model's {len(ids)} classes missing)"
        )
    return index


@dataclass(frozen=True)
class Damaged:
    """An image that couldn't be read, and why: a kind to count by, and the whole reason."""

    path: Path
    kind: str
    reason: str


@dataclass
class Damage:
    """Images that could not be read; more than `MAX_DAMAGED` of the set is an error."""

    total: int
    images: list[Damaged] = field(default_factory=list)

    @property
    def files(self) -> list[str]:
        """Their paths, as `shown`."""
        return [shown(image.path) for image in self.images]

    @property
    def reasons(self) -> list[str]:
        """Why each of `files` couldn't be read."""
        return [image.reason for image in self.images]

    @property
    def too_many(self) -> bool:
        """Whether they are more than `MAX_DAMAGED` of the set."""
        return len(self.images) > MAX_DAMAGED * self.total

    def add(self, images: Iterable[Damaged]) -> None:
        """Count these; `check` judges when all images were looked at."""
        self.images += images

    def check(self) -> None:
        """Raise a `UserError` that counts them by reason, where they are too many."""
        if not self.too_many:
            return
        counts = Counter(image.kind for image in self.images).most_common()
        first = {image.kind: image for image in reversed(self.images)}
        named = [f"{shown(i.path)}: {i.reason}" for i in (first[kind] for kind, _ in counts[:3])]
        raise UserError(
            f"{len(self.images)} of {self.total} images can't be read (more than 1 %): "
            f"{', '.join(f'{count} {kind}' for kind, count in counts)}; first {'; '.join(named)}"
        )


def load_pixels(path: Path, preprocess: Preprocess) -> np.ndarray:
    """uint8 (height, width, 3) of one file; `DamagedImage` with the reason where there is none."""
    return read_image(path, preprocess.pixels)


def iter_pixels(
    folder: ImageFolder, preprocess: Preprocess, damage: Damage
) -> Iterator[tuple[int, np.ndarray]]:
    """(sample index, uint8 (height, width, 3)) of every readable image; the rest go to `damage`.

    Where these become too many, the others are only looked at, and the end is `damage`'s error.
    """
    for i, sample in enumerate(folder.samples):
        try:
            pixels = load_pixels(sample.path, preprocess)
        except DamagedImage as error:
            damage.add([Damaged(sample.path, error.kind, str(error))])
            continue
        if not damage.too_many:
            yield i, pixels
    damage.check()


def refuse(folder: ImageFolder, preprocess: Preprocess) -> NoReturn:
    """Look at all images of a set that has too many damaged ones, and raise `Damage`'s error."""
    total = len(folder.samples)
    found = iter_pixels(folder, preprocess, Damage(total))
    for _ in progress(found, "looking at all images", total, "img"):
        pass
    raise changed(folder)


def changed(folder: ImageFolder) -> UserError:
    """What to raise where a later pass finds other images than the first."""
    return UserError(f"{shown(folder.root)}: images changed while they were read; run again")


def read_batch(
    folder: ImageFolder, preprocess: Preprocess
) -> tuple[list[int], list[np.ndarray], list[Damaged]]:
    """Sample indices, uint8 (height, width, 3) images, and those that were damaged.

    However many those are: whoever joins the batches of a set judges that.
    """
    damage = Damage(10**9)
    found = list(iter_pixels(folder, preprocess, damage))
    return [i for i, _ in found], [pixels for _, pixels in found], damage.images
