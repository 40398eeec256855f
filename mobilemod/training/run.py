"""`mobilemod train`: read the images, train, save checkpoint, card and curve."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from mobilemod.errors import UserError
from mobilemod.files import file_sha256, write_text
from mobilemod.networks.checkpoints import save_checkpoint
from mobilemod.networks.registry import family_of, preprocess_of
from mobilemod.tasks import task_field
from mobilemod.tasks.task import Metric
from mobilemod.training.config import RunConfig, TrainConfig, parse_phases, read_values
from mobilemod.training.curve import draw_curve
from mobilemod.training.device import choose_device
from mobilemod.training.learner import Sets
from mobilemod.training.learners import learner_of
from mobilemod.training.processes import joined_processes
from mobilemod.training.train import Trainer, split

SCHEMA = "mobilemod/training/1"


def train_and_save(
    data: Path,
    out: Path,
    config_file: Path | None,
    overrides: dict[str, Any],
    device: str | None,
    threads: int | None,
) -> dict[str, Any] | None:
    """Train to the end of the recipe, going on where `out` stopped; returns the run's record.

    Leaves MODEL.safetensors (float16, EMA weights), its card MODEL.md, curve.png and
    history.json in `out`. Of several processes (`torchrun`) the first one does; the others return
    None. Validation images are measured once, at the end.
    """
    device = choose_device(device)
    if threads:
        torch.set_num_threads(threads)
    config = make_config(config_file, overrides)
    sets = learner_of(config.model).read(data)
    config = dataclasses.replace(config, num_classes=len(sets.classes))
    train, selected = split(sets.train, config.selection, config.seed)
    sets = dataclasses.replace(sets, train=train)  # the whole set isn't kept beside its parts
    with joined_processes(device) as (processes, device):
        trainer = Trainer(config, train, selected, out, device, sets.classes, processes)
        trainer.resume()
        metric = trainer.learner.task.metric
        trainer.fit(lambda h: draw_curve(h, out / "curve.png", metric, trainer.key))
        return finish(trainer, sets) if processes.first else None


def make_config(
    file: Path | None, overrides: dict[str, Any], num_classes: int | None = None
) -> RunConfig:
    """The recipe of a file (or its task's default one) with the command line's overrides.

    num_classes: None to be said later. `UserError` for what no run can have.
    """
    values = read_values(file)
    model = overrides.get("model", values.get("model", TrainConfig.model))
    learner = learner_of(model)
    started = overrides.get("checkpoint", values.get("checkpoint"))
    kind = learner.config if started is None else learner.fine_tuning
    if "phases" in overrides:
        overrides = {**overrides, "phases": parse_phases(overrides["phases"])}
    for key in overrides.keys() - {f.name for f in dataclasses.fields(kind)}:
        raise UserError(f"--{key} is not for {model}, which is for {family_of(model).task}")
    said = {} if num_classes is None else {"num_classes": num_classes}
    config = dataclasses.replace(kind.from_dict({**values, **said}), **overrides)
    for size in (*(p.size for p in config.phases), learner.final_size(config)):
        preprocess_of(config.model, size)
    return config


def finish(trainer: Trainer, sets: Sets) -> dict[str, Any]:
    """Save the EMA weights as float16, measured after that rounding, with card and record."""
    config, out, classes = trainer.config, trainer.out, sets.classes
    metadata = {
        "model": config.model,
        "num_classes": str(config.num_classes),
        "labels": json.dumps(list(classes)),
    }
    path = out / f"{config.model}.safetensors"
    trainer.learner.finish(trainer.ema)
    save_checkpoint(path, trainer.ema.state_dict(), metadata)
    rounded = {k: v.half().float() for k, v in trainer.ema.state_dict().items()}
    trainer.ema.load_state_dict(rounded)
    task, size = trainer.learner.task, trainer.learner.final_size(config)
    record = {
        "schema": SCHEMA,
        **task_field(task.name),
        "checkpoint": str(path),
        "sha256": file_sha256(path),
        **trainer.figures(sets.val, size),
        "size": size,
        "from": trainer.origin,
        "images": {
            "train": len(trainer.train),
            "selected": len(trainer.selected),
            "val": len(sets.val),
        },
        "damaged": {"train": sets.train.damaged, "val": sets.val.damaged},
        "left_out": sets.left_out,
        "device": trainer.device,
        "torch": torch.__version__,
        "config": dataclasses.asdict(config),
        "history": trainer.history,
    }
    write_text(out / "training.json", json.dumps(record, indent=1) + "\n")
    write_text(path.with_suffix(".md"), card(record, classes, task.metric))
    return record


def card(record: dict[str, Any], classes: tuple[str, ...], metric: Metric) -> str:
    """The checkpoint's card: recipe, seed, data, epochs, accuracy."""
    config = record["config"]
    phases = ", ".join(f"{p['epochs']} epochs at {p['size']}" for p in config["phases"])
    rows = "\n".join(f"| {k} | {v} |" for k, v in config.items() if k != "phases")
    name = metric.name[:1].upper() + metric.name[1:] if metric.name.islower() else metric.name
    return f"""# {config["model"]}, {len(classes)} classes

{name} at {record["size"]} pixels on {record["images"]["val"]} validation images:
**{metric.text(record[metric.key])} {metric.unit}** (the float16 weights as saved, EMA).

- Data: {record["images"]["train"]} training images of the classes {", ".join(classes)}; the course
  was measured on {record["images"]["selected"]} others of the training images, chosen by the seed.
  The validation images were looked at once, at the end.
- Trained {record["from"]}: {phases}.
- Machine: {record["device"]}, PyTorch {record["torch"]}, precision {config["precision"]}.
- sha256: `{record["sha256"]}`

| recipe | value |
|---|---|
{rows}
"""
