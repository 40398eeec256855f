"""Folders of images and of their labels.

ADE20K's layout: `images/{training,validation}` and `annotations/{training,validation}`, where 0 is
ignored and the classes are 1 to N. The plain one: `train/` and `val/` with `images/` and `labels/`
each, classes 0 to N - 1, 255 ignored. A label file has its image's name with ".png".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mobilemod.data.dataset import MEASURED, TRAIN, DataSet
from mobilemod.data.image_file import DamagedImage, read_image
from mobilemod.data.imagefolder import ImageFolder, Sample, load_pixels
from mobilemod.data.listing import left_out_text, list_images, say_left_out
from mobilemod.data.preprocess import Preprocess
from mobilemod.data.resample import Upright
from mobilemod.errors import UserError, shown
from mobilemod.tasks.segmentation.label_file import (
    IGNORED,
    label_size,
    placed,
    read_codes,
    upright_size,
)

ADE_IMAGES, ADE_LABELS = "images", "annotations"
ADE_SPLITS = {TRAIN: "training", MEASURED: "validation"}
PLAIN_IMAGES, PLAIN_LABELS = "images", "labels"
CLASSES_FILE, ADE_CLASSES_FILE = "classes.txt", "objectInfo150.txt"
LAYOUTS = (
    f"{ADE_IMAGES}/validation and {ADE_LABELS}/validation, or val/{PLAIN_IMAGES} and "
    f"val/{PLAIN_LABELS}"
)


@dataclass(frozen=True)
class LabelledSample(Sample):
    """An image and the file of its labels; None where it has none."""

    labels: Path | None = None


@dataclass(frozen=True)
class Layout:
    """Where a split lies. zero_ignored: see `read_codes`."""

    images: Path
    labels: Path
    split: str
    zero_ignored: bool


@dataclass(frozen=True)
class LabelledFolder(ImageFolder):
    """Its samples are `LabelledSample`. outputs: classes of the network; zero_ignored: see
    `read_codes`."""

    outputs: int = 0
    zero_ignored: bool = False

    def maps(self, indices: Sequence[int], preprocess: Preprocess) -> np.ndarray:
        """uint8 (N, height, width): the labels of these samples at the pixels of the input.

        `UserError` where one has none or can't be read, naming the first.
        """
        found = np.empty((len(indices), *preprocess.sides), np.uint8)
        bad: list[str] = []
        for n, i in enumerate(indices):
            try:
                found[n] = placed(self.codes(i), preprocess)
            except DamagedImage as error:
                bad.append(f"{shown(self._path(i))}: {error}")
        _refuse(self.root, bad)
        return found

    def pixels(self, index: int, preprocess: Preprocess) -> np.ndarray:
        """uint8 (height, width, 3): an image at the pixels of the input; raises as `pair`."""
        return self._read(index, lambda path: load_pixels(path, preprocess))

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """An image, uint8 (height, width, 3), upright, and its labels (height, width).

        `UserError` where one is damaged, missing or has another size.
        """
        pixels = self._read(index, lambda path: read_image(path, _upright))
        try:
            codes = self.codes(index)
            if codes.shape != pixels.shape[:2]:
                raise DamagedImage("another size than its image")
        except DamagedImage as error:
            raise _refused(self.root, [f"{shown(self._path(index))}: {error}"]) from None
        return pixels, codes

    def _read(self, index: int, read: Callable[[Path], np.ndarray]) -> np.ndarray:
        path = self.samples[index].path
        try:
            return read(path)
        except DamagedImage as error:
            raise _refused(self.root, [f"{shown(path)}: {error}"]) from None

    def _path(self, index: int) -> Path:
        sample = self.samples[index]
        labels = sample.labels if isinstance(sample, LabelledSample) else None
        if labels is None:
            raise UserError(f"{shown(sample.path)} has no labels; {_MISSING}")
        return labels

    def codes(self, index: int) -> np.ndarray:
        """uint8 (H, W): a sample's labels as they are; `DamagedImage` where they can't be read."""
        codes = read_codes(self._path(index), self.zero_ignored)
        wrong = codes[(codes >= self.outputs) & (codes != IGNORED)]
        if wrong.size:
            first, least = int(self.zero_ignored), int(wrong.min()) + self.zero_ignored
            what = f"{least}; the network's classes are {first} to {self.outputs - 1 + first}"
            raise DamagedImage("a code out of range", what)
        return codes


_MISSING = "give it a PNG of that name, or take the image out"


def find_layout(data: Path | DataSet, split: str) -> Layout:
    """Where the split "train", or "val" for what is measured, lies; `UserError` where it doesn't.

    A split that `data` names is looked for by that name.
    """
    data = DataSet.of(data)
    root = data.root
    if (root / ADE_IMAGES).is_dir() and (root / ADE_LABELS).is_dir():
        wanted = data.split if split == MEASURED else split
        name = ADE_SPLITS.get(wanted, wanted)
        layout = Layout(root / ADE_IMAGES / name, root / ADE_LABELS / name, name, True)
    else:
        part = data.folder(split)
        named = split if part == root else part.name
        layout = Layout(part / PLAIN_IMAGES, part / PLAIN_LABELS, named, False)
    for folder in (layout.images, layout.labels):
        if not folder.is_dir():
            raise UserError(f"no folder {shown(folder)}; expected {LAYOUTS} in {shown(root)}")
    return layout


def read_labelled(data: Path | DataSet, split: str, named: bool, outputs: int) -> LabelledFolder:
    """The images of a split with their files of labels.

    named: labels have to be there and to fit, as for what is measured; else only the images count.
    Of images and labels only the headers are looked at; an image that has none that can be read
    stays, and is damaged when it is decoded. What isn't read is told on stderr. `UserError` where
    there is no image, and for labels that are missing, damaged or not of their image's size.
    """
    if outputs >= IGNORED:
        raise UserError(f"{outputs} classes: files of labels hold at most {IGNORED - 1}")
    layout = find_layout(data, split)
    files, others = list_images(layout.images)
    if not files:
        why = f"; left out: {left_out_text(others)}" if others else ""
        raise UserError(f"{shown(layout.images)} holds no images{why}")
    labels, more = list_images(layout.labels)
    named_as = {p.with_suffix(".png"): p for p in labels if p.suffix.lower() == ".png"}
    samples = []
    for path in files:
        expected = layout.labels / path.relative_to(layout.images)
        samples.append(LabelledSample(path, None, named_as.get(expected.with_suffix(".png"))))
    unused = set(labels) - {s.labels for s in samples}
    others += more + Counter({"labels without an image": len(unused)})
    if named:
        _refuse(layout.images, [line for s in samples if (line := _trouble(s, layout))])
    others = +others
    if others:
        say_left_out(layout.images, left_out_text(others))
    return LabelledFolder(
        layout.images, (), tuple(samples), dict(others), layout.split, outputs, layout.zero_ignored
    )


def _trouble(sample: LabelledSample, layout: Layout) -> str | None:
    """What keeps a sample's labels from being used, by the headers; None: nothing."""
    if sample.labels is None:
        where = shown(layout.labels)
        return f"{shown(sample.path)} has no labels in {where}; {_MISSING}"
    try:
        found = label_size(sample.labels)
    except DamagedImage as error:
        return f"{shown(sample.labels)}: {error}"
    try:
        expected = upright_size(sample.path)
    except DamagedImage:
        return None
    if found == expected:
        return None
    (w, h), (wide, high) = found, expected
    return f"{shown(sample.labels)} has {w} x {h} pixels, its image {wide} x {high}"


