"""Image classification: one class an image, logits (N, K), measured by top-1.

Targets are class indices, int (N,); a class is a folder of the data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Predictions
from mobilemod.evaluation.shares import ClassShare
from mobilemod.tasks.classification.accuracy import (
    disagreements,
    log_softmax,
    same_class,
    top1,
    top1_class,
    top_k,
)
from mobilemod.tasks.classification.confusion import confused
from mobilemod.tasks.classification.doubt import Reference
from mobilemod.tasks.task import Agreement, Metric, Name, Task, Thumb, Told, named_in

if TYPE_CHECKING:
    from mobilemod.data.dataset import DataSet
    from mobilemod.data.imagefolder import ImageFolder
    from mobilemod.harness.protocol.lines import Line
    from mobilemod.results.markup import Html

TOP1, TOP5 = Metric("top1_percent", "top-1"), Metric("top5_percent", "top-5")


@dataclass(frozen=True)
class Classification(Task):
    """See the module."""

    def read(
        self, data: Path | DataSet, split: str, ids: Sequence[str], outputs: int
    ) -> ImageFolder:
        """A folder for each class; see `mobilemod.data.imagefolder.read_split`."""
        from mobilemod.data.imagefolder import read_split

        return read_split(data, split, tuple(ids), outputs)

    def names(
        self,
        checkpoint: Path,
        known: Sequence[str],
        metadata: Mapping[str, str],
        count: int,
        data: Path | DataSet | None,
    ) -> tuple[Name, ...]:
        """The classes, in output order.

        By the checkpoint's metadata, else as the network's family says where it has as many, else
        ImageNet's for 1,000 classes, else the data folder's class names (see `output_order`), else
        "class 0", "class 1" and so on.
        """
        from mobilemod.data.classes import output_order
        from mobilemod.data.dataset import DataSet
        from mobilemod.data.imagefolder import class_names, imagenet_synsets
        from mobilemod.data.listing import class_folders

        ids = named_in(checkpoint, metadata, count)
        if not ids and len(known) == count:
            ids = list(known)
        images = None if data is None else DataSet.of(data)
        if not ids and count == 1000 and not (images and images.classes and images.classes.order):
            ids = list(imagenet_synsets())
        if not ids and images is not None:
            root = images.folder("train")
            ids = list(output_order(root, list(class_folders(root)), count, images.classes))
        if not ids:
            return tuple({"id": str(i), "label": f"class {i}"} for i in range(count))
        return class_names(ids)

    def require_targets(self, targets: np.ndarray, outputs: int) -> None:
        """Targets are class indices."""
        if targets.min() < 0 or targets.max() >= outputs:
            raise UserError(
                f"a target lies outside the {outputs} labels; the data isn't this model's"
            )

    def scores(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Whether the top-1 is right."""
        return top1(outputs, targets)

    def figures(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Top-1 and top-5 in percent."""
        return {TOP1.key: top_k(outputs, targets, 1), TOP5.key: top_k(outputs, targets, 5)}

    def alike(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Whether the top-1 is the same."""
        return same_class(a, b)

    def losses(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Cross-entropy, nats."""
        return -np.take_along_axis(log_softmax(outputs), targets[:, None], 1)[:, 0]

    def divergence(self, reference: np.ndarray, outputs: np.ndarray) -> float:
        """KL(reference, outputs) of the classes' probabilities, nats."""
        p = log_softmax(reference)
        return float((np.exp(p) * (p - log_softmax(outputs))).sum(1).mean())

    def own_targets(self, reference: np.ndarray) -> np.ndarray:
        """The reference's top-1."""
        return top1_class(reference)

    def reference(self, outputs: np.ndarray, targets: np.ndarray) -> Reference:
        """The float network's top-1, and of how many classes."""
        right = self.figure(self.scored(outputs, targets))
        return Reference(right, len(targets), len(np.unique(targets)), outputs.shape[1])

    def reference_in(self, record: Mapping[str, Any]) -> Reference | None:
        """The same, from a validation record."""
        found = next((p for p in record["predictions"] if p["role"] == "reference"), None)
        if found is None:
            return None
        data = record["data"]
        classes = len(record["per_class"])
        return Reference(found[TOP1.key], data["images"], classes, len(data["labels"]))

    def answered(self, outputs: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, Any]:
        """With the classes named."""
        best = {model: int(values.argmax()) for model, values in outputs.items()}
        named = {k: {"index": i, "label": names[i]} for k, i in best.items()}
        return {**super().answered(outputs, names), "top1": named}

    def answered_text(self, image: Mapping[str, Any], models: tuple[str, str]) -> list[str]:
        """With whether they are the same, and which."""
        top = image["top1"]
        same = "the same" if top["a"] == top["b"] else "different"
        where = ", ".join(f"{top[s]['label']} ({top[s]['index']})" for s in "ab")
        return [*super().answered_text(image, models), f"top-1 {same}: {where}"]

    def shares(self, outputs: np.ndarray, names: Sequence[str]) -> tuple[ClassShare, ...]:
        """Every class by its logit, of equals the lower index first; its probability by softmax."""
        part = np.exp(log_softmax(outputs[None])[0])
        order = np.argsort(-outputs, kind="stable")
        return tuple(ClassShare(int(i), names[i], float(outputs[i]), float(part[i])) for i in order)

    def told(
        self,
        lines: Sequence[Line],
        targets: Sequence[Any],
        outputs: int,
        size: Sequence[int] | None = None,
    ) -> Told:
        """By the top five, which every line has."""
        best = best_classes(lines, outputs)
        known = np.array([target is not None for target in targets])
        right = np.array([-1 if target is None else target for target in targets])
        first = np.array(
            [any(c == t for c, _ in line["top"]) for line, t in zip(lines, right, strict=True)]
        )
        figures = {
            TOP1.key: percent((best == right)[known]),
            TOP5.key: percent((first & (best >= 0))[known]) if outputs > 5 else None,
        }
        return Told(figures, best >= 0, best == right)

    def told_alike(self, lines: Sequence[Line], here: np.ndarray, outputs: int) -> np.ndarray:
        """Whether the top-1 is the same."""
        return top1(here, best_classes(lines, outputs))

    def reference_from(self, values: Mapping[str, Any]) -> Reference:
        """The float network's top-1 as a device's record has it."""
        return Reference(**values)

    def disagreements(
        self, predictions: Sequence[Predictions], targets: np.ndarray
    ) -> list[tuple[int, dict[str, Any]]]:
        """With every model's class and margin."""
        return disagreements(predictions)

    def rows(
        self, predictions: Sequence[Predictions], targets: np.ndarray, names: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Top-1 of each class that has images."""
        if not predictions:
            return []
        images = np.bincount(targets, minlength=len(names))
        right = [
            np.bincount(targets[top1(p.outputs, targets)], minlength=len(names))
            for p in predictions
        ]
        return [
            {
                "class": int(c),
                "label": str(names[c]),
                "images": int(images[c]),
                TOP1.key: [100.0 * int(r[c]) / int(images[c]) for r in right],
            }
            for c in np.flatnonzero(images)
        ]

    def further(self, predictions: Sequence[Predictions], targets: np.ndarray) -> dict[str, Any]:
        """Which classes are taken for which."""
        return {"confusion": confused(predictions, targets)}

    def target_value(self, target: Any) -> int:
        """A class index."""
        return int(target)

    def truth(self, record: Mapping[str, Any], target: int) -> str:
        """The class's name."""
        return record["data"]["labels"][target]

    def sections(self, record: dict[str, Any], thumb: Thumb) -> list[Html | None]:
        """Images that models name differently, and the accuracy of each class."""
        from mobilemod.tasks.classification.confusion_page import confusion
        from mobilemod.tasks.classification.page import disagreeing, per_class

        return [disagreeing(record, thumb), confusion(record), per_class(record)]


def best_classes(lines: Sequence[Line], classes: int) -> np.ndarray:
    """int64 (n,): the classes answered; -1 where a logit is known not to be finite, as here.

    Known it is from the logits, or from fewer than five in the top five.
    """
    found = []
    for line in lines:
        finite = [best for best, logit in line["top"] if logit is not None]
        broken = len(finite) < min(5, classes) or None in (line["logits"] or ())
        found.append(-1 if broken else int(finite[0]))
    return np.array(found)


def percent(right: np.ndarray) -> float | None:
    """Of bool (n,); None for none."""
    return 100.0 * float(np.mean(right)) if len(right) else None


TASK = Classification(
    name="classification",
    metrics=(TOP1, TOP5),
    agreement=Agreement(TOP1.key, "top-1 %", "the same top-1", "top1_agreement_percent"),
    output="logits",
    each="class",
    truths="labels",
    loss="cross-entropy",
    loss_unit="nats",
    class_folders=True,
    counted=True,
)
