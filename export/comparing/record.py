"""The record of a comparison: B against A."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from export.bundle_parts import load_runner, running_files
from export.comparing.pairing import changed, paired_accuracy
from export.measure.validation import candidate_of, predict, read_validation_images
from export.tables import load_table, table_forms
from mobilemod.data.dataset import DataSet
from mobilemod.errors import UserError
from mobilemod.machine.sharing import measuring
from mobilemod.manifest import Bundle
from mobilemod.manifest_schema import ModelFile
from mobilemod.progress import progress
from mobilemod.tasks import task_field

SCHEMA = "mobilemod/comparison/1"
ROUNDS = 20
RUN_SECONDS = 0.03  # of each file in each round
MOST_TENSORS = 20
Pairs = list[tuple[ModelFile, ModelFile]]


def compare_bundles(
    a: Bundle, b: Bundle, data: DataSet | None, limit: int | None = None, timed: bool = False
) -> dict[str, Any]:
    """Sizes, audits, recipe, tools and tables; with data also both bundles' answers to the same
    images, paired; timed: also the files' times, in turns on this machine.

    Files are paired by target and precision. `UserError` for bundles of other tasks or classes,
    and where no pair of files is there.
    """
    if a.manifest.task != b.manifest.task or a.label_ids != b.label_ids:
        raise UserError(f"{a.folder} and {b.folder} are networks of other classes or tasks")
    pairs = paired(a, b)
    if not pairs:
        raise UserError(f"{a.folder} and {b.folder} hold no files of the same target and precision")
    files = [
        {"target": x.target, "precision": x.precision, "a": _facts(x), "b": _facts(y)}
        for x, y in pairs
    ]
    if data is not None:
        found, images = _answers(a, b, pairs, data, limit)
        files = [f | {"accuracy": found.get((f["target"], f["precision"]))} for f in files]
    else:
        images = None
    if timed:
        times = _times(a, b, pairs)
        files = [f | {"time": times.get((f["target"], f["precision"]))} for f in files]
    return {
        "schema": SCHEMA,
        **task_field(a.manifest.task),
        "a": _about(a),
        "b": _about(b),
        "images": images,
        "files": files,
        "only": {"a": _lone(a, b), "b": _lone(b, a)},
        "tools": changed(a.manifest.tools, b.manifest.tools),
        "tables": [_tables(a, b, form) for form in table_forms(a) if form in table_forms(b)],
    }


def paired(a: Bundle, b: Bundle) -> Pairs:
    """Files of the same target and precision, in A's order."""
    others = {_key(entry): entry for entry in b.manifest.files}
    return [(e, others[_key(e)]) for e in a.manifest.files if _key(e) in others]


def _key(entry: ModelFile) -> tuple[str, str]:
    return entry.target, entry.precision


def _lone(a: Bundle, b: Bundle) -> list[str]:
    keys = {_key(entry) for entry in b.manifest.files}
    return [entry.file for entry in a.manifest.files if _key(entry) not in keys]


