"""Validation on this machine: every file of a bundle, and the network it came from, on images."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from export.bundle_parts import (
    RUNNING,
    BundleKey,
    OpenedBundle,
    load_runner,
    open_bundle,
    running_files,
)
from export.lowering import tool_versions
from export.measure.batches import Batch, cached, over_batches
from export.targets.environment import programs_in, version_of
from export.targets.target import get_target
from mobilemod.closure import code_digest
from mobilemod.data.corruptions import Condition
from mobilemod.data.dataset import DataSet
from mobilemod.data.imagefolder import ImageFolder
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Predictions
from mobilemod.files import atomic_folder, write_json, write_text
from mobilemod.forms.form import Form
from mobilemod.manifest import Bundle, load_bundle, record_accuracy, require_same
from mobilemod.results.advice import shipping
from mobilemod.results.gates import Gates, check, judged
from mobilemod.results.outcomes.validated import Validation
from mobilemod.results.report.known import (
    RECORD_FILE,
    REPORT_FOLDER,
    read_known,
    validation_record,
)
from mobilemod.results.report.page import PAGE_FILE, page
from mobilemod.results.report.pictures import Pictures
from mobilemod.results.schema import build_record
from mobilemod.results.validation.history import add_line, line_of
from mobilemod.sealed import sealed
from mobilemod.targets import RUNTIMES, TARGETS, suffixes_of
from mobilemod.tasks import task_of
from mobilemod.tasks.task import Task
from mobilemod.workers import worker_pool
from quantization.calibration import cache_path, weights_digest
from quantization.program import quantize

if TYPE_CHECKING:
    from mobilemod.manifest_schema import ModelFile

CHUNK = 32
# Images that torch and the evaluator compute at once: few, so that their tensors stay in the cache.
BATCH = 8


@dataclass(frozen=True)
class Candidate:
    """One thing whose predictions are taken: the network, its quantized program, or a file.

    sha256: of a file, as the manifest has it. runtime: what runs it where that isn't the target's
    own, by package.
    """

    name: str
    role: str
    file: str | None = None
    target: str | None = None
    form: str | None = None
    sha256: str | None = None
    runtime: str | None = None


# Of one chunk by candidate's name: what the task keeps of the outputs (n, …), what ran it.
Chunk = dict[str, tuple[np.ndarray, str]]


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
    """The network in float, the quantized program of each form, and every model file that runs
    here; a line on standard error for each that doesn't."""
    found = [Candidate("torch float", "reference")]
    for form in OpenedBundle(bundle).forms:
        found.append(Candidate(f"quantized program, {form}", "program", form=form))
    return found + [candidate_of(entry) for entry in running_files(bundle)]


def candidate_of(entry: ModelFile, runtime: str | None = None) -> Candidate:
    """A model file, in its target's own runtime or in another one, by its package."""
    role = "int8" if entry.precision == "int8" else "float"
    name = ", ".join(filter(None, (f"{entry.target} {entry.precision}", runtime)))
    return Candidate(name, role, entry.file, entry.target, None, entry.sha256, runtime)


def in_runtime(bundle: Bundle, runtime: str) -> list[Candidate]:
    """The files that another runtime of this machine takes, by its package.

    `UserError` where it isn't set up, or takes no file of the bundle.
    """
    programs_in(RUNTIMES[runtime])
    entries = bundle.manifest.files
    found = [
        candidate_of(e, runtime) for e in entries if get_target(e.target).runtime_code(runtime)
    ]
    if not found:
        names = (n for n in TARGETS if get_target(n).runtime_code(runtime))
        suffixes = " and ".join(suffixes_of(names))
        raise UserError(f"{bundle.folder} has no file for {runtime}: it runs {suffixes} files")
    return found


@dataclass(frozen=True)
class _Predictor:
    """What answers (N, 3, H, W) with (N, K), or with maps of classes. digest: of all that was read
    to make it.

    count: of the network's named outputs.
    """

    run: Callable[[np.ndarray], np.ndarray]
    description: str
    digest: str
    count: int

    def outputs(self, task: Task, x: np.ndarray) -> np.ndarray:
        """What the task keeps of the answers."""
        return task.keep(self.run(x), self.count)


