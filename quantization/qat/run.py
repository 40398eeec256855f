"""`mobilemod train --qat`: from a float network to prepared weights and ranges, with a record."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobilemod.data.dataset import DataSet
from mobilemod.data.imagefolder import ImageFolder, read_split
from mobilemod.data.listing import joined
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.files import file_sha256, write_text
from mobilemod.forms.canonical import Canonical, canonical_form
from mobilemod.forms.form import Form
from mobilemod.networks.registry import network, preprocess_of
from mobilemod.training.device import choose_device
from mobilemod.training.images import load_images
from quantization.calibration import FORM, OPTIONS, Observed, calibrate
from quantization.params import ParameterTable
from quantization.prepare.preparation import prepare
from quantization.prepare.prepared import WEIGHTS_FILE, Prepared, load_prepared
from quantization.program import make_table
from quantization.qat.config import QatConfig
from quantization.qat.network import QatProgram
from quantization.qat.report import card, draw_history, measure
from quantization.qat.train import QatTrainer
from quantization.recipe import Recipe, load_recipe

SCHEMA = "mobilemod/qat/1"


@dataclass(frozen=True)
class FloatNetwork:
    """The network that is trained for: weights float32 by published name, class folder names."""

    variant: str
    num_classes: int
    state: dict[str, Tensor]
    label_ids: tuple[str, ...]
    checkpoint: str


@dataclass(frozen=True)
class QatJob:
    """One run; `recipe` is a quantization recipe's name or file."""

    source: FloatNetwork
    recipe: str
    data: Path | DataSet
    out: Path
    config: QatConfig
    device: str | None = None
    threads: int | None = None


def train_prepared(job: QatJob) -> dict[str, Any]:
    """Train to the last step, going on where `job.out` stopped; returns the run's record.

    Leaves in `job.out` what `quantization.prepare.prepared` reads, recipe.json, training.json,
    history.json, curve.png and the card MODEL.md.
    """
    recipe, source, config, out = load_recipe(job.recipe), job.source, job.config, job.out
    if recipe.wide:
        raise UserError(
            f"recipe {recipe.name}: training is for 8 bits, 16 lose nothing; give recipe cpu or npu"
        )
    device = choose_device(job.device)
    if job.threads:
        torch.set_num_threads(job.threads)
    train, val = (
        read_split(job.data, split, source.label_ids, source.num_classes)
        for split in ("train", "val")
    )
    model = network(source.variant, source.num_classes, source.state)
    preprocess = preprocess_of(model, config.size)
    canonical = canonical_form(model, preprocess.shape)
    before = prepare(canonical, recipe, train, preprocess)
    program = QatProgram(*lowered(canonical, recipe, before))
    images = load_images(train.spread(config.steps * config.batch_size), "reading train")
    shown = load_images(val.spread(config.eval_images), "reading val", preprocess)
    origin = {
        "recipe": recipe.to_dict(),
        "reference": before.reference,
        "images": before.calibration.images,
    }
    trainer = QatTrainer(program, model, config, images, shown, out, device, origin)
    trainer.resume()
    trainer.fit(lambda history: draw_history(history, out / "curve.png"))
    after = finish(program.to("cpu"), canonical, recipe, before, train, preprocess)
    after.save(out)
    form, table = lowered(canonical, recipe, load_prepared(out))
    require_trained(program, table)
    programs = {
        "calibrated": QatProgram(*lowered(canonical, recipe, before)),
        "trained": QatProgram(form, table),
    }
    measured = val.spread(config.measure_images) if config.measure_images else val
    record = {
        "schema": SCHEMA,
        "folder": str(out),
        "model": source.variant,
        "checkpoint": source.checkpoint,
        "recipe": recipe.name,
        "reference": after.reference,
        "weights": after.calibration.weights,
        "sha256": file_sha256(out / WEIGHTS_FILE),
        **measure(model, programs, measured, preprocess, device),
        "left_out": joined((train.left_out, val.left_out)),
        "minutes": round(trainer.seconds / 60, 1),
        "device": device,
        "torch": torch.__version__,
        "config": dataclasses.asdict(config),
        "history": trainer.history,
    }
    write_text(out / "recipe.json", json.dumps(recipe.to_dict(), indent=1) + "\n")
    write_text(out / "training.json", json.dumps(record, indent=1) + "\n")
    write_text(out / f"{source.variant}.md", card(record))
    return record


def lowered(
    canonical: Canonical, recipe: Recipe, prepared: Prepared
) -> tuple[Form, ParameterTable]:
    """The form of prepared weights and its table, as an export makes them."""
    form = canonical.with_state(prepared.state).form(OPTIONS)
    return form, make_table(form, FORM, recipe, prepared.calibration)


def finish(
    program: QatProgram,
    canonical: Canonical,
    recipe: Recipe,
    before: Prepared,
    folder: ImageFolder,
    preprocess: Preprocess,
) -> Prepared:
    """The trained weights and ranges.

    Tensors that are int8 in another form alone have no trained range; theirs is observed with the
    trained weights.
    """
    state = program.form.canonical_state()
    final = canonical.with_state(state)
    seen = calibrate(final, folder, preprocess, recipe.calibration_images)
    trained = {name: Observed.fixed(*ends) for name, ends in program.learned().items()}
    table = dataclasses.replace(seen, observed={**seen.observed, **trained})
    return Prepared(state, table, before.reference, "training")


def require_trained(program: QatProgram, table: ParameterTable) -> None:
    """RuntimeError unless `table` has the very scales and zero points that were trained."""
    for name, params in program.parameters_now().items():
        entry = table.entries.get(name)
        now = (params.scale, params.zero_point)
        if entry is None or (entry.scale, entry.zero_point) != now:
            raise RuntimeError(f"{name} was trained with other parameters than it is lowered with")