def _upright(image: Image.Image) -> np.ndarray:
    upright = Upright(image)
    return np.asarray(upright.part(0, 0, *upright.size))


def _refuse(root: Path, bad: Sequence[str]) -> None:
    if bad:
        raise _refused(root, bad)


def _refused(root: Path, bad: Sequence[str]) -> UserError:
    mend = "mend it, or take the image and its labels out"
    count = f" ({len(bad)} such files of {shown(root)})" if len(bad) > 1 else ""
    return UserError(f"{bad[0]}{'' if _MISSING in bad[0] else f'; {mend}'}{count}")


def class_names_in(data: Path | DataSet, count: int | None = None) -> list[str]:
    """The classes of a data folder by its `classes.txt` (a name a line) or ADE20K's table.

    count: how many there have to be. [] where it has neither. Looked for in the folder, and above
    one that is a split itself. `UserError` where a file has another number of names, or can't be
    read.
    """
    root = DataSet.of(data).root
    above = [root.absolute().parent] if (root / PLAIN_LABELS).is_dir() else []
    for folder in (root, *above):
        for name in (CLASSES_FILE, ADE_CLASSES_FILE):
            path = folder / name
            if path.is_file():
                return _names(path, count)
    return []


def _names(path: Path, count: int | None) -> list[str]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it isn't UTF-8"
        raise UserError(f"{shown(path)}: {why}; give a class's name a line") from None
    rows = [line.strip() for line in lines if line.strip()]
    if path.name == ADE_CLASSES_FILE and rows:
        # A head, then index, shares and counts, and the name with its synonyms in the last column.
        rows = [row.split("\t")[-1].strip() for row in rows[1:]]
    if count is not None and len(rows) != count:
        raise UserError(
            f"{shown(path)} names {len(rows)} classes, the network has {count}; give a line for "
            "each of its classes, or take the file away"
        )
    return [shown(row) for row in rows]
