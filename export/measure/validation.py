"""Validation on this machine: every file of a bundle, and the network it came from, on images."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.bundle_parts import (
    load_calibrated,
    load_quantized_network,
    load_reference,
)
from export.lowering import tool_versions
from export.quiet import quiet
from export.tables import load_table, table_file
from export.targets.base import FORMS
from export.targets.target import get_target
from mobilemod.closure import code_digest
from mobilemod.data.corruptions import Condition
from mobilemod.data.dataset import DataSet
from mobilemod.data.imagefolder import (
    Damage,
    Damaged,
    ImageFolder,
    changed,
    read_batch,
    read_split,
    refuse,
)
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Predictions
from mobilemod.files import atomic_folder, atomic_path, write_json
from mobilemod.forms.mobile import build_mobile
from mobilemod.manifest import Bundle, load_bundle, record_accuracy, require_same
from mobilemod.progress import progress
from mobilemod.results.gates import Gates, check, judged
from mobilemod.results.schema import build_record, validate_record
from mobilemod.results.validation.page import write_report
from mobilemod.results.verdict import Verdict
from mobilemod.sealed import KEY, read_sealed, sealed
from mobilemod.workers import worker_pool
from quantization.calibration import cache_path, weights_digest
from quantization.program import quantize

CHUNK = 32
# Images that torch and the evaluator compute at once: few, so that their tensors stay in the cache.
BATCH = 8
REPORT_FOLDER, RECORD_FILE = "report", "validation.json"


@dataclass(frozen=True)
class Candidate:
    """One thing whose predictions are taken: the network, its quantized program, or a file.

    sha256: of a file, as the manifest has it.
    """

    name: str
    role: str
    file: str | None = None
    target: str | None = None
    form: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Source:
    """Which bundle a worker reads: nothing of another one may get into the same measurement."""

    folder: Path
    identity: str


@dataclass(frozen=True)
class Outcome:
    """Logits float32 (n, K) by candidate name of one chunk, and which images were damaged."""

    start: int
    condition: Condition | None
    kept: list[int]
    damaged: list[Damaged]
    logits: dict[str, np.ndarray]
    runners: dict[str, str]


@dataclass(frozen=True)
class Answers:
    """What the candidates answered under each condition; None: on the images as they are.

    kept: indices of the samples that could be read. damaged: the files that couldn't, reasons: why.
    """

    predictions: dict[Condition | None, list[Predictions]]
    kept: list[int]
    damaged: list[str]
    reasons: list[str] = field(default_factory=list)


def candidates(bundle: Bundle) -> list[Candidate]:
    """The network in float, the quantized program of each form, and every model file."""
    found = [Candidate("torch float", "reference")]
    for form in FORMS:
        if table_file(form) in bundle.hashes:
            found.append(Candidate(f"quantized program, {form}", "program", form=form))
    for entry in bundle.model_files():
        role = "int8" if entry["precision"] == "int8" else "float"
        found.append(
            Candidate(
                f"{entry['target']} {entry['precision']}",
                role,
                entry["file"],
                entry["target"],
                sha256=entry["sha256"],
            )
        )
    return found


@functools.cache
def _bundle(source: Source) -> Bundle:
    bundle = load_bundle(source.folder, verify=False)
    require_same(bundle, source.identity)
    return bundle


@dataclass(frozen=True)
class _Runner:
    """What answers (N, 3, S, S) with (N, K). digest: of all that was read to make it."""

    run: Callable[[np.ndarray], np.ndarray]
    description: str
    digest: str


@functools.cache
def _runner(source: Source, candidate: Candidate) -> _Runner:
    """Loaded once per worker."""
    bundle = _bundle(source)
    if candidate.target is not None:
        target = get_target(candidate.target)
        path = bundle.file(candidate.file)
        with quiet():
            runner = target.load(path)
        # Looked at again: it may have been replaced while it was loaded.
        bundle.file(candidate.file)
        read = bundle.hashes[candidate.file][0], code_digest(*target.code("running"))
        return _Runner(runner.run_many, runner.description, " ".join(read))
    load = load_reference if candidate.form is None else load_quantized_network
    network = load(bundle)
    read = [repr(network.variant), network.num_classes, weights_digest(network.state_dict())]
    read.append(code_digest(type(network).__module__))
    model: torch.nn.Module = network
    if candidate.form is not None:
        table = load_table(bundle, candidate.form)
        read += [table.to_dict(), code_digest(quantize.__module__)]
        model = quantize(build_mobile(network, FORMS[candidate.form]), table, True)

    @torch.no_grad()
    def run_torch(x: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(x)).numpy()

    digest = hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()
    run = functools.partial(in_batches, run_torch)
    return _Runner(run, f"PyTorch {torch.__version__}", digest)


def in_batches(run: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """`run` on (N, 3, S, S), `BATCH` images at a time."""
    return np.concatenate([run(x[i : i + BATCH]) for i in range(0, len(x), BATCH)])


def run_chunk(
    source: Source,
    images: ImageFolder,
    start: int,
    names: list[Candidate],
    condition: Condition | None = None,
) -> Outcome:
    """Every candidate on the images of one chunk; logits are cached by what was read.

    condition: how the images are corrupted first.
    """
    bundle = _bundle(source)
    indices, pixels, damaged = read_batch(images, bundle.preprocess)
    kept = [start + i for i in indices]
    if not pixels:
        return Outcome(start, condition, kept, damaged, {}, {})
    if condition is not None:
        pixels = [condition(p, images.name(i)) for i, p in zip(indices, pixels, strict=True)]
    x = bundle.preprocess.normalize(np.stack(pixels))
    digest = hashlib.sha256(x.tobytes()).hexdigest()
    logits, runners = {}, {}
    for candidate in names:
        runner = _runner(source, candidate)
        runners[candidate.name] = runner.description
        key = f"{runner.digest} {candidate.role} {digest} {tool_versions()}"
        path = cache_path("predictions", key, ".npy")
        if path.exists():
            logits[candidate.name] = np.load(path)
            continue
        logits[candidate.name] = runner.run(x).astype(np.float32)
        with atomic_path(path) as temporary, temporary.open("wb") as f:
            np.save(f, logits[candidate.name])
    return Outcome(start, condition, kept, damaged, logits, runners)


def read_validation_images(bundle: Bundle, data: Path | DataSet, limit: int | None) -> ImageFolder:
    """The split of `data` that is measured, its classes checked against the bundle's labels."""
    folder = read_split(data, "val", bundle.label_ids, bundle.manifest["num_classes"])
    return folder if limit is None else folder.spread(limit)