@functools.cache
def _predictor(key: BundleKey, candidate: Candidate) -> _Predictor:
    """Loaded once per worker."""
    opened = open_bundle(key)
    bundle = opened.bundle
    count = len(bundle.label_names)
    if candidate.target is not None:
        target = get_target(candidate.target)
        runtime, code = candidate.runtime, target.code(RUNNING)
        runner = load_runner(bundle, bundle.model_file(candidate.file), runtime=runtime)
        read = [bundle.hashes[candidate.file][0]]
        if runtime:
            read += [runtime, version_of(RUNTIMES[runtime])]
            code = target.runtime_code(runtime)
        read.append(code_digest(*code))
        return _Predictor(runner.run_many, runner.description, " ".join(read), count)
    canonical = opened.canonical if candidate.form is None else opened.quantized_canonical
    read: list[Any] = [canonical.structure, weights_digest(canonical.state())]
    read.append(code_digest(Form.__module__))
    if candidate.form is None:
        model: torch.nn.Module = opened.reference
    else:
        read += [opened.table(candidate.form).to_dict(), code_digest(quantize.__module__)]
        model = opened.program(candidate.form)

    @torch.no_grad()
    def run_torch(x: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(x)).numpy()

    digest = hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()
    run = functools.partial(in_batches, run_torch)
    return _Predictor(run, f"PyTorch {torch.__version__}", digest, count)


