"""What a task is. The defaults make a whole task of a score for each image."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import (
    Drop,
    MeanDrop,
    Predictions,
    drop_of,
    finite,
    loss_of,
    mean_drop,
)
from mobilemod.evaluation.runs import SCORES
from mobilemod.evaluation.shares import ClassShare
from mobilemod.ranges import Range

if TYPE_CHECKING:
    from PIL import Image

    from mobilemod.data.dataset import DataSet
    from mobilemod.data.imagefolder import ImageFolder
    from mobilemod.data.preprocess import Preprocess
    from mobilemod.harness.protocol.lines import Line
    from mobilemod.results.markup import Html

Thumb = Callable[[int], str | None]  # image index -> data URI, None where there is no picture
# What an output is called: `id` in data sets, `label` for people.
Name = dict[str, str]
SHOWN_OUTPUTS = 5  # of an image's, in text


class Reference(Protocol):
    """The float network on the measured images: whether it can be what int8 is measured by."""

    def doubt(self, drop: Mapping[str, Any]) -> str | None:
        """Why a drop (`points`, `low`, `high`, …) decides nothing, for people; None if it does."""


@dataclass(frozen=True)
class Metric:
    """A figure of a model on images.

    key: in records. name, unit: for people. least, most: its range. points: what differences of it
    are counted in.
    """

    key: str
    name: str
    unit: str = "%"
    least: float = 0.0
    most: float = 100.0
    more_is_better: bool = True
    points: str = "points"

    @property
    def head(self) -> str:
        """Of a table's column."""
        return f"{self.name} {self.unit}"

    @property
    def worst(self) -> float:
        """Its end of no use."""
        return self.least if self.more_is_better else self.most

    def text(self, value: float | None) -> str:
        """The figure without its unit, "–" where there is none."""
        return "–" if value is None else f"{value:.2f}"


@dataclass(frozen=True)
class Agreement:
    """The percentage of images (or what `of` says) on which two models answer alike.

    key: in records; effect_key: in those of a network's parts. head: of a table's column. same:
    what they have in common, in words.
    """

    key: str = "agreement_percent"
    head: str = "agreement %"
    same: str = "the same answer"
    effect_key: str = "agreement_percent"
    of: str = "images"

    @property
    def short(self) -> str:
        """`same` without its article."""
        return self.same.removeprefix("the ")


@dataclass(frozen=True)
class Told:
    """What a device's answers to n images are worth.

    figures: each metric by its key, None without a known target. finite: bool (n,). scored: (n,),
    of use where the target is known; None where the lines say too little.
    """

    figures: dict[str, float | None]
    finite: np.ndarray
    scored: np.ndarray | None