def predict(
    bundle: Bundle,
    folder: ImageFolder,
    names: list[Candidate],
    conditions: Sequence[Condition | None] = (None,),
) -> Answers:
    """The candidates' predictions on `folder` under every condition, by worker processes.

    Raises `UserError` where more than 1 % of the images are damaged.
    """
    source = Source(bundle.folder.resolve(), bundle.identity)
    total = len(folder.samples)
    damage = Damage(total)
    outcomes: list[Outcome] = []
    with worker_pool() as pool:
        futures = []
        for start in range(0, total, CHUNK):
            chunk = folder.subset(list(range(start, min(start + CHUNK, total))))
            futures += [pool.submit(run_chunk, source, chunk, start, names, c) for c in conditions]
        label = f"running {len(names)} candidates"
        for future in progress(as_completed(futures), label, len(futures), f"{CHUNK} img"):
            outcome = future.result()
            outcomes.append(outcome)
            # The same images are damaged under every condition.
            damage.add(outcome.damaged if outcome.condition == conditions[0] else ())
            if damage.too_many:
                refuse(folder, bundle.preprocess)
    outcomes = sorted((o for o in outcomes if o.kept), key=lambda o: o.start)
    by_condition = {c: [o for o in outcomes if o.condition == c] for c in conditions}
    kept = {c: [i for o in found for i in o.kept] for c, found in by_condition.items()}
    if any(other != kept[conditions[0]] for other in kept.values()):
        raise changed(folder)
    return Answers(
        {c: _joined(names, found) for c, found in by_condition.items()},
        kept[conditions[0]],
        damage.files,
        damage.reasons,
    )


