"""Where an export starts: which weights, which labels, which calibration."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from export.targets.base import Origin
from mobilemod import __version__
from mobilemod.data.dataset import DataSet
from mobilemod.data.imagefolder import ImageFolder
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.files import file_sha256
from mobilemod.networks.checkpoints import Taken, load_checkpoint
from mobilemod.networks.registry import family_of
from mobilemod.tasks import get_task
from mobilemod.tasks.task import Name, Task
from quantization.calibration import load_calibration, weights_digest
from quantization.prepare.preparation import from_table, prepare
from quantization.prepare.prepared import Prepared, load_prepared
from quantization.recipe import Recipe


def bundled_checkpoint(variant: str) -> Path | None:
    """The checkpoint that comes with the project for `variant`, or None."""
    bundled = family_of(variant).bundled.get(variant)
    if bundled is None:
        return None
    path = Path(str(resources.files("mobilemod").joinpath("assets", bundled.file)))
    return path if path.is_file() else None


def bundled_calibration(checkpoint: Path) -> Path:
    """The calibration table beside a bundled checkpoint."""
    return checkpoint.with_suffix(".calibration.json")


@dataclass(frozen=True)
class Source:
    """The weights of an export: `state` float32 by published name, outputs' names in order."""

    variant: str
    num_classes: int
    state: dict[str, Tensor]
    weights: str
    checkpoint: Path
    checkpoint_sha256: str
    labels: tuple[Name, ...]
    task: Task
    taken: Taken = Taken()
    origin: Origin = Origin()

    @property
    def label_ids(self) -> tuple[str, ...]:
        """What the outputs are called in data sets (class folders), in output order."""
        return tuple(label["id"] for label in self.labels)

    def read(self, data: Path | DataSet, split: str) -> ImageFolder:
        """A split of `data` for this network; see `mobilemod.manifest.Bundle.read`."""
        return self.task.read(data, split, self.label_ids, self.num_classes)

    @property
    def summary(self) -> str:
        """One line: the checkpoint, which weights of it were taken, what else it holds."""
        return f"weights of {self.checkpoint.name}: {self.taken}"


def open_source(
    variant: str,
    checkpoint: Path | None,
    data: Path | DataSet | None,
    author: str = "",
    license: str = "",
) -> Source:
    """Load `checkpoint` (or the bundled one) as `variant`, and find its outputs' names.

    These come from the checkpoint's own metadata, else as its task says: `Task.names`.
    author and license: of the weights; "" is what the checkpoint's metadata says.
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
    return Source(
        variant,
        loaded.num_classes,
        loaded.state,
        weights_digest(loaded.state),
        path,
        loaded.sha256,
        labels,
        task,
        loaded.taken,
        Origin(
            author or own.author or loaded.metadata.get("author", ""),
            license or own.license or loaded.metadata.get("license", ""),
            f"{__version__}+{loaded.sha256[:8]}",
        ),
    )


def find_prepared(
    source: Source,
    model: nn.Module,
    recipe: Recipe,
    preprocess: Preprocess,
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
        return prepare(model, recipe, source.read(data, "train"), preprocess)
    table = bundled_calibration(source.checkpoint)
    if not table.is_file():
        raise UserError(
            f"no images to calibrate {source.checkpoint.name} on, and no calibration table comes "
            "with it; give DATA=/path (--data, or MOBILEMOD_DATA), or run 'make data'"
        )
    return from_table(model, load_calibration(table), f"table {table.name}")


def checkpoint_record(source: Source) -> dict[str, Any]:
    """For the manifest: file name, hashes, and which of the file's weights were taken."""
    return {
        "file": source.checkpoint.name,
        "sha256": source.checkpoint_sha256 or file_sha256(source.checkpoint),
        "weights": source.weights,
        "taken": source.taken.weights,
        "others": list(source.taken.others),
        "ignored": list(source.taken.ignored),
    }
