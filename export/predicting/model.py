"""`mobilemod.load`: one file of a bundle, ready to answer."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from export.bundle_parts import load_runner
from export.predicting.host import best_file
from export.predicting.pictures import Picture, pixels_of
from mobilemod import ranges
from mobilemod.errors import UserError, unknown
from mobilemod.manifest import bundle_around, load_bundle
from mobilemod.results.outcomes.predicted import Prediction
from mobilemod.targets import facts_of_file

if TYPE_CHECKING:
    from export.targets.base import Runner
    from mobilemod.manifest import Bundle
    from mobilemod.manifest_schema import ModelFile

TOP = 5


@dataclass(frozen=True, repr=False)
class Model:
    """A loaded file of a bundle.

    bundle: that it is of. file: its entry in the manifest (`file`, `target`, `precision`, `bytes`).
    runner: what runs it.
    """

    bundle: Bundle
    file: ModelFile
    runner: Runner

    def __repr__(self) -> str:
        return f"Model({self.path}, {self.description})"

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self.bundle.folder / self.file.file

    @property
    def description(self) -> str:
        """What runs it, with its version."""
        return self.runner.description

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the outputs, in their order."""
        return self.bundle.label_names

    @overload
    def predict(self, image: Picture, *, top: int = TOP) -> Prediction: ...

    @overload
    def predict(self, image: Sequence[Picture], *, top: int = TOP) -> list[Prediction]: ...

    def predict(
        self, image: Picture | Sequence[Picture], *, top: int = TOP
    ) -> Prediction | list[Prediction]:
        """The answer to an image, or to each of a list.

        image: a file's path, an image of Pillow's, or uint8 (height, width, 3), RGB, of any size:
        it is preprocessed as the manifest says. top: how many classes a classifier gives.

        Raises `UserError` for an image that can't be read, and where the network's outputs aren't
        finite.
        """
        ranges.CLASSES.check("top", top)
        if isinstance(image, list | tuple):
            return [self.answer(pixels_of(one, self.bundle.preprocess), top) for one in image]
        return self.answer(pixels_of(image, self.bundle.preprocess), top)

    def answer(self, pixels: np.ndarray, top: int = TOP) -> Prediction:
        """As `predict`, of an image that is preprocessed but for normalizing: uint8 (height, width,
        3) of the network's input."""
        outputs, milliseconds = self._run(pixels)
        task = self.bundle.task
        if not task.finite(outputs[None])[0]:
            raise UserError(
                f"{self.path}: its outputs on this image aren't finite; 'mobilemod validate' "
                "counts such images"
            )
        classes = task.shares(outputs, self.labels)
        overlay = task.drawn(pixels, outputs)
        shown = classes if task.maps else classes[:top]
        return Prediction(self.file.file, milliseconds, shown, outputs, overlay)

    def _run(self, pixels: np.ndarray) -> tuple[np.ndarray, float]:
        """What the task keeps of the outputs, and the milliseconds of the inference."""
        x = self.bundle.preprocess.normalize(pixels[None])
        start = time.perf_counter()
        outputs = self.runner.run(x)
        milliseconds = 1000 * (time.perf_counter() - start)
        return self._kept(outputs), milliseconds

    def _kept(self, outputs: np.ndarray) -> np.ndarray:
        task, count = self.bundle.task, len(self.labels)
        try:
            kept = task.keep(outputs[None].astype(np.float32), count)[0]
        except ValueError:
            kept = outputs
        if not task.fits(kept.shape, count):
            raise UserError(
                f"{self.path}: gives numbers of shape {tuple(outputs.shape)}, its manifest names "
                f"{count} outputs; export again"
            )
        return kept


def load(source: str | os.PathLike[str], *, file: str | None = None, threads: int = 1) -> Model:
    """A file of a bundle, loaded and run once, so that the first answer comes as fast as others.

    source: a bundle's folder, of which the file is taken that serves best on this machine, or the
    one that is named by `file`; or a model file in its bundle's folder. threads: of the processor.

    Raises `UserError` for a file without its bundle or that isn't the manifest's, and for one that
    doesn't run here.
    """
    ranges.THREADS.check("threads", threads)
    path = Path(source)
    if is_bundle(path):
        bundle = load_bundle(path, verify=False)
        entry = best_file(bundle) if file is None else entry_of(bundle, file)
    else:
        if file is not None:
            raise UserError(f"{path} is a model file; another one is named beside its bundle")
        bundle, entry = opened_around(path)
    return load_entry(bundle, entry, threads)


def is_bundle(path: Path) -> bool:
    """Whether this is to be taken for a bundle's folder rather than for a model file."""
    return path.is_dir() and facts_of_file(path) is None


def opened_around(path: Path) -> tuple[Bundle, ModelFile]:
    """The bundle that a model file lies in, and its entry; `UserError` where it lies in none."""
    if not path.exists():
        raise UserError(f"no such model file or bundle: {path}")
    bundle = bundle_around(path)
    if bundle is None:
        raise UserError(
            f"{path} lies in no bundle, whose manifest says what it takes and how its outputs are "
            "called; give the bundle's folder, or the file in it"
        )
    return bundle, entry_of(bundle, path.name)


def entry_of(bundle: Bundle, name: str) -> ModelFile:
    """A model file's entry; the `UserError` for another name lists the bundle's."""
    for entry in bundle.manifest.files:
        if entry.file == name:
            return entry
    raise unknown("model file", name, [entry.file for entry in bundle.manifest.files])


def load_entry(bundle: Bundle, entry: ModelFile, threads: int = 1) -> Model:
    """A file of an open bundle, as `load` has it."""
    model = Model(bundle, entry, load_runner(bundle, entry, threads))
    model._run(np.zeros((*bundle.preprocess.sides, 3), np.uint8))
    return model