def _joined(names: list[Candidate], outcomes: list[Outcome]) -> list[Predictions]:
    return [
        Predictions(
            c.name,
            np.concatenate([o.logits[c.name] for o in outcomes]),
            c.role,
            c.file,
            outcomes[0].runners[c.name],
        )
        for c in names
    ]


def measured_before(folder: Path) -> bool:
    """Whether the bundle's report is one of a measurement, or its manifest has figures of one."""
    path = folder / REPORT_FOLDER / "validation.json"
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        record = None
    if isinstance(record, dict) and record.get("measured"):
        return True
    return bool(load_bundle(folder, verify=False).manifest.get("accuracy"))


def validate_bundle(
    folder: Path, data: Path | DataSet | None, gates: Gates, limit: int | None = None
) -> tuple[dict[str, Any], list[Verdict]]:
    """Measure a bundle on `data`'s validation images and write `report/` into it.

    `report/validation.json` is the record, `report/report.html` the page for people. Without
    `data` the report holds the audit and says that accuracy was not measured; a measured report
    is then left as it is.
    """
    bundle = load_bundle(folder)
    audits = {e["file"]: {"bytes": e["bytes"], **e["audit"]} for e in bundle.model_files()}
    info = {
        k: bundle.manifest[k] for k in ("model", "recipe", "calibration", "checkpoint", "tools")
    }
    info["manifest"] = bundle.identity
    info["files"] = {e["file"]: {"bytes": e["bytes"], "sha256": e["sha256"]} for e in
                     bundle.model_files()}  # fmt: skip
    predictions, targets, names, damaged, paths = [], np.zeros(0, np.int64), [], [], None
    reasons, left_out, about = [], {}, {}
    if data is not None:
        images = read_validation_images(bundle, data, limit)
        answers = predict(bundle, images, candidates(bundle))
        predictions, damaged = answers.predictions[None], answers.damaged
        reasons, left_out = answers.reasons, images.left_out
        about = images.about(load_calibrated(bundle))
        targets = images.targets[answers.kept]
        paths = [images.samples[i].path for i in answers.kept]
        names = [images.name(i) for i in answers.kept]
    labels = list(bundle.label_names)
    record = build_record(
        predictions, targets, labels, names, damaged, info, audits,
        reasons=reasons, left_out=left_out, about=about,
    )  # fmt: skip
    verdicts = check(record, gates)
    record = judged(record, verdicts)
    if not predictions and measured_before(folder):
        return record, verdicts
    require_same(load_bundle(folder, verify=False), bundle.identity)
    with atomic_folder(folder / REPORT_FOLDER) as out:
        write_json(out / RECORD_FILE, sealed(record))
        write_report(record, verdicts, out / "report.html", paths)
    if predictions:
        record_accuracy(bundle, accuracy_record(record))
    return record, verdicts


def accuracy_record(record: dict[str, Any]) -> dict[str, Any]:
    """The figures that travel with the bundle."""
    keys = ("name", "role", "file", "runner", "top1_percent", "top5_percent", "drop")
    return {
        "images": record["data"]["images"],
        "damaged": len(record["data"]["damaged"]),
        "predictions": [{k: p[k] for k in keys} for p in record["predictions"]],
        "agreement": record["agreement"],
    }


def load_record(folder: Path) -> dict[str, Any]:
    """The last validation record of a bundle; `UserError` for none, a changed or another's."""
    bundle = load_bundle(folder, verify=False)
    path = folder / REPORT_FOLDER / RECORD_FILE
    again = f"run 'mobilemod validate {folder}'"
    if not path.is_file():
        raise UserError(f"{folder} has no validation record; {again}")
    record = read_sealed(path, again)
    del record[KEY]
    validate_record(record)
    if record["bundle"].get("manifest") != bundle.identity:
        raise UserError(f"{path} is the record of another bundle, or of an earlier export; {again}")
    return record
