"""The export: one checkpoint in, one folder with every model file and its manifest out."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from export.auditing.audit import OTHERS_FIGURES, Inspection, audit_graph, require_int8
from export.auditing.explain import explained, float_tensors
from export.auditing.modules import Names
from export.bundle_parts import FORM_FILE, RECIPE_FILE, REFERENCE_FILE
from export.checking import MEND
from export.form_check import checked_forms
from export.lowering import LoweringJob, LoweringResult, copy_into, lower, tool_versions
from export.source import Source, checkpoint_record, find_prepared, open_source, source_of
from export.tables import table_file
from export.targets.base import ModelInfo
from export.targets.environment import version_of
from export.targets.target import get_target, require_packages
from mobilemod import __version__
from mobilemod.data.dataset import DataSet
from mobilemod.data.imagefolder import read_batch
from mobilemod.data.preprocess import Preprocess
from mobilemod.data.testcard import draw_card
from mobilemod.errors import UserError, unknown
from mobilemod.evaluation.runs import ANSWERS, SCORES
from mobilemod.files import (
    atomic_folder,
    file_sha256,
    require_replaceable,
    require_writable,
    write_json,
)
from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import PLAIN_FORM
from mobilemod.manifest import FILE_NAME, SCHEMA, check_draft, seal_bundle
from mobilemod.manifest_schema import check_labels
from mobilemod.networks.checkpoints import save_checkpoint
from mobilemod.networks.foreign.opened import Opened
from mobilemod.progress import progress
from mobilemod.results.outcomes.exported import Exported, ExportedFile
from mobilemod.results.validation.history import keep_history
from mobilemod.targets import DEFAULTS, TARGETS
from mobilemod.tasks import DEFAULT, task_field
from mobilemod.workers import peak_memory, worker_pool
from quantization.calibration import CalibrationImages
from quantization.params import ParameterTable
from quantization.prepare.prepared import CALIBRATION_FILE, Prepared
from quantization.program import make_table, quantize
from quantization.recipe import Recipe, load_recipe

GOLDEN_IMAGES = 4
CHECKED_IMAGES = 3  # of them, beside the drawn one, as the files are lowered


@dataclass(frozen=True)
class ExportConfig:
    """What to export and where to; `data` None means no images.

    network: one that a user brings, instead of `model` and `checkpoint`.
    recipe: None is that of `trained`, else "cpu". size, fit: None is that of the network's family.
    answer: what the files give of a network of maps: scores for each class at each pixel, or
    classes, the map. check: compare each file with the program that it was lowered from. trained:
    the folder of a quantization-aware training run, whose weights and ranges are lowered. author,
    license: of the weights, for the files' own fields.
    """

    model: str
    out: Path
    checkpoint: Path | None = None
    data: Path | DataSet | None = None
    targets: tuple[str, ...] = DEFAULTS
    recipe: str | None = None
    size: int | None = None
    fit: str | None = None
    answer: str = SCORES
    check: bool = True
    trained: Path | None = None
    author: str = ""
    license: str = ""
    network: Opened | None = None

    def __post_init__(self) -> None:
        for target in self.targets:
            get_target(target)
            require_packages(target)
            if TARGETS[target].own_ranges and self.data is None:
                raise UserError(
                    f"target {target} observes ranges of its own, on images: give --data DIR "
                    "(DATA=… with make)"
                )
        if self.answer not in ANSWERS:
            raise unknown("answer", self.answer, ANSWERS)
        able = [t for t in self.targets if self.answer in TARGETS[t].answers]
        if lacking := [t for t in self.targets if t not in able]:
            give = f"give --targets {','.join(able)} (TARGETS=…)" if able else "give other targets"
            raise UserError(
                f"--answer {self.answer}: files of {', '.join(lacking)} give scores alone; {give}, "
                "or leave --answer out"
            )
        if not self.targets:
            raise UserError(f"no target given; known: {', '.join(TARGETS)}")

    @property
    def recipe_name(self) -> str:
        """Name or path of the recipe to use."""
        if self.recipe is None and self.trained is not None:
            return str(self.trained / RECIPE_FILE)
        return self.recipe or "cpu"


@dataclass(frozen=True)
class GoldenImage:
    """A preprocessed image: uint8 (H, W, 3), where it is from, what is right for it."""

    origin: str
    pixels: np.ndarray
    target: int | None = None


def export_bundle(config: ExportConfig) -> Exported:
    """Write the bundle to `config.out`, whole or not at all.

    Raises `UserError` for bad input and where under 99 % of the convolution and linear
    multiply-accumulates of an int8 file are int8.
    """
    start = time.perf_counter()
    require_writable(config.out, "--out", folder=True)
    require_replaceable(config.out, FILE_NAME)
    # Sums come out the same on every machine only with one thread.
    torch.set_num_threads(1)
    recipe = load_recipe(config.recipe_name)
    require_widths(recipe, config.targets)
    source = _opened(config)
    source.task.require_answer(config.answer)
    check_labels(source.labels)
    preprocess = source.preprocess
    checked_forms(source.module, source.canonical, config.targets)
    prepared = find_prepared(source, recipe, config.data, config.trained)
    adjusted = source.canonical.with_state(prepared.state)
    forms = checked_forms(adjusted.form(PLAIN_FORM), adjusted, config.targets)
    tables = {
        name: make_table(form, name, recipe, prepared.calibration) for name, form in forms.items()
    }
    labels = tuple(e["label"] for e in source.labels)
    task = source.task
    info = ModelInfo(
        source.name, labels, preprocess, source.origin, task.name == DEFAULT,
        task.network_of(len(labels)), config.answer,
    )  # fmt: skip
    values = _manifest(source, recipe, prepared, config)
    check_draft(values)
    images = _golden_images(config, source, preprocess)
    results, left_out = _lower_all(source, prepared, config, tables, info, images)
    with atomic_folder(config.out) as folder:
        share = recipe.min_int8_share
        left = source.canonical.left
        files = [_add_file(folder, job, result, tables, share, left) for job, result in results]
        _write_parts(folder, source, recipe, prepared, tables)
        golden = _golden(folder, images, source, forms, tables, files)
        seal_bundle(folder, {**values, "files": files, "golden": golden})
        keep_history(config.out, folder)
    return Exported(
        bundle=config.out,
        model=source.name,
        checkpoint=source.summary,
        notes=(*source.notes, *left_out),
        form=explained(source.canonical),
        floats={n: float_tensors(f, tables[n], recipe) for n, f in forms.items()},
        recipe=recipe.name,
        calibration=prepared.origin,
        doubts=tuple(prepared.calibration.doubts),
        seconds=round(time.perf_counter() - start, 1),
        peak_mb=round(peak_memory() / 2**20),
        files=tuple(
            ExportedFile(
                **entry,
                seconds=round(result.seconds, 1),
                peak_mb=round(result.peak_bytes / 2**20),
                cached=result.cached,
            )
            for entry, (_, result) in zip(files, results, strict=True)
        ),
    )


def require_widths(recipe: Recipe, targets: Sequence[str]) -> None:
    """`UserError` where the recipe has 16-bit codes and a target holds none."""
    held = [name for name, facts in TARGETS.items() if facts.int16]
    lacking = [name for name in targets if name not in held]
    if recipe.wide and lacking:
        raise UserError(
            f"recipe {recipe.name}: 16-bit codes aren't held by {', '.join(lacking)}; give "
            f"--targets {','.join(held)} (TARGETS=…), or recipe cpu, which has float there"
        )


def _opened(config: ExportConfig) -> Source:
    if config.network is not None:
        return source_of(config.network, config.data, config.author, config.license)
    return open_source(
        config.model, config.checkpoint, config.data, config.author, config.license, config.size,
        config.fit,
    )  # fmt: skip


def _lower_all(
    source: Source,
    prepared: Prepared,
    config: ExportConfig,
    tables: dict[str, ParameterTable],
    info: ModelInfo,
    images: list[GoldenImage],
) -> tuple[list[tuple[LoweringJob, LoweringResult]], list[str]]:
    """The files, and what is said of float16 twins that are left out: not every network keeps
    within what that holds, and the other files are right without."""
    structure = source.canonical.to_dict()
    own, quantized = (
        {name: value.numpy() for name, value in state.items()}
        for state in (source.canonical.state(), prepared.state)
    )
    pixels = [image.pixels for image in images[1 : 1 + CHECKED_IMAGES]]
    observed = _observed(source, config)
    jobs = []
    for facts in (TARGETS[target] for target in config.targets):
        for precision in ("int8", facts.twin, *facts.more_floats):
            ours = precision == "int8" and not facts.own_ranges
            jobs.append(
                LoweringJob(
                    facts.name,
                    structure,
                    quantized if ours else own,
                    prepared.calibration.weights if ours else source.weights,
                    tables[facts.form] if ours else None,
                    info,
                    config.check,
                    np.stack(pixels) if pixels else None,
                    precision,
                    observed if facts.own_ranges else None,
                )
            )
    done: dict[int, LoweringResult] = {}
    left_out: list[str] = []
    with worker_pool() as pool:
        futures = {pool.submit(lower, job): i for i, job in enumerate(jobs)}
        for future in progress(as_completed(futures), "lowering", len(jobs), "file"):
            try:
                done[futures[future]] = future.result()
            except UserError as error:
                if not jobs[futures[future]].half:
                    raise
                left_out.append(f"left out: {str(error).partition(MEND)[0]}")
    return [(job, done[i]) for i, job in enumerate(jobs) if i in done], left_out


def _observed(source: Source, config: ExportConfig) -> np.ndarray | None:
    """The images that the table is made of, uint8 (N, H, W, 3), where a target wants them too."""
    if not any(TARGETS[target].own_ranges for target in config.targets):
        return None
    count = load_recipe(config.recipe_name).calibration_images
    folder = source.read(config.data, "train").spread(count)
    return CalibrationImages(folder, source.preprocess).pixels


def _add_file(
    folder: Path,
    job: LoweringJob,
    result: LoweringResult,
    tables: dict[str, ParameterTable],
    min_int8_share: float,
    left: Sequence[str],
) -> dict[str, Any]:
    path = folder / job.file_name
    copy_into(result.path, path)
    names = Names(list(tables.values()))
    audit = audit_graph(get_target(job.target).read_graph(path), path, names)
    if job.precision == "int8":
        require_int8(audit, min_int8_share, left)
    return {
        "file": path.name,
        "target": job.target,
        "precision": job.precision,
        "sha256": file_sha256(path),
        "bytes": audit.bytes,
        "audit": audit_summary(audit),
    }


def audit_summary(audit: Inspection) -> dict[str, Any]:
    """The audit's figures for the manifest and the report; float ops counted by kind."""
    values = audit.to_dict()
    for key in ("schema", "file", "sha256", "bytes", "target", "ops", *OTHERS_FIGURES):
        values.pop(key)
    floats: Counter[str] = Counter()
    for f in audit.float_ops:
        floats[f.op] += f.count
    values["float_ops"] = dict(floats)
    return values


