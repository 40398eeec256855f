"""Semantic segmentation: a class for each pixel, logits (N, K, h, w), measured by mIoU.

Targets are labels at the pixels of the network's input, uint8 (N, H, W), 255 ignored; of outputs
the map of classes is kept at the outputs' own size, uint8 (N, h, w), and laid on the labels by the
nearest pixel. So mIoU is that of a phone's fixed input, not of whole images at their own size with
smoothly enlarged logits, as papers give it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Drop, MeanDrop, Predictions
from mobilemod.evaluation.runs import ANSWERS, NONE, from_runs, to_runs
from mobilemod.evaluation.shares import ClassShare
from mobilemod.evaluation.statistics import mcnemar_exact
from mobilemod.ranges import Range
from mobilemod.tasks.segmentation.label_file import IGNORED
from mobilemod.tasks.segmentation.maps import answered, kept_maps, maps_of, same_percent
from mobilemod.tasks.segmentation.pixelwise import cross_entropy, divergence
from mobilemod.tasks.segmentation.scores import (
    counts,
    drop_interval,
    iou,
    mean_iou,
    pixel_accuracy,
)
from mobilemod.tasks.task import Agreement, Metric, Name, Task, Thumb, Told, named_in

if TYPE_CHECKING:
    from PIL import Image

    from mobilemod.data.dataset import DataSet
    from mobilemod.data.imagefolder import ImageFolder
    from mobilemod.data.preprocess import Preprocess
    from mobilemod.harness.protocol.lines import Line
    from mobilemod.results.markup import Html

MEAN_IOU = Metric("mean_iou_percent", "mIoU")
PIXELS_RIGHT = Metric("pixel_accuracy_percent", "pixel accuracy")
PIXELS_ALIKE = Agreement(
    "pixel_agreement_percent",
    "pixels alike %",
    "the same class",
    "pixel_agreement_percent",
    of="pixels",
)
CLASS_IOU = "iou_percent"  # of a row
SHOWN_CLASSES = 3  # of an image's labels
SHOWN_CHANGES = 5


@dataclass(frozen=True)
class Segmentation(Task):
    """See the module. tolerance: percent of the pixels that may differ in images that are alike.

    `scored` are the pixels of each class's intersection and union, int32 (N, 2, 255).
    """

    def read(
        self, data: Path | DataSet, split: str, ids: Sequence[str], outputs: int
    ) -> ImageFolder:
        """See `read_labelled`: labels have to be there where a named network is measured."""
        from mobilemod.data.dataset import MEASURED
        from mobilemod.tasks.segmentation.folder import read_labelled

        return read_labelled(data, split, bool(ids) and split == MEASURED, outputs)

    def targets(
        self, images: ImageFolder, indices: Sequence[int], preprocess: Preprocess
    ) -> np.ndarray:
        """uint8 (N, height, width); `UserError` where labels are missing or damaged."""
        from mobilemod.tasks.segmentation.folder import LabelledFolder

        if not isinstance(images, LabelledFolder):
            raise TypeError("not images that this task read")
        return images.maps(indices, preprocess)

    def names(
        self,
        checkpoint: Path,
        known: Sequence[str],
        metadata: Mapping[str, str],
        count: int,
        data: Path | DataSet | None,
    ) -> tuple[Name, ...]:
        """By the checkpoint's metadata, the network's family, the data folder, else numbered."""
        from mobilemod.tasks.segmentation.folder import class_names_in

        ids = named_in(checkpoint, metadata, count) or (known if len(known) == count else ())
        if ids:
            return tuple({"id": i, "label": i} for i in ids)
        # Two classes may be called alike in ADE20K's table, so ids are numbers.
        labels = class_names_in(data, count) if data is not None else []
        labels = labels or [f"class {i}" for i in range(count)]
        return tuple({"id": str(i), "label": label} for i, label in enumerate(labels))

    def network_of(self, outputs: int) -> str:
        """With its classes."""
        return f"image segmenter, {outputs} classes"

    # -- numbers

    def keep(self, outputs: np.ndarray, count: int) -> np.ndarray:
        """Maps of classes; see `kept_maps`."""
        return kept_maps(outputs, count)

    def fits(self, shape: tuple[int, ...], outputs: int) -> bool:
        """Maps of any size."""
        return len(shape) in (1, 2)

    def finite(self, outputs: np.ndarray) -> np.ndarray:
        """Those with an answer."""
        return answered(maps_of(outputs))

    def require_targets(self, targets: np.ndarray, outputs: int) -> None:
        """Targets are codes below the number of classes, or ignored, and not all of them."""
        known = targets != IGNORED
        if not known.any():
            raise UserError("no pixel of these images is labelled; give images with labels")
        if targets.max(where=known, initial=0) >= outputs:
            raise UserError(
                f"a label lies outside the {outputs} classes; the data isn't this model's"
            )

    def scored(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """See `counts`; an image without an answer intersects nothing."""
        return counts(maps_of(outputs), targets)

    def figure(self, scored: np.ndarray) -> float:
        """mIoU in percent; its mean over conditions of (C, N, 2, 255)."""
        return float(np.mean(mean_iou(scored.sum(axis=-3, dtype=np.int64))))

    def figures(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """mIoU and pixel accuracy in percent."""
        maps = maps_of(outputs)
        return {
            MEAN_IOU.key: self.figure(counts(maps, targets)),
            PIXELS_RIGHT.key: pixel_accuracy(maps, targets),
        }

    def drop_of(self, before: np.ndarray, now: np.ndarray, seed: int = 0) -> Drop:
        """In points of mIoU; an image is worse where the mIoU of it alone is."""
        worse = self.worse_by(before, now)
        lost, won = int((worse > 0).sum()), int((worse < 0).sum())
        low, high = drop_interval(before[None], now[None], seed)
        points = self.figure(before) - self.figure(now)
        return Drop(points, low, high, mcnemar_exact(lost, won), lost, won)

    def mean_drop(self, before: np.ndarray, now: np.ndarray) -> MeanDrop:
        """As `drop_of`, in the mean over conditions."""
        points = self.figure(before) - self.figure(now)
        return MeanDrop(points, *drop_interval(before, now))

    def worse_by(self, before: np.ndarray, now: np.ndarray) -> np.ndarray:
        """By the mIoU of each image alone, points."""
        return mean_iou(before) - mean_iou(now)

    def alike(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The images of which no more than `tolerance` percent of the pixels differ."""
        return same_percent(maps_of(a), maps_of(b)) >= 100.0 - self.tolerance

    def agreement_percent(self, a: np.ndarray, b: np.ndarray) -> float:
        """Percent of all pixels to which both give the same class; ValueError for no image."""
        if len(a) == 0:
            raise ValueError("no images: agreement is undefined")
        return float(same_percent(maps_of(a), maps_of(b)).mean())

    def losses(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Cross-entropy, nats, in the mean over an image's labelled pixels; of logits only."""
        return cross_entropy(outputs, targets)

    def divergence(self, reference: np.ndarray, outputs: np.ndarray) -> float:
        """KL(reference, outputs) of a pixel's class probabilities, nats; of logits only."""
        return divergence(reference, outputs)

    def own_targets(self, reference: np.ndarray) -> np.ndarray:
        """The reference's maps."""
        return maps_of(reference)

    def answered(self, outputs: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, Any]:
        """The maps as runs, how much of them is alike, and what most other pixels became."""
        a, b = (maps_of(outputs[model][None]) for model in "ab")
        other, pixels = np.unique(np.stack([a[a != b], b[a != b]]), axis=1, return_counts=True)
        most = np.argsort(-pixels, kind="stable")[:SHOWN_CHANGES]
        return {
            **self.golden(outputs),
            PIXELS_ALIKE.key: float(same_percent(a, b)[0]),
            "changes": [
                {**{k: _name(c, names) for k, c in zip("ab", other[:, i], strict=True)},
                 "pixels": int(pixels[i])}
                for i in most
            ],
        }  # fmt: skip

    def answered_text(self, image: Mapping[str, Any], models: tuple[str, str]) -> list[str]:
        """How much is alike, and the changes in a table."""
        from mobilemod.results.table import aligned

        rows = [[c["a"], c["b"], f"{c['pixels']}"] for c in image["changes"]]
        table = aligned([[*models, "pixels"], *rows]) if rows else []
        return [f"{PIXELS_ALIKE.head}: {image[PIXELS_ALIKE.key]:.2f}", *table]

    def shares(self, outputs: np.ndarray, names: Sequence[str]) -> tuple[ClassShare, ...]:
        """The classes of a map by its pixels, of equals the lower index first."""
        codes, pixels = np.unique(maps_of(outputs[None]), return_counts=True)
        order = np.argsort(-pixels, kind="stable")
        return tuple(
            ClassShare(
                int(codes[i]), names[codes[i]], float(pixels[i]), float(pixels[i] / pixels.sum())
            )
            for i in order
        )

    def drawn(self, pixels: np.ndarray, outputs: np.ndarray) -> Image.Image:
        """The map in its classes' colours; see `overlay`."""
        from mobilemod.tasks.segmentation.picture import overlay

        return overlay(pixels, maps_of(outputs[None])[0])

    # -- devices

    def golden(self, outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The maps of classes, as their runs."""
        return {"runs": {k: to_runs(maps_of(v[None])) for k, v in outputs.items()}}

    def told(
        self,
        lines: Sequence[Line],
        targets: Sequence[Any],
        outputs: int,
        size: Sequence[int] | None = None,
    ) -> Told:
        """By the runs of the lines' maps; targets are labels, uint8 (H, W)."""
        maps = maps_told(lines)
        if size is not None:
            maps = maps.reshape(-1, *size)
        known = [i for i, target in enumerate(targets) if target is not None]
        if not known:
            return Told({m.key: None for m in self.metrics}, answered(maps), None)
        truths = np.array([targets[i] for i in known])
        scored = np.zeros((len(lines), 2, IGNORED), np.int32)
        scored[known] = self.scored(maps[known], truths)
        return Told(dict(self.figures(maps[known], truths)), answered(maps), scored)

    def told_alike(self, lines: Sequence[Line], here: np.ndarray, outputs: int) -> np.ndarray:
        """As `alike`, with this machine's maps."""
        return self.alike(maps_told(lines), maps_of(here))

    def told_percent(self, lines: Sequence[Line], here: np.ndarray, outputs: int) -> float:
        """Percent of all pixels with this machine's class."""
        return self.agreement_percent(maps_told(lines), maps_of(here))

    # -- records and pages

    def disagreements(
        self, predictions: Sequence[Predictions], targets: np.ndarray
    ) -> list[tuple[int, dict[str, Any]]]:
        """With every model's agreement, and pictures of the images that agree least."""
        from mobilemod.tasks.segmentation.differing import disagreements

        return disagreements(predictions, targets, PIXELS_ALIKE.key, self.tolerance)

    def rows(
        self, predictions: Sequence[Predictions], targets: np.ndarray, names: Sequence[str]
    ) -> list[dict[str, Any]]:
        """IoU of each class that has pixels in labels or answers; None where a model's is of none.

        images: with the class in their labels; pixels: of it there.
        """
        if not predictions:
            return []
        each = [iou(self.scored(p.outputs, targets).sum(axis=0)) for p in predictions]
        there = [np.bincount(t.ravel(), minlength=IGNORED + 1)[:IGNORED] for t in targets]
        pixels, images = np.sum(there, axis=0), np.count_nonzero(there, axis=0)
        found = ~np.isnan(each).all(axis=0)
        return [
            {
                "class": int(c),
                "label": str(names[c]),
                "images": int(images[c]),
                "pixels": int(pixels[c]),
                CLASS_IOU: [None if np.isnan(e[c]) else float(e[c]) for e in each],
            }
            for c in np.flatnonzero(found)
        ]

    def target_value(self, target: np.ndarray) -> dict[str, Any]:
        """The classes with most pixels, and how much is ignored."""
        pixels = np.bincount(target.ravel(), minlength=IGNORED + 1)
        order = np.argsort(-pixels[:IGNORED], kind="stable")[:SHOWN_CLASSES]
        return {
            "classes": [int(c) for c in order if pixels[c]],
            "ignored_percent": 100.0 * int(pixels[IGNORED]) / target.size,
        }

    def truth(self, record: Mapping[str, Any], target: Mapping[str, Any]) -> str:
        """The names of these classes."""
        labels = record["data"]["labels"]
        return ", ".join(labels[c] for c in target["classes"]) or "nothing labelled"

    def sections(self, record: dict[str, Any], thumb: Thumb) -> list[Html | None]:
        """Pictures of the images on which models differ, and the IoU of each class."""
        from mobilemod.tasks.segmentation.page import differing, per_class

        return [differing(record, thumb), per_class(record)]


def _name(code: int, names: Sequence[str]) -> str:
    return "not finite" if code == NONE else names[code]


def maps_told(lines: Sequence[Line]) -> np.ndarray:
    """Flat maps uint8 (n, h·w) of a device's lines, all of one size."""
    return np.stack([from_runs(line["runs"], sum(line["runs"][1::2])) for line in lines])


TASK = Segmentation(
    name="segmentation",
    metrics=(MEAN_IOU, PIXELS_RIGHT),
    agreement=PIXELS_ALIKE,
    output="logits",
    each="class",
    truths="labels",
    loss="cross-entropy",
    loss_unit="nats",
    tolerance=5.0,
    numeric=False,
    placed=True,
    maps=True,
    answers=ANSWERS,
    counts=Range(2, IGNORED - 1, "classes", whole=True),
)
