"""Where an export starts: which weights, which labels, which calibration."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from export.targets.base import Origin
from mobilemod import __version__
from mobilemod.data.dataset import DataSet
from mobilemod.data.imagefolder import ImageFolder
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.forms.canonical import Canonical, canonical_form
from mobilemod.networks.checkpoints import Taken, bundled_checkpoint, load_checkpoint
from mobilemod.networks.foreign.opened import Opened
from mobilemod.networks.registry import family_of, network, preprocess_of
from mobilemod.tasks import get_task
from mobilemod.tasks.task import Name, Task
from quantization.calibration import load_calibration, weights_digest
from quantization.prepare.preparation import from_table, prepare
from quantization.prepare.prepared import Prepared, load_prepared
from quantization.recipe import Recipe


def bundled_calibration(checkpoint: Path) -> Path:
    """The calibration table beside a bundled checkpoint."""
    return checkpoint.with_suffix(".calibration.json")


@dataclass(frozen=True)
class Source:
    """The network of an export.

    name: for files and the manifest. module: the float network, in eval mode. files: what it was
    read from, with sha256, the checkpoint first. labels: outputs' names in order. named: whether
    these are known by a data set. notes: what isn't exactly as the network's own files have it.
    """

    name: str
    module: nn.Module
    preprocess: Preprocess
    files: tuple[tuple[Path, str], ...]
    labels: tuple[Name, ...]
    task: Task
    taken: Taken = Taken()
    origin: Origin = Origin()
    notes: tuple[str, ...] = ()
    named: bool = True

    @cached_property
    def canonical(self) -> Canonical:
        """The same function as it is quantized and lowered; raises as `canonical_form`."""
        return canonical_form(self.module, self.preprocess.shape)

    @cached_property
    def weights(self) -> str:
        """The digest of the canonical form's weights."""
        return weights_digest(self.canonical.state())

    @property
    def num_classes(self) -> int:
        """How many outputs there are."""
        return self.canonical.num_classes

    @property
    def checkpoint(self) -> Path:
        """The file of the weights."""
        return self.files[0][0]

    @property
    def label_ids(self) -> tuple[str, ...]:
        """What the outputs are called in data sets (class folders), in output order."""
        return tuple(label["id"] for label in self.labels)

    def read(self, data: Path | DataSet, split: str) -> ImageFolder:
        """A split of `data` for this network; see `mobilemod.manifest.Bundle.read`."""
        return self.task.read(data, split, self.label_ids if self.named else (), self.num_classes)

    @property
    def summary(self) -> str:
        """One line: the checkpoint, which weights of it were taken, what else it holds."""
        return ": ".join(filter(None, (f"weights of {self.checkpoint.name}", str(self.taken))))


def open_source(
    variant: str,
    checkpoint: Path | None,
    data: Path | DataSet | None,
    author: str = "",
    license: str = "",
    size: int | None = None,
    fit: str | None = None,
) -> Source:
    """Load `checkpoint` (or the bundled one) as `variant`, and find its outputs' names.

    These come from the checkpoint's own metadata, else as its task says: `Task.names`.
    author and license: of the weights; "" is what the checkpoint's metadata says. size: of images,
    pixels, fit: how they are brought to it; None is the network's own.
    """
    family = family_of(variant)
    path = checkpoint or bundled_checkpoint(variant)
    if path is None:
        raise UserError(
            f"no checkpoint comes with {variant}; give CHECKPOINT=/path (--checkpoint), "
            + " or ".join(filter(None, (family.source, "your own")))
        )
    own = family.bundled[variant] if checkpoint is None else Origin()
    loaded = load_checkpoint(path, variant)
    task = get_task(family.task)
    labels = task.names(path, family.labels, loaded.metadata, loaded.num_classes, data)
    model = network(variant, loaded.num_classes, loaded.state)
    origin = Origin(
        author or own.author or loaded.metadata.get("author", ""),
        license or own.license or loaded.metadata.get("license", ""),
        f"{__version__}+{loaded.sha256[:8]}",
    )
    files = ((path, loaded.sha256),)
    preprocess = preprocess_of(model, size)
    if fit is not None:
        preprocess = dataclasses.replace(preprocess, fit=fit)
    return Source(variant, model, preprocess, files, labels, task, loaded.taken, origin)


def source_of(
    opened: Opened, data: Path | DataSet | None, author: str = "", license: str = ""
) -> Source:
    """The source of a network that a user brings; its outputs' names as for one of ours.

    Where nothing tells what its outputs are, images still do for calibration.
    """
    task = get_task(opened.task)
    path, digest = opened.files[0] if opened.files else (Path(opened.name), "")
    labels, notes, named = opened.labels, opened.notes, True
    try:
        labels = labels or task.names(path, (), {}, opened.num_classes, data)
    except UserError as error:
        if data is None or DataSet.of(data).classes is not None:
            raise
        labels, named = task.names(path, (), {}, opened.num_classes, None), False
        notes = (*notes, f"only calibrated on images, which can't tell how often it is right: "
                 f"{error}; or --labels FILE with the outputs' names")  # fmt: skip
    origin = Origin(author, license, f"{__version__}+{digest[:8]}")
    taken = Taken(opened.weights)
    return Source(
        opened.name, opened.module, opened.preprocess, opened.files, labels, task, taken, origin,
        notes, named,
    )  # fmt: skip


def find_prepared(
    source: Source,
    recipe: Recipe,
    data: Path | DataSet | None,
    trained: Path | None,
) -> Prepared:
    """The weights and ranges to quantize.

    Those of a training run (`trained`), which must have started from this checkpoint; else
    prepared on `data`'s training images; without data, from the table of the bundled weights.
    """
    if trained is not None:
        prepared = load_prepared(trained)
        if prepared.reference != source.weights:
            raise UserError(
                f"{trained} was trained from other weights than {source.checkpoint}; give "
                "--checkpoint with the one it started from"
            )
        return prepared
    if data is not None:
        return prepare(source.canonical, recipe, source.read(data, "train"), source.preprocess)
    table = bundled_calibration(source.checkpoint)
    if not table.is_file():
        raise UserError(
            f"no images to calibrate {source.checkpoint.name} on, and no calibration table comes "
            "with it; give DATA=/path (--data, or MOBILEMOD_DATA), or run 'make data'"
        )
    return from_table(source.canonical, load_calibration(table), f"table {table.name}")


def checkpoint_record(source: Source) -> dict[str, Any]:
    """For the manifest: file name, hashes, and which of the file's weights were taken."""
    return {
        "file": source.checkpoint.name,
        "sha256": source.files[0][1],
        "weights": source.weights,
        "taken": source.taken.weights,
        "others": list(source.taken.others),
        "ignored": list(source.taken.ignored),
    }