def in_batches(run: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """`run` on (N, 3, H, W), `BATCH` images at a time."""
    return np.concatenate([run(x[i : i + BATCH]) for i in range(0, len(x), BATCH)])


def run_chunk(
    key: BundleKey, names: list[Candidate], batch: Batch, condition: Condition | None = None
) -> Chunk:
    """Every candidate on the images of one chunk; outputs are cached by what was read.

    condition: how the images are corrupted first.
    """
    if condition is not None:
        pairs = zip(batch.pixels, batch.names, strict=True)
        batch = dataclasses.replace(batch, pixels=[condition(p, name) for p, name in pairs])
    x = batch.normalized()
    digest = hashlib.sha256(x.tobytes()).hexdigest()
    task = open_bundle(key).bundle.task
    kept_by = () if task.kept_by is None else (code_digest(task.kept_by),)
    found: Chunk = {}
    for candidate in names:
        predictor = _predictor(key, candidate)
        parts = predictor.digest, candidate.role, digest, tool_versions(), *kept_by
        path = cache_path("predictions", " ".join(map(str, parts)), ".npy")
        outputs = cached(path, functools.partial(predictor.outputs, task, x))
        found[candidate.name] = outputs, predictor.description
    return found


def read_validation_images(bundle: Bundle, data: Path | DataSet, limit: int | None) -> ImageFolder:
    """The split of `data` that is measured, checked against the bundle's task."""
    folder = bundle.read(data, "val")
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
    work = functools.partial(run_chunk, BundleKey.of(bundle), names)
    label = f"running {len(names)} candidates"
    with worker_pool() as pool:
        found = over_batches(pool, folder, bundle.preprocess, CHUNK, work, conditions, label)
    return Answers(
        {c: _joined(names, chunks) for c, chunks in zip(conditions, found.values, strict=True)},
        found.indices,
        found.damage.files,
        found.damage.reasons,
    )


def _joined(names: list[Candidate], chunks: list[Chunk]) -> list[Predictions]:
    found = []
    for c in names:
        outputs, runners = zip(*(chunk[c.name] for chunk in chunks), strict=True)
        found.append(Predictions(c.name, np.concatenate(outputs), c.role, c.file, runners[0]))
    return found


def measured_before(folder: Path) -> bool:
    """Whether the bundle's report is one of a measurement, or its manifest has figures of one."""
    path = folder / REPORT_FOLDER / RECORD_FILE
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        record = None
    if isinstance(record, dict) and record.get("measured"):
        return True
    return bool(load_bundle(folder, verify=False).manifest.accuracy)


def validate_bundle(
    folder: Path,
    data: Path | DataSet | None,
    gates: Gates,
    limit: int | None = None,
    gpu: dict[str, Any] | None = None,
    runtimes: Sequence[str] = (),
) -> Validation:
    """Measure a bundle on `data`'s validation images and write `report/` into it.

    `report/validation.json` is the record, `report/report.html` the page for people; each
    measurement adds a line to `history/validations.jsonl`. Without
    `data` the report holds the audit and says that accuracy was not measured; a measured report
    is then left as it is. gpu: what `export.measure.gpu` found out, which goes into the record.
    runtimes: packages of others that files are run in too.
    """
    bundle = load_bundle(folder)
    further = [c for runtime in runtimes for c in in_runtime(bundle, runtime)]
    files = bundle.manifest.files
    audits = {f.file: {"bytes": f.bytes, **f.audit.model_dump()} for f in files}
    info = {
        "model": bundle.manifest.model,
        **bundle.origin,
        "manifest": bundle.identity,
        "files": {f.file: _file_info(f) for f in files},
        "shipping": shipping(bundle),
    }
    predictions, targets, names, damaged, paths = [], np.zeros(0, np.int64), [], [], None
    reasons, left_out, about = [], {}, {}
    if data is not None:
        images = read_validation_images(bundle, data, limit)
        answers = predict(bundle, images, candidates(bundle) + further)
        predictions, damaged = answers.predictions[None], answers.damaged
        reasons, left_out = answers.reasons, images.left_out
        about = images.about(OpenedBundle(bundle).calibrated_on)
        targets = bundle.task.targets(images, answers.kept, bundle.preprocess)
        paths = [images.samples[i].path for i in answers.kept]
        names = [images.name(i) for i in answers.kept]
    labels = list(bundle.label_names)
    record = build_record(
        predictions, targets, labels, names, damaged, info, audits,
        reasons=reasons, left_out=left_out, about=about, task=bundle.manifest.task,
        gpu=gpu,
    )  # fmt: skip
    verdicts = check(record, gates)
    record = judged(record, verdicts)
    report = folder / REPORT_FOLDER / "report.html"
    if not predictions and measured_before(folder):
        return Validation.of(record, report)
    require_same(load_bundle(folder, verify=False), bundle.identity)
    line = line_of(record, datetime.now(UTC).isoformat(timespec="seconds")) if predictions else None
    with atomic_folder(folder / REPORT_FOLDER) as out:
        write_json(out / RECORD_FILE, sealed(record))
        pictures = Pictures(paths or [], bundle.preprocess if bundle.task.placed else None)
        known = dataclasses.replace(read_known(bundle), validation=record, thumb=pictures)
        if line is not None:
            known = dataclasses.replace(known, history=(*known.history, line))
        write_text(out / PAGE_FILE, page(known))
        pictures.write(out)
    if line is not None:
        record_accuracy(bundle, accuracy_record(record))
        add_line(folder, line)
    return Validation.of(record, report)


def _file_info(entry: ModelFile) -> dict[str, Any]:
    own = {"own_ranges": True} if TARGETS[entry.target].own_ranges else {}
    return {"bytes": entry.bytes, "sha256": entry.sha256, **own}


def accuracy_record(record: dict[str, Any]) -> dict[str, Any]:
    """The figures that travel with the bundle."""
    figures = (metric.key for metric in task_of(record).metrics)
    keys = ("name", "role", "file", "runner", *figures, "drop")
    return {
        "images": record["data"]["images"],
        "damaged": len(record["data"]["damaged"]),
        "predictions": [{k: p[k] for k in keys} for p in record["predictions"]],
        "agreement": record["agreement"],
    }


def load_record(folder: Path) -> dict[str, Any]:
    """The last validation record of a bundle; `UserError` for none, a changed or another's."""
    return validation_record(load_bundle(folder, verify=False))