@dataclass(frozen=True)
class Task:
    """One task. A subclass says `read`, `targets` and `scores`, and what else is different.

    metrics: the first decides, all are shown. output: what the network's outputs are called; each:
    one of them; truths: what targets are; loss, loss_unit: of `losses` and `divergence`.
    class_folders: a data set has a folder for each class, whose name is an image's target.
    maps: outputs are maps, (N, K, h, w). answers: what a file of such a network may answer with,
    the usual first. counts: how many outputs a network may have, None for any number.
    counted: an image is right or wrong, `scores` are bool and the metric is their percentage; else
    it is their mean. tolerance: outputs that lie no farther apart are alike. numeric: what `keep`
    leaves are numbers whose distances mean something, not codes. placed: answers are of places in
    the image, so pages show it as the network sees it.

    N images; outputs are float32 (N, K) for K named outputs, of maps uint8 (N, h, w) where a file
    answers with classes, or what `keep` leaves of them.
    """

    name: str
    metrics: tuple[Metric, ...]
    agreement: Agreement = Agreement()
    output: str = "outputs"
    each: str = "output"
    truths: str = "targets"
    loss: str = "error"
    loss_unit: str = "the outputs' unit"
    class_folders: bool = False
    maps: bool = False
    answers: tuple[str, ...] = (SCORES,)
    counts: Range | None = None
    counted: bool = False
    tolerance: float = 0.0
    numeric: bool = True
    placed: bool = False

    @property
    def metric(self) -> Metric:
        """The one that decides."""
        return self.metrics[0]

    @property
    def dims(self) -> tuple[str, ...]:
        """The dimensions of one image's outputs, for people."""
        return ("1", "outputs", "height", "width")[: 4 if self.maps else 2]

    # -- data

    def read(
        self, data: Path | DataSet, split: str, ids: Sequence[str], outputs: int
    ) -> ImageFolder:
        """The images of a split ("train", or "val" for what is measured), without decoding them.

        ids: of the network's named outputs; outputs: how many there are. `UserError` where the
        images aren't this network's.
        """
        raise NotImplementedError(self.name)

    def targets(
        self, images: ImageFolder, indices: Sequence[int], preprocess: Preprocess
    ) -> np.ndarray:
        """(N, …): what is right for the samples at `indices`."""
        return images.targets[list(indices)]

    def names(
        self,
        checkpoint: Path,
        known: Sequence[str],
        metadata: Mapping[str, str],
        count: int,
        data: Path | DataSet | None,
    ) -> tuple[Name, ...]:
        """What the network's `count` outputs are called, in order.

        By the checkpoint's metadata, else as the network's family says (`known`), else numbered.
        """
        ids = named_in(checkpoint, metadata, count) or (known if len(known) == count else ())
        if not ids:
            return tuple({"id": str(i), "label": f"output {i}"} for i in range(count))
        return tuple({"id": i, "label": i} for i in ids)

    def require_answer(self, answer: str) -> None:
        """`UserError` where no file of such a network answers with that."""
        if answer not in self.answers:
            known = ", ".join(self.answers)
            raise UserError(
                f"--answer {answer}: networks for {self.name} give {known} alone; leave it out"
            )

    def network_of(self, outputs: int) -> str:
        """What a network of so many named outputs is, for people."""
        return f"image network, {outputs} outputs"

    # -- numbers

    def keep(self, outputs: np.ndarray, count: int) -> np.ndarray:
        """What is kept of a batch's outputs for all that follows; count: of the named outputs."""
        return outputs

    @property
    def kept_by(self) -> str | None:
        """The module that decides what `keep` leaves; None where that is all."""
        return None if type(self).keep is Task.keep else type(self).__module__

    def fits(self, shape: tuple[int, ...], outputs: int) -> bool:
        """Whether what is kept of one image of a network with so many outputs has this shape."""
        return shape == (outputs,)

    def finite(self, outputs: np.ndarray) -> np.ndarray:
        """bool (N,): the images whose outputs were all finite, from what is kept of them."""
        return finite(outputs)

    def require_targets(self, targets: np.ndarray, outputs: int) -> None:
        """`UserError` where targets can't be those of a network with so many outputs."""

    def scores(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(N,) of images whose outputs are finite: bool where `counted`, else float.

        A metric that is no mean over images overrides `scored` instead, with (N, …) of what it is
        made of, and `figure`, `drop_of`, `mean_drop` and `worse_by`, which take that.
        """
        raise NotImplementedError(self.name)

    def scored(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """`scores`, the worst where outputs aren't finite."""
        worst = False if self.counted else self.metric.worst
        usable = finite(outputs)
        found = np.full(len(outputs), worst)
        found[usable] = self.scores(outputs[usable], targets[usable])
        return found

    def figure(self, scored: np.ndarray) -> float:
        """The metric, from `scored` of at least one image; its mean over conditions of (C, N)."""
        return (100.0 if self.counted else 1.0) * float(np.mean(scored))

    def figures(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Every metric by its key."""
        return {self.metric.key: self.figure(self.scored(outputs, targets))}

    def drop(
        self, reference: np.ndarray, outputs: np.ndarray, targets: np.ndarray, seed: int = 0
    ) -> Drop:
        """What `outputs` lose against the reference's, on the same images."""
        return self.drop_of(self.scored(reference, targets), self.scored(outputs, targets), seed)

    def drop_of(self, before: np.ndarray, now: np.ndarray, seed: int = 0) -> Drop:
        """As `drop`, from `scored` of the same images."""
        if self.counted:
            return drop_of(before, now, seed)
        return loss_of(self.worse_by(before, now), seed)

    def mean_drop(self, before: np.ndarray, now: np.ndarray) -> MeanDrop:
        """The mean drop over conditions, from `scored` of the same images under each: (C, N)."""
        return mean_drop(self.worse_by(before, now), self.counted)

    def worse_by(self, before: np.ndarray, now: np.ndarray) -> np.ndarray:
        """How much worse the scores became, image by image; a whole number where `counted`."""
        if self.counted:
            before, now = before.astype(np.int64), now.astype(np.int64)
        return before - now if self.metric.more_is_better else now - before

    def alike(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """bool (N,): the images on which two models' outputs say the same; not finite: on none."""
        near = (np.abs(a - b) <= self.tolerance).all(axis=tuple(range(1, a.ndim)))
        return near & finite(a) & finite(b)

    def agreement_percent(self, a: np.ndarray, b: np.ndarray) -> float:
        """Percent of images that are `alike`; ValueError for none."""
        if len(a) == 0:
            raise ValueError("no images: agreement is undefined")
        return 100.0 * float(np.mean(self.alike(a, b)))

    def losses(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """float64 (N,): what training would lower."""
        return self.worse_by(np.zeros(len(outputs)), self.scored(outputs, targets))

    def divergence(self, reference: np.ndarray, outputs: np.ndarray) -> float:
        """How far `outputs` are from the reference's in the mean over images, from 0."""
        difference = outputs.astype(np.float64) - reference
        return float((difference**2).reshape(len(outputs), -1).mean())

    def own_targets(self, reference: np.ndarray) -> np.ndarray:
        """The reference's answers as targets, for images of which nobody knows what is right."""
        return reference

    def reference(self, outputs: np.ndarray, targets: np.ndarray) -> Reference | None:
        """The float network's own accuracy, from its outputs; None: there is no doubt."""
        return None

    def reference_in(self, record: Mapping[str, Any]) -> Reference | None:
        """The same, from a validation record; None without one."""
        return None

    def answered(self, outputs: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, Any]:
        """What a comparison's record says of two models' outputs on one image, by "a" and "b"."""
        return {self.output: {model: values.tolist() for model, values in outputs.items()}}

    def answered_text(self, image: Mapping[str, Any], models: tuple[str, str]) -> list[str]:
        """The same, from the record, in lines; models: what "a" and "b" are called."""
        from mobilemod.results.table import aligned

        values = list(zip(*(image[self.output][side] for side in "ab"), strict=True))
        shown = sorted(range(len(values)), key=lambda i: -max(values[i]))[:SHOWN_OUTPUTS]
        rows = [[str(i), *(f"{v:.4f}" for v in values[i])] for i in shown]
        return aligned([[self.each, *models], *rows])

    def shares(self, outputs: np.ndarray, names: Sequence[str]) -> tuple[ClassShare, ...]:
        """What is kept of one finite image's outputs, by name: in their order, shares NaN.

        Of a task with classes, each that the image has, the largest share first.
        """
        values = enumerate(outputs.ravel().tolist())
        return tuple(ClassShare(i, names[i], value, math.nan) for i, value in values)

    def drawn(self, pixels: np.ndarray, outputs: np.ndarray) -> Image.Image | None:
        """What was kept of an image's outputs, laid over its pixels, uint8 (H, W, 3); None where
        that shows nothing."""
        return None

    # -- devices

    def golden(self, outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """What a manifest holds of models' outputs on one golden image, by model."""
        rounded = {k: [round(float(f), 5) for f in v.ravel()] for k, v in outputs.items()}
        return {"logits": rounded}

    def told(
        self,
        lines: Sequence[Line],
        targets: Sequence[Any],
        outputs: int,
        size: Sequence[int] | None = None,
    ) -> Told:
        """What a device's `image` lines are worth; targets: None where they aren't known; size: of
        the maps that the network makes."""
        found = outputs_of(lines, outputs)
        known = [i for i, target in enumerate(targets) if target is not None]
        if found is None or not known:
            usable = np.ones(len(lines), bool) if found is None else finite(found)
            return Told({m.key: None for m in self.metrics}, usable, None)
        right = np.array([targets[i] for i in known])
        scored = np.full(len(lines), False if self.counted else self.metric.worst)
        scored[known] = self.scored(found[known], right)
        return Told(dict(self.figures(found[known], right)), finite(found), scored)

    def told_alike(self, lines: Sequence[Line], here: np.ndarray, outputs: int) -> np.ndarray:
        """bool (n,): where lines say the same as this machine's outputs (n, K)."""
        found = outputs_of(lines, outputs)
        return np.zeros(len(lines), bool) if found is None else self.alike(here, found)

    def told_percent(self, lines: Sequence[Line], here: np.ndarray, outputs: int) -> float:
        """As `agreement_percent`, with this machine's outputs; 0 where lines say too little."""
        return 100.0 * float(np.mean(self.told_alike(lines, here, outputs)))

    def reference_from(self, values: Mapping[str, Any]) -> Reference | None:
        """The float network's accuracy as a device's record has it."""
        return None

    # -- records and pages

    def disagreements(
        self, predictions: Sequence[Predictions], targets: np.ndarray
    ) -> list[tuple[int, dict[str, Any]]]:
        """The images on which int8 files differ from each other or the reference, by index.

        Each with what a record says of it.
        """
        kept = [p for p in predictions if p.role in ("int8", "reference")]
        if not any(p.role == "int8" for p in kept):
            return []
        first = kept[0].outputs
        same = np.all([self.alike(first, p.outputs) for p in kept], axis=0)
        return [(int(i), {}) for i in np.flatnonzero(~same)]

    def rows(
        self, predictions: Sequence[Predictions], targets: np.ndarray, names: Sequence[str]
    ) -> list[dict[str, Any]]:
        """A record's `per_class`: figures of parts of the images or outputs."""
        return []

    def further(self, predictions: Sequence[Predictions], targets: np.ndarray) -> dict[str, Any]:
        """What a validation's record holds of this task beside what all have."""
        return {}

    def target_value(self, target: Any) -> Any:
        """A target as a record has it."""
        return float(target)

    def truth(self, record: Mapping[str, Any], target: Any) -> str:
        """A record's target, for people."""
        return f"{target:.2f} {self.metric.unit}"

    def sections(self, record: dict[str, Any], thumb: Thumb) -> list[Html | None]:
        """What a validation's page shows of this task beside the figures of all."""
        return []


def outputs_of(lines: Sequence[Line], outputs: int) -> np.ndarray | None:
    """float64 (n, K) of a device's lines, NaN where one isn't finite; None if any lacks them."""
    if not all(line["logits"] and len(line["logits"]) == outputs for line in lines):
        return None
    return np.array([[np.nan if v is None else v for v in line["logits"]] for line in lines])


def named_in(path: Path, metadata: Mapping[str, str], count: int) -> list[str]:
    """The outputs' names in a checkpoint's metadata, [] where it has none.

    `UserError` where they don't fit its outputs.
    """
    if "labels" not in metadata:
        return []
    try:
        ids = json.loads(metadata["labels"])
    except (ValueError, RecursionError):
        ids = None
    if not isinstance(ids, list) or not all(isinstance(i, str) and i.strip() for i in ids):
        raise UserError(
            f"{path}: its metadata's 'labels' ({ascii(metadata['labels'][:40])}) are no JSON list "
            "of names; write them with json.dumps, or leave them out"
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
