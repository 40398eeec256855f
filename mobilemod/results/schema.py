"""The validation record: what `mobilemod validate` found out, as versioned JSON.

docs/results-schema.md describes every key; `results/spec.py` holds the same in code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from itertools import combinations
from pathlib import PurePath
from typing import Any

import numpy as np

from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import ROLES, Predictions
from mobilemod.evaluation.agreement import sqnr_db, worst_images
from mobilemod.evaluation.outcomes import Outcomes
from mobilemod.results.outcomes.validated import Measured, Pair
from mobilemod.results.spec import SCHEMA_VERSION, validate_record
from mobilemod.tasks import DEFAULT, get_task, task_field
from mobilemod.tasks.task import Task

__all__ = [
    "SCHEMA_VERSION",
    "build_record",
    "int8_pairs",
    "json_ready",
    "own_ranges",
    "own_ranges_text",
    "validate_record",
]

MEASURES = ("int8", "float", "program")  # roles whose drop against the reference is taken


def build_record(
    predictions: Sequence[Predictions],
    targets: np.ndarray,
    labels: Sequence[str],
    image_names: Sequence[str],
    damaged: Sequence[str],
    bundle_info: dict,
    audits: dict[str, dict],
    seed: int = 0,
    reasons: Sequence[str] = (),
    left_out: Mapping[str, int] | None = None,
    about: Mapping[str, Any] | None = None,
    task: str = DEFAULT,
    gpu: Mapping[str, Any] | None = None,
) -> dict:
    """The record of a task's outputs of N images, JSON-ready.

    targets: (N, …), what is right, as the task has it. labels: of the K outputs. image_names: N
    names, in the same order. damaged: images that couldn't be read, not among the N; reasons: why,
    as many, or none. left_out: how many files beside them weren't taken for images, by kind. about:
    where they lie, `ImageFolder.about`'s form. task: its name. bundle_info: anything JSON-like; a
    file's size is taken from `bundle_info["files"]` (by name, or a list with "name" or "file") or
    its audit, under "bytes". audits: by file name. gpu: `GpuCheck`'s form. No predictions: accuracy
    wasn't measured.

    Raises UserError where shapes, names or roles don't fit each other.
    """
    kind, targets = get_task(task), np.asarray(targets)
    _check_inputs(kind, predictions, targets, labels, image_names)
    reference = next((p for p in predictions if p.role == "reference"), None)
    record = {
        "schema": SCHEMA_VERSION,
        **task_field(task),
        "measured": bool(predictions),
        "bundle": json_ready(bundle_info),
        "data": {
            "images": len(image_names),
            "labels": [str(label) for label in labels],
            "damaged": [str(name) for name in damaged],
            "reasons": [str(reason) for reason in reasons],
            "left_out": dict(left_out or {}),
            **(about or {"folder": "", "split": "", "calibrated_on": None}),
        },
        "predictions": [
            Measured(
                p.name,
                p.role,
                p.file,
                p.runner,
                _file_bytes(p.file, bundle_info, audits),
                kind.figures(p.outputs, targets),
                int((~kind.finite(p.outputs)).sum()),
                kind.drop(reference.outputs, p.outputs, targets, seed)
                if reference and p.role in MEASURES
                else None,
            ).to_dict()
            for p in predictions
        ],
        "agreement": [
            Pair(
                a.name,
                b.name,
                kind.agreement_percent(a.outputs, b.outputs),
                sqnr if math.isfinite(sqnr) else None,
                sqnr == math.inf,
            ).to_dict(kind)
            for a, b in combinations(predictions, 2)
            for sqnr in [_sqnr(kind, a.outputs, b.outputs)]
        ],
        "per_class": kind.rows(predictions, targets, labels),
        **kind.further(predictions, targets),
        "disagreements": [
            {
                "index": i,
                "image": str(image_names[i]),
                "target": kind.target_value(targets[i]),
                **more,
            }
            for i, more in kind.disagreements(predictions, targets)
        ],
        "worst_images": [
            {
                "name": p.name,
                "images": [
                    {
                        "index": i,
                        "image": str(image_names[i]),
                        "target": kind.target_value(targets[i]),
                        "rms_error": error if math.isfinite(error) else None,
                    }
                    for i, error in worst_images(reference.outputs, p.outputs)
                ],
            }
            for p in predictions
            if reference and p.role == "int8" and kind.numeric
        ],
        "outcomes": _outcomes(kind, predictions, targets, image_names),
        "audits": json_ready(audits),
        "gpu": json_ready(gpu),
        "verdicts": None,
    }
    validate_record(record)
    return record


def _outcomes(
    task: Task,
    predictions: Sequence[Predictions],
    targets: np.ndarray,
    image_names: Sequence[str],
) -> dict[str, Any] | None:
    """What two records are paired by; None where images can't be told apart by their names."""
    if not predictions or len(set(image_names)) != len(image_names):
        return None
    scored = {p.name: task.scored(p.outputs, targets) for p in predictions}
    return Outcomes.of([*map(str, image_names)], targets, scored).to_dict()