def _write_parts(
    folder: Path,
    source: Source,
    recipe: Recipe,
    prepared: Prepared,
    tables: dict[str, ParameterTable],
) -> None:
    for name, table in tables.items():
        table.save(folder / table_file(name))
    if prepared.calibration.weights == source.weights:
        prepared.calibration.save(folder / CALIBRATION_FILE)
    else:
        prepared.save(folder)
    text = json.dumps(recipe.to_dict(), indent=1) + "\n"
    (folder / RECIPE_FILE).write_text(text, "utf-8")
    labels = "".join(f"{entry['label']}\n" for entry in source.labels)
    (folder / "labels.txt").write_text(labels, "utf-8")
    write_json(folder / FORM_FILE, source.canonical.to_dict())
    metadata = {"model": source.name, "num_classes": str(source.num_classes)}
    save_checkpoint(folder / REFERENCE_FILE, source.canonical.state(), metadata, torch.float32)


def _golden_images(
    config: ExportConfig, source: Source, preprocess: Preprocess
) -> list[GoldenImage]:
    """What the files are checked on, here and on devices.

    The first is drawn, so that it is there without data; its red, green and blue differ, so
    that a swapped channel order shows.
    """
    images = [GoldenImage("drawn", draw_card(*preprocess.sides))]
    if config.data is not None:
        data = source.read(config.data, "val").spread(GOLDEN_IMAGES)
        # A damaged one of these few is left out, whatever share of them it is.
        indices, images_read, _ = read_batch(data, preprocess)
        for i, pixels in zip(indices, images_read, strict=True):
            origin = data.name(i).replace("/", "-").rpartition(".")[0]
            target = data.samples[i].target if source.named else None
            images.append(GoldenImage(origin, pixels, target))
    return images


