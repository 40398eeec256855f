"""A bundle's int8 files against the float network on corrupted images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle_parts import OpenedBundle
from export.measure.validation import (
    Answers,
    Candidate,
    candidates,
    predict,
    read_validation_images,
)
from mobilemod.data.corruptions import CONDITIONS, Condition
from mobilemod.data.dataset import DataSet
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Predictions
from mobilemod.files import write_json
from mobilemod.manifest import Bundle, load_bundle
from mobilemod.results.gates import judge_drop, judged
from mobilemod.results.report.page import write_report
from mobilemod.results.verdict import Verdict
from mobilemod.tasks import task_field
from mobilemod.tasks.task import Task

SCHEMA = "mobilemod/stress/1"
STRESS_FILE = Path("stress", "stress.json")


@dataclass(frozen=True)
class StressConfig:
    """What to measure; `targets` None: all that the bundle holds.

    images: how many, spread over the set. max_mean_drop: points of the metric that an int8 file
    may lose in the mean over all conditions.
    """

    bundle: Path
    data: Path | DataSet
    images: int = 500
    targets: tuple[str, ...] | None = None
    max_mean_drop: float = 0.7

    def __post_init__(self) -> None:
        if self.images < 1:
            raise UserError("--images must be 1 or more")


def stress_bundle(config: StressConfig) -> tuple[dict[str, Any], list[Verdict]]:
    """Measure under no corruption and under each of `CONDITIONS`.

    `stress/stress.json` is written, and the bundle's report anew.

    The float network sees the same corrupted images, so that a drop is what int8 alone costs.
    Predictions are cached by content: an interrupted run goes on where it was.
    """
    bundle = load_bundle(config.bundle)
    names = _chosen(bundle, config.targets)
    images = read_validation_images(bundle, config.data, config.images)
    answers = predict(bundle, images, names, (None, *CONDITIONS))
    targets = bundle.task.targets(images, answers.kept, bundle.preprocess)
    record = make_record(answers, targets, bundle.task)
    for model, candidate in zip(record["models"], names, strict=True):
        model["sha256"] = candidate.sha256
    manifest = bundle.manifest
    about = {
        "schema": SCHEMA,
        **task_field(manifest.task),
        "model": manifest.model,
        "recipe": manifest.recipe.name,
        "weights": manifest.checkpoint.weights,
        "images": len(answers.kept),
        "data": images.about(OpenedBundle(bundle).calibrated_on),
        "damaged": answers.damaged,
        "reasons": answers.reasons,
        "left_out": images.left_out,
    }
    reference = bundle.task.reference(answers.predictions[None][0].outputs, targets)
    verdicts = [
        judge_drop(m["name"], m["mean_drop"], config.max_mean_drop, "mean drop", reference)
        for m in record["models"]
        if m["role"] == "int8"
    ]
    record = judged({**about, **record}, verdicts)
    write_json(config.bundle / STRESS_FILE, record)
    write_report(config.bundle)
    return record, verdicts


def _chosen(bundle: Bundle, targets: Sequence[str] | None) -> list[Candidate]:
    """The float network and the int8 files of `targets`."""
    found = candidates(bundle)
    int8 = [c for c in found if c.role == "int8"]
    held = list(dict.fromkeys(c.target for c in int8))
    for target in targets or ():
        if target not in held:
            raise UserError(
                f"{bundle.folder} has no int8 file for {target!r}; it has {', '.join(held)}"
            )
    chosen = [c for c in int8 if targets is None or c.target in targets]
    if not chosen:
        raise UserError(f"no int8 file to measure; {bundle.folder} has {', '.join(held) or 'none'}")
    return [next(c for c in found if c.role == "reference"), *chosen]


def make_record(answers: Answers, targets: np.ndarray, task: Task) -> dict[str, Any]:
    """The measured part of the record; targets: (N, …), what is right.

    `conditions`: no corruption first. `models`: the float network first.
    """
    corrupted = [c for c in answers.predictions if c is not None]
    first = answers.predictions[None]
    scored = {
        c: [task.scored(p.outputs, targets) for p in found]
        for c, found in answers.predictions.items()
    }
    before = np.stack([scored[c][0] for c in corrupted])
    models = []
    for i, p in enumerate(first):
        now = np.stack([scored[c][i] for c in corrupted])
        mean = asdict(task.mean_drop(before, now)) if i else None
        models.append(
            {
                "name": p.name,
                "role": p.role,
                "file": p.file,
                "runner": p.runner,
                f"mean_{task.metric.key}": task.figure(now),
                "mean_drop": mean,
            }
        )
    conditions = [_condition(c, found, targets, task) for c, found in answers.predictions.items()]
    return {"conditions": conditions, "models": models}


def _condition(
    condition: Condition | None, found: list[Predictions], targets: np.ndarray, task: Task
) -> dict[str, Any]:
    reference = found[0].outputs
    return {
        "corruption": condition and condition.corruption,
        "strength": condition and condition.strength,
        "level": condition and condition.level,
        "models": [
            {
                "name": p.name,
                task.metric.key: task.figures(p.outputs, targets)[task.metric.key],
                "drop": asdict(task.drop(reference, p.outputs, targets)) if i else None,
            }
            for i, p in enumerate(found)
        ],
    }
