"""The sensitivity of a bundle's quantized program, on images, over worker processes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from export.bundle_parts import BundleKey, OpenedBundle, open_bundle
from export.diff.taps import BundleTaps
from export.measure.batches import Batch, cached, over_batches
from export.model_explorer import explored_file, float_reasons, write_sensitivity
from export.tables import table_file
from export.targets.base import FORMS
from mobilemod.closure import code_digest
from mobilemod.data.dataset import DataSet
from mobilemod.data.imagefolder import ImageFolder, Sample
from mobilemod.data.listing import class_folders, left_out_text, list_images, say_left_out
from mobilemod.errors import UserError
from mobilemod.files import write_json
from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import Constant, NamedConv2d, Tap
from mobilemod.manifest import Bundle, load_bundle
from mobilemod.results.report.page import write_report
from mobilemod.results.sensitivity.page import write_page
from mobilemod.tasks import task_field
from mobilemod.workers import worker_pool
from quantization.calibration import cache_path, weights_digest
from quantization.params import ParameterTable
from quantization.placement import int8_modules
from quantization.prepare.prepared import CALIBRATION_FILE
from quantization.program import make_table
from quantization.recipe import Recipe, load_recipe
from quantization.sensitivity.effects import (
    GROUPINGS,
    PARTS,
    Item,
    Measured,
    make_items,
    measure,
    summarize,
)
from quantization.sensitivity.program import SwitchedProgram
from quantization.sensitivity.record import make_record

BATCH = 4


@dataclass(frozen=True)
class SensitivityConfig:
    """What to measure; `form` None is the first that the bundle holds.

    recipe: another than the bundle's, by name or file; its ranges come from the bundle's
    calibration. by: "module" or "tensor". out: None is the bundle's folder `sensitivity`.
    model_explorer: where node data over the bundle's int8 file goes, too.
    """

    bundle: Path
    data: Path | DataSet
    form: str | None = None
    recipe: str | None = None
    by: str = "module"
    images: int = 64
    out: Path | None = None
    model_explorer: Path | None = None

    def __post_init__(self) -> None:
        if self.form is not None and self.form not in FORMS:
            raise UserError(f"unknown form {self.form!r}; known: {', '.join(FORMS)}")
        if self.by not in GROUPINGS:
            raise UserError(f"--by {self.by!r} is not one of {', '.join(GROUPINGS)}")
        if self.images < 1:
            raise UserError("--images must be 1 or more")


@dataclass(frozen=True)
class Setup:
    """What a worker needs to build the program again; `recipe` None is the bundle's own table."""

    bundle: BundleKey
    form: str
    recipe: Recipe | None
    by: str


@dataclass(frozen=True)
class Ready:
    """The program of a `Setup`, and the digest of all that was read and decides its logits.

    opened: with the network in float.
    """

    opened: OpenedBundle
    table: ParameterTable
    program: SwitchedProgram
    items: list[Item]
    digest: str


def measure_bundle(config: SensitivityConfig) -> tuple[dict[str, Any], Path]:
    """The record of `config`, and where its page is: with `out` beside the record, else the
    report.

    Every batch's result is cached by content, so that an interrupted run goes on where it was.
    """
    setup = make_setup(config)
    bundle = load_bundle(config.bundle, verify=False)
    explored = explored_file(bundle, setup.form) if config.model_explorer else None
    ready = get_ready(setup)
    images, targets_known = read_images(bundle, config.data, config.images)
    work, label = functools.partial(measure_part, setup), f"sensitivity by {setup.by}"
    with worker_pool() as pool:
        joined = over_batches(pool, images, bundle.preprocess, BATCH, work, PARTS, label)
    targets, task = None, bundle.task
    if targets_known:
        targets = task.targets(images, joined.indices, bundle.preprocess)
    taps = [tap.tensor for tap in ready.program.taps]
    found = summarize(ready.items, taps, *joined.values, targets, task)
    about = {
        **task_field(bundle.manifest.task),
        "model": bundle.manifest.model,
        "weights": bundle.manifest.checkpoint.weights,
        "images": len(joined.indices),
        "data": images.about(ready.opened.calibrated_on),
        "damaged": joined.damage.files,
        "reasons": joined.damage.reasons,
        "left_out": images.left_out,
    }
    record = make_record(found, ready.table, config.by, about, task)
    out = config.out or config.bundle / "sensitivity"
    name = f"sensitivity-{setup.form}-{config.by}"
    write_json(out / f"{name}.json", record)
    if explored is not None:
        named = BundleTaps(bundle).file(explored)
        reasons = float_reasons(ready.opened, setup.form)
        write_sensitivity(record, named, explored, config.model_explorer, reasons)
    if config.out is None:
        return record, write_report(config.bundle)
    page = out / f"{name}.html"
    write_page(record, page)
    return record, page


