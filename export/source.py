"""Where an export starts: which weights, which labels, which calibration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from export.targets.base import Origin
from mobilemod import __version__
from mobilemod.data.classes import output_order
from mobilemod.data.dataset import DataSet
from mobilemod.data.imagefolder import imagenet_synsets, read_split
from mobilemod.data.listing import class_folders
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.files import file_sha256
from mobilemod.networks.checkpoints import Taken, load_checkpoint
from mobilemod.networks.registry import family_of
from quantization.calibration import load_calibration, weights_digest
from quantization.prepare.preparation import from_table, prepare
from quantization.prepare.prepared import Prepared, load_prepared
from quantization.recipe import Recipe

Label = dict[str, str]


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
    """The weights of an export: `state` float32 by published name, labels in output order."""

    variant: str
    num_classes: int
    state: dict[str, Tensor]
    weights: str
    checkpoint: Path
    checkpoint_sha256: str
    labels: tuple[Label, ...]
    taken: Taken = Taken()
    origin: Origin = Origin()

    @property
    def label_ids(self) -> tuple[str, ...]:
        """Class folder names in output order."""
        return tuple(label["id"] for label in self.labels)

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
    """Load `checkpoint` (or the bundled one) as `variant`, and find its labels.

    Labels come from the checkpoint's own metadata, else from the network's family where it has as
    many, else ImageNet's for 1,000 classes, else the data folder's class names (see
    `output_order`), else "class 0", "class 1" and so on. author and license: of the weights; "" is
    what the checkpoint's metadata says.
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
    labels = _labels(path, family.labels, loaded.metadata, loaded.num_classes, data)
    return Source(
        variant,
        loaded.num_classes,
        loaded.state,
        weights_digest(loaded.state),
        path,
        loaded.sha256,
        labels,
        loaded.taken,
        Origin(
            author or own.author or loaded.metadata.get("author", ""),
            license or own.license or loaded.metadata.get("license", ""),
            f"{__version__}+{loaded.sha256[:8]}",
        ),
    )


def _labels(
    path: Path,
    known: tuple[str, ...],
    metadata: dict[str, str],
    count: int,
    data: Path | DataSet | None,
) -> tuple[Label, ...]:
    synsets = imagenet_synsets()
    ids = _named_labels(path, metadata["labels"], count) if "labels" in metadata else []
    if not ids and len(known) == count:
        ids = list(known)
    images = None if data is None else DataSet.of(data)
    if not ids and count == 1000 and not (images and images.classes and images.classes.order):
        ids = list(synsets)
    if not ids and images is not None:
        root = images.folder("train")
        ids = list(output_order(root, list(class_folders(root)), count, images.classes))
    if not ids:
        return tuple({"id": str(i), "label": f"class {i}"} for i in range(count))
    return tuple({"id": i, "label": synsets[i][1] if i in synsets else i} for i in ids)


def _named_labels(path: Path, text: str, count: int) -> list[str]:
    """The labels in a checkpoint's metadata; `UserError` where they don't fit its classes."""
    try:
        ids = json.loads(text)
    except (ValueError, RecursionError):
        ids = None
    if not isinstance(ids, list) or not all(isinstance(i, str) and i.strip() for i in ids):
        raise UserError(
            f"{path}: its metadata's 'labels' ({ascii(text[:40])}) are no JSON list of names; "
            "write them with json.dumps, or leave them out"
        )
    if ids and len(ids) != count:
        raise UserError(
            f"{path} names {len(ids)} labels for {count} classes; give a label for every class, "
            "or leave them out"
        )
    if len(set(ids)) != len(ids):
        twice = next(i for n, i in enumerate(ids) if i in ids[:n])
        raise UserError(f"{path} names the label {twice!r} twice; give every class its own")
    return ids


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
        folder = read_split(data, "train", source.label_ids, source.num_classes)
        return prepare(model, recipe, folder, preprocess)
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
