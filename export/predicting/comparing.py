"""Files of a bundle side by side on images: a record, and its text."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle_parts import running_files
from export.predicting.host import best_file
from export.predicting.model import (
    Model,
    entry_of,
    is_bundle,
    load_entry,
    opened_around,
)
from export.predicting.pictures import pixels_of
from mobilemod.errors import UserError, shown
from mobilemod.files import atomic_path
from mobilemod.manifest import load_bundle
from mobilemod.progress import progress
from mobilemod.results.outcomes.predicted import Prediction
from mobilemod.results.table import aligned
from mobilemod.tasks import task_field, task_of

SCHEMA = "mobilemod/predictions/1"
MAX_STEM = 80  # characters of an image's name in a picture's


def open_models(
    source: Path, files: Sequence[str] = (), every: bool = False, threads: int = 1
) -> list[Model]:
    """The files to run: of a bundle's folder those of `files`, `every` one that runs here, or the
    one that serves best here; of a model file itself, or with `every` all of its bundle's.

    Raises `UserError` as `mobilemod.load`, and for what doesn't go together.
    """
    if files and (every or not is_bundle(source)):
        raise UserError("--files names files of a bundle's folder; give that, and no --all")
    bundle = load_bundle(source, verify=False) if is_bundle(source) else None
    if bundle is None:
        bundle, own = opened_around(source)
        entries = [own]
    else:
        entries = [entry_of(bundle, f) for f in files] if files else []
    if every:
        entries = running_files(bundle)
    return [load_entry(bundle, entry, threads) for entry in entries or [best_file(bundle)]]


def predict_images(
    models: Sequence[Model],
    images: Sequence[Path],
    top: int,
    out: Path | None = None,
    strict: bool = False,
) -> dict[str, Any]:
    """Every model's answer to every image, and whether these are the same: a record.

    models: of one bundle. out: a folder for a picture of each map over its image; `UserError` for a
    network without maps. strict: an image without an answer is raised rather than told in `errors`.
    """
    bundle = models[0].bundle
    if out is not None and not bundle.task.maps:
        raise UserError("--out is for pictures of maps; this network gives none: leave it out")
    found: list[dict[str, Any]] = []
    errors: list[dict[str, str]] = []
    for number, path in enumerate(progress(images, "predicting", len(images), "img"), 1):
        try:
            # Read once, whatever answers.
            pixels = pixels_of(path, bundle.preprocess)
            answers = [model.answer(pixels, top) for model in models]
        except UserError as error:
            if strict:
                raise
            errors.append({"image": shown(path), "error": str(error)})
            continue
        entry = {"image": shown(path), "answers": [a.to_dict() for a in answers]}
        if len(models) > 1:
            entry |= compared(models[0], answers)
        if out is not None:
            entry["pictures"] = [shown(p) for p in _drawn(out, number, path, answers)]
        found.append(entry)
    return {
        "schema": SCHEMA,
        "model": bundle.manifest.model,
        **task_field(bundle.manifest.task),
        "files": [
            {
                "file": model.file.file,
                "target": model.file.target,
                "precision": model.file.precision,
                "runner": model.description,
            }
            for model in models
        ],
        "images": found,
        "errors": errors,
    }


def compared(model: Model, answers: Sequence[Prediction]) -> dict[str, Any]:
    """Of one image: whether all answer as the first does, and each one's agreement with it."""
    task = model.bundle.task
    first, *others = (np.asarray(answer.outputs)[None] for answer in answers)
    return {
        "same": all(bool(task.alike(first, other)[0]) for other in others),
        task.agreement.key: [task.agreement_percent(first, other) for other in others],
    }


def _drawn(out: Path, number: int, image: Path, answers: Sequence[Prediction]) -> list[Path]:
    found = []
    for answer in answers:
        file = f"-{answer.file}" if len(answers) > 1 else ""
        path = out / f"{number:04d}-{shown(image.stem)[:MAX_STEM]}{file}.png"
        if answer.overlay is not None:
            with atomic_path(path) as temporary:
                answer.overlay.save(temporary, "PNG")
            found.append(path)
    return found


def predictions_text(record: dict[str, Any], top: int) -> str:
    """The record for a terminal: a table an image, a column a file."""
    files = record["files"]
    names = [f"{f['target']} {f['precision']}" for f in files]
    lines = [f"{name}: {f['file']}, {f['runner']}" for name, f in zip(names, files, strict=True)]
    for image in record["images"]:
        columns = [_column(answer, top) for answer in image["answers"]]
        rows = max(map(len, columns))
        table = [["", *names]]
        for i in range(rows):
            table.append([str(i + 1), *(c[i] if i < len(c) else "" for c in columns)])
        table.append(["ms", *(f"{a['milliseconds']:.1f}" for a in image["answers"])])
        lines += ["", image["image"], *aligned(table, left=frozenset(range(len(table[0]))))]
        lines += _agreement(record, image)
        lines += image.get("pictures", [])
    return "\n".join([*lines, *_summary(record, names)])


def _column(answer: dict[str, Any], top: int) -> list[str]:
    """The first classes of an answer, each with its share or number."""
    return [
        f"{c['label']} {c['score']:.4f}" if c["share"] is None
        else f"{c['label']} {100 * c['share']:.1f} %"
        for c in answer["classes"][:top]
    ]  # fmt: skip


def _agreement(record: dict[str, Any], image: dict[str, Any]) -> list[str]:
    if "same" not in image:
        return []
    task = task_of(record)
    if not task.maps:
        return [task.agreement.short if image["same"] else "different answers"]
    percents = ", ".join(f"{p:.2f}" for p in image[task.agreement.key])
    return [f"{task.agreement.head} with the first: {percents}"]


def _summary(record: dict[str, Any], names: Sequence[str]) -> list[str]:
    images = record["images"]
    if len(images) < 2:
        return []
    times = zip(*([a["milliseconds"] for a in i["answers"]] for i in images), strict=True)
    told = ", ".join(
        f"{name} {statistics.median(t):.1f} ms" for name, t in zip(names, times, strict=True)
    )
    lines = ["", f"{len(images)} images, medians: {told}"]
    if len(names) > 1:
        same = sum(image["same"] for image in images)
        lines.append(f"all files answer the same on {same} of {len(images)}")
    return lines