def make_setup(config: SensitivityConfig) -> Setup:
    """Which program to measure; `UserError` where the bundle has no such form."""
    bundle = load_bundle(config.bundle, verify=False)
    there = OpenedBundle(bundle).forms
    if not there:
        raise UserError(f"{config.bundle} holds no parameters-FORM.json; export again")
    recipe = None if config.recipe is None else load_recipe(config.recipe)
    form = config.form or there[0]
    if recipe is None and form not in there:
        raise UserError(
            f"{config.bundle} has no form {form} (no {table_file(form)}); "
            f"it has {', '.join(there)}; export a target of that form, or give --recipe"
        )
    return Setup(BundleKey.of(bundle), form, recipe, config.by)


@functools.cache
def get_ready(setup: Setup) -> Ready:
    """Build the program from the bundle's parts, which must fit each other; else `UserError`."""
    opened = open_bundle(setup.bundle)
    canonical = opened.quantized_canonical
    weights = weights_digest(canonical.state())
    form = opened.mobile(setup.form, True)
    if setup.recipe is None:
        table = _read_table(opened, setup.form, form)
    else:
        calibration = opened.calibration
        if calibration.weights != weights:
            folder = setup.bundle.folder
            raise UserError(f"{folder}/{CALIBRATION_FILE} is of other weights; export again")
        table = make_table(form, setup.form, setup.recipe, calibration)
    table = table.int8()
    if not table.entries:
        raise UserError(f"recipe {table.recipe} makes no tensor of form {table.form} int8")
    program = SwitchedProgram(form, table)
    items = make_items(program, table, setup.by, set(canonical.modules))
    read = [canonical.structure, opened.bundle.manifest.checkpoint.weights, weights]
    parts = [*read, table.to_dict(), repr(form.options), [(i.name, i.tensors) for i in items]]
    code = code_digest(measure.__module__)
    text = json.dumps([*parts, torch.__version__, code], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Ready(opened, table, program, items, digest)


def _read_table(opened: OpenedBundle, name: str, form: Form) -> ParameterTable:
    """The bundle's table of a form, which must hold what the bundle's recipe makes int8."""
    table, recipe = opened.table(name), opened.recipe
    path = opened.bundle.folder / table_file(name)
    modules = {m.tensor: m for m in form.modules() if isinstance(m, Tap | Constant | NamedConv2d)}
    wanted = {m.tensor for m in int8_modules(form, name, recipe)}
    if odd := sorted(wanted ^ table.int8().entries.keys()):
        raise UserError(
            f"{path} doesn't fit the network and recipe.json: {len(odd)} tensors differ, first "
            f"{odd[0]}; export again, or give --recipe"
        )
    for tensor, entry in table.entries.items():
        module = modules[tensor]
        count = module.out_channels if isinstance(module, NamedConv2d) else 1
        if not len(entry.scale) == len(entry.zero_point) == count:
            raise UserError(f"{path}: {tensor} has {len(entry.scale)} scales for {count}")
    return table


def read_images(bundle: Bundle, data: Path | DataSet, count: int) -> tuple[ImageFolder, bool]:
    """At most `count` images, spread over `data`'s validation split; whether targets are known.

    A folder of images without class folders, of which nobody knows them, is taken too.
    """
    root = DataSet.of(data).folder("val")
    if bundle.task.class_folders and not class_folders(root):
        files, others = list_images(root)
        if others:
            say_left_out(root, left_out_text(others))
        if files:
            samples = tuple(Sample(p, -1) for p in files)
            return ImageFolder(root, (), samples, dict(others), root.name).spread(count), False
    return bundle.read(data, "val").spread(count), True


def measure_part(setup: Setup, batch: Batch, part: str) -> Measured:
    """One part on the images of one batch; the result is cached by content."""
    ready = get_ready(setup)
    x = batch.normalized()
    key = f"{ready.digest} {part} {hashlib.sha256(x.tobytes()).hexdigest()}"
    make = functools.partial(measure, ready.program, ready.items, torch.from_numpy(x), part)
    return cached(cache_path("sensitivity", key, ".npz"), make, _load, _save)


def _load(path: Path) -> Measured:
    with np.load(path) as saved:
        return Measured(*(saved[k] for k in (f.name for f in dataclasses.fields(Measured))))


def _save(file: IO[bytes], measured: Measured) -> None:
    np.savez_compressed(file, **vars(measured))