def _sqnr(task: Task, a: np.ndarray, b: np.ndarray) -> float:
    """dB; of codes only whether they are the same, inf, or not, NaN."""
    if task.numeric:
        return sqnr_db(a, b)
    return math.inf if np.array_equal(a, b) else math.nan


def _check_inputs(
    task: Task,
    predictions: Sequence[Predictions],
    targets: np.ndarray,
    labels: Sequence[str],
    image_names: Sequence[str],
) -> None:
    if not predictions:
        return
    images, classes = len(image_names), len(labels)
    if images == 0:
        raise UserError("no image was read; give a data folder with readable images")
    if len(targets) != images:
        raise UserError(f"{len(targets)} targets for {images} images; they must be the same images")
    task.require_targets(targets, classes)
    seen: set[str] = set()
    for p in predictions:
        if p.role not in ROLES:
            raise UserError(f"{p.name}: unknown role {p.role!r}; one of {', '.join(ROLES)}")
        if p.name in seen or (p.role == "reference" and "\0reference" in seen):
            raise UserError(f"{p.name}: a second one of this name or a second reference")
        seen |= {p.name, "\0reference"} if p.role == "reference" else {p.name}
        if len(p.outputs) != images or not task.fits(p.outputs.shape[1:], classes):
            raise UserError(
                f"{p.name}: {task.output} of shape {tuple(p.outputs.shape)}, expected {images} "
                f"images by {classes} labels; the file belongs to another model or run"
            )


def _file_bytes(file: str | None, bundle_info: dict, audits: dict[str, dict]) -> int | None:
    files = bundle_info.get("files", {})
    if isinstance(files, list):
        files = {e.get("name") or e.get("file"): e for e in files if isinstance(e, dict)}
    for source in (files, audits):
        entry = source.get(file) if isinstance(source, dict) else None
        if isinstance(entry, dict) and isinstance(entry.get("bytes"), int):
            return entry["bytes"]
    return None


def rows_by_file(predictions: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """File's name -> its entry among `predictions`, in its target's own runtime."""
    # A file's first row is of its own runtime.
    return {p["file"]: p for p in reversed(predictions) if p["file"]}


def int8_pairs(record: dict) -> list[tuple[str, str, dict | None]]:
    """Names of every pair of int8 files with its entry of `agreement`, None where it lacks."""
    found = {frozenset((a["reference"], a["other"])): a for a in record["agreement"]}
    names = [p["name"] for p in record["predictions"] if p["role"] == "int8"]
    return [(a, b, found.get(frozenset((a, b)))) for a, b in combinations(names, 2)]


def own_ranges(record: dict) -> dict[str, str]:
    """Name of an int8 prediction whose ranges aren't the parameter table's -> its file."""
    files = record["bundle"].get("files")
    own = {n for n, e in files.items() if e.get("own_ranges")} if isinstance(files, dict) else ()
    rows = record["predictions"]
    return {p["name"]: p["file"] for p in rows if p["role"] == "int8" and p["file"] in own}


def own_ranges_text(record: dict) -> str:
    """A sentence on those; "" where there are none."""
    names = ", ".join(own_ranges(record))
    return names and (
        f"int8 by ranges of its writer's own, not by the parameter table: {names}; how it agrees "
        "with the others is told, not judged"
    )


def json_ready(value: Any) -> Any:
    """`value` with NumPy, tuples, paths and dataclasses as JSON has them; NaN and inf as None."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(k): json_ready(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return json_ready(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        return [json_ready(v) for v in items]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.as_posix() if isinstance(value, PurePath) else str(value)