def _about(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    height, width = bundle.preprocess.sides
    return {"bundle": str(bundle.folder), "model": manifest.model, "recipe": manifest.recipe.name,
            "size": [height, width], "weights": manifest.checkpoint.weights}  # fmt: skip


def _facts(entry: ModelFile) -> dict[str, Any]:
    audit = entry.audit
    return {"file": entry.file, "bytes": entry.bytes, "int8_share": audit.int8_share,
            "partitions": audit.partitions, "outside": sum(audit.outside.values())}  # fmt: skip


def _tables(a: Bundle, b: Bundle, form: str) -> dict[str, Any]:
    """Of tensors that both have, those with another scale, zero point or dtype; the most first."""
    first, second = (load_table(bundle, form).entries for bundle in (a, b))
    both = [name for name in first if name in second]
    found = []
    for name in both:
        x, y = first[name], second[name]
        scales = np.broadcast_arrays(np.asarray(x.scale, float), np.asarray(y.scale, float)) if (
            len({len(x.scale), len(y.scale)} - {1}) <= 1
        ) else None  # fmt: skip
        ratio = None if scales is None else float(np.abs(np.log2(scales[1] / scales[0])).max())
        if ratio or ratio is None or x.zero_point != y.zero_point or x.dtype != y.dtype:
            found.append({"tensor": name, "octaves": ratio, "dtype": [x.dtype, y.dtype]})
    found.sort(key=lambda e: -np.inf if e["octaves"] is None else -e["octaves"])
    return {
        "form": form,
        "tensors": len(both),
        "other": len(found),
        "most": found[:MOST_TENSORS],
        "only": [sum(n not in second for n in first), sum(n not in first for n in second)],
    }


def _answers(
    a: Bundle, b: Bundle, pairs: Pairs, data: DataSet, limit: int | None
) -> tuple[dict[tuple[str, str], dict[str, Any]], int]:
    """Of each pair what B loses against A, and the images that became wrong or right."""
    task = a.task
    if task.maps and a.preprocess != b.preprocess:
        raise UserError("maps of networks with another preprocessing have other pixels")
    outputs, kept, targets = [], [], []
    for bundle, entries in ((a, [x for x, _ in pairs]), (b, [y for _, y in pairs])):
        here = {e.file for e in running_files(bundle)}
        images = read_validation_images(bundle, data, limit)
        answers = predict(bundle, images, [candidate_of(e) for e in entries if e.file in here])
        outputs.append({p.file: p.outputs for p in answers.predictions[None]})
        kept.append(answers.kept)
        targets.append(task.targets(images, answers.kept, bundle.preprocess))
    if kept[0] != kept[1]:
        raise UserError("not the same images could be read for both bundles; run it again")
    found, names = {}, [images.name(i) for i in kept[0]]
    for x, y in pairs:
        if x.file not in outputs[0] or y.file not in outputs[1]:
            continue
        one, two = outputs[0][x.file], outputs[1][y.file]
        before, now = task.scored(one, targets[0]), task.scored(two, targets[1])
        found[_key(x)] = {
            **paired_accuracy(task, before, now, names),
            task.agreement.key: task.agreement_percent(one, two),
        }
    return found, len(kept[0])


def _times(a: Bundle, b: Bundle, pairs: Pairs) -> dict[tuple[str, str], dict[str, Any]]:
    """Milliseconds of one run on one thread, medians over rounds in turns, and B's over A's."""
    here = {e.file for e in running_files(a, say=False)} & {x.file for x, _ in pairs}
    runs = {}
    for x, y in pairs:
        if x.file in here:
            runs[_key(x)] = [_runner(a, x), _runner(b, y)]
    taken: dict[tuple[str, str], list[list[float]]] = {key: [] for key in runs}
    with measuring():
        for number in progress(range(ROUNDS), "timing", ROUNDS, "round"):
            for key, two in runs.items():
                order = (0, 1) if number % 2 else (1, 0)
                ms = dict(zip(order, (_median(two[i]) for i in order), strict=True))
                taken[key].append([ms[0], ms[1]])
    return {
        key: {
            "ms": [statistics.median(column) for column in zip(*rounds, strict=True)],
            "ratio": statistics.median(y / x for x, y in rounds),
        }
        for key, rounds in taken.items()
    }


def _runner(bundle: Bundle, entry: ModelFile) -> Callable[[], object]:
    run = load_runner(bundle, entry).run
    height, width = bundle.preprocess.sides
    x = np.zeros((1, 3, height, width), np.float32)
    return lambda: run(x)


def _median(run: Callable[[], object]) -> float:
    run()  # the other's run has cooled the caches
    return statistics.median(_runs(run))


def _runs(run: Callable[[], object]) -> Iterator[float]:
    begin = time.perf_counter()
    for number in itertools.count():
        start = time.perf_counter()
        if number >= 3 and start - begin > RUN_SECONDS:
            return
        run()
        yield (time.perf_counter() - start) * 1e3