def _golden(
    folder: Path,
    images: list[GoldenImage],
    source: Source,
    forms: dict[str, Form],
    tables: dict[str, ParameterTable],
    files: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Preprocessed images as lossless PNG with answers, for a self-test on the device.

    A file that nothing here runs is expected to give what it was lowered from does.
    """
    here = [f for f in files if get_target(f["target"]).has("running")]
    runners = {f["file"]: get_target(f["target"]).load(folder / f["file"]) for f in here}
    lowered_from = {f["file"]: _origin(f["target"], f["precision"]) for f in files if f not in here}
    programs = {name: quantize(form, tables[name], True) for name, form in forms.items()}
    (folder / "golden").mkdir()
    entries = []
    for number, image in enumerate(images):
        name = f"golden/{number}.png"
        Image.fromarray(image.pixels).save(folder / name)
        x = source.preprocess.normalize(image.pixels[None])
        with torch.no_grad():
            tensor = torch.from_numpy(x)
            outputs = {"reference": source.module(tensor)[0]}
            outputs |= {f"program-{k}": p(tensor)[0] for k, p in programs.items()}
        values = {k: v.numpy() for k, v in outputs.items()}
        values |= {file: runner.run(x) for file, runner in runners.items()}
        values |= {file: values[origin] for file, origin in lowered_from.items()}
        entries.append(
            {
                "image": name,
                "origin": image.origin,
                "target": image.target,
                **source.task.golden(values),
            }
        )
    return entries


def _origin(target: str, precision: str) -> str:
    """Whose logits those of a file are held to."""
    return f"program-{TARGETS[target].form}" if precision == "int8" else "reference"


def _manifest(
    source: Source, recipe: Recipe, prepared: Prepared, config: ExportConfig
) -> dict[str, Any]:
    """The manifest's values before there are files."""
    observed = prepared.calibration
    elsewhere = (e for e in (TARGETS[name].environment for name in config.targets) if e is not None)
    tools = tool_versions() | {e.package: version_of(e) for e in elsewhere}
    return {
        "schema": SCHEMA,
        "model": source.name,
        **task_field(source.task.name),
        "num_classes": source.num_classes,
        **({} if source.canonical.map is None else {"map": list(source.canonical.map)}),
        **({} if config.answer == SCORES else {"answer": config.answer}),
        **dataclasses.asdict(source.origin),
        "labels": list(source.labels),
        "preprocess": source.preprocess.to_dict(),
        "recipe": {"name": recipe.name, "file": RECIPE_FILE},
        "form": {"file": FORM_FILE, **explained(source.canonical)},
        "checkpoint": checkpoint_record(source),
        "calibration": {
            "origin": prepared.origin,
            "images": observed.count,
            "sha256": observed.images,
            "weights": observed.weights,
            "doubts": list(observed.doubts),
        },
        "tools": {"mobilemod": __version__, **tools},
        "files": [],
        "golden": [],
        "accuracy": None,
    }
