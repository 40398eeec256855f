"""`mobilemod train`: read the images, train, save checkpoint, card and curve."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from mobilemod.data.imagefolder import read_folder
from mobilemod.data.listing import joined
from mobilemod.errors import UserError
from mobilemod.files import file_sha256, write_text
from mobilemod.networks.checkpoints import save_checkpoint
from mobilemod.networks.registry import family_of
from mobilemod.tasks import get_task
from mobilemod.training.config import TrainConfig, parse_phases, read_values
from mobilemod.training.curve import draw_curve
from mobilemod.training.device import choose_device
from mobilemod.training.images import SOURCE_SIZE, evaluate, load_images
from mobilemod.training.train import Trainer

SCHEMA = "mobilemod/training/1"


def train_and_save(
    data: Path,
    out: Path,
    config_file: Path | None,
    overrides: dict[str, Any],
    device: str | None,
    threads: int | None,
) -> dict[str, Any]:
    """Train to the end of the recipe, going on where `out` stopped; returns the run's record.

    Leaves MODEL.safetensors (float16, EMA weights), its card MODEL.md, curve.png and
    history.json in `out`.
    """
    device = choose_device(device)
    if threads:
        torch.set_num_threads(threads)
    train, val = read_folder(data / "train"), read_folder(data / "val")
    if train.classes != val.classes:
        raise UserError(f"{data}: train and val hold different classes")
    config = make_config(config_file, overrides, len(train.classes))
    task = get_task(family_of(config.model).task)
    if task.maps:
        raise UserError(f"{config.model} is for {task.name}: train makes classifiers of images")
    images = load_images(train, "reading train"), load_images(val, "reading val")
    trainer = Trainer(config, *images, out, device)
    trainer.resume()
    trainer.fit(lambda history: draw_curve(history, out / "curve.png"))
    return finish(trainer, train.classes, data, joined((train.left_out, val.left_out)))


def make_config(file: Path | None, overrides: dict[str, Any], num_classes: int) -> TrainConfig:
    """The recipe of a file (or the default one) with the command line's overrides."""
    config = TrainConfig.from_dict({**read_values(file), "num_classes": num_classes})
    if "phases" in overrides:
        overrides = {**overrides, "phases": parse_phases(overrides["phases"])}
    return dataclasses.replace(config, **overrides)


def finish(
    trainer: Trainer, classes: tuple[str, ...], data: Path, left_out: dict[str, int] | None = None
) -> dict[str, Any]:
    """Save the EMA weights as float16, measured after that rounding, with card and record.

    left_out: files of `data` that weren't read, by kind.
    """
    config, out = trainer.config, trainer.out
    metadata = {
        "model": config.model,
        "num_classes": str(config.num_classes),
        "labels": json.dumps(list(classes)),
    }
    path = out / f"{config.model}.safetensors"
    save_checkpoint(path, trainer.ema.state_dict(), metadata)
    rounded = {k: v.half().float() for k, v in trainer.ema.state_dict().items()}
    trainer.ema.load_state_dict(rounded)
    top1 = evaluate(trainer.ema, trainer.val, SOURCE_SIZE, trainer.device)
    record = {
        "schema": SCHEMA,
        "checkpoint": str(path),
        "sha256": file_sha256(path),
        "top1_percent": top1,
        "images": {"train": len(trainer.train.targets), "val": len(trainer.val.targets)},
        "damaged": {"train": trainer.train.damaged, "val": trainer.val.damaged},
        "left_out": left_out or {},
        "device": trainer.device,
        "torch": torch.__version__,
        "config": dataclasses.asdict(config),
        "history": trainer.history,
    }
    write_text(out / "training.json", json.dumps(record, indent=1) + "\n")
    write_text(path.with_suffix(".md"), card(record, classes))
    return record


def card(record: dict[str, Any], classes: tuple[str, ...]) -> str:
    """The checkpoint's card: recipe, seed, data, epochs, accuracy."""
    config = record["config"]
    phases = ", ".join(f"{p['epochs']} epochs at {p['size']}" for p in config["phases"])
    rows = "\n".join(f"| {k} | {v} |" for k, v in config.items() if k != "phases")
    return f"""# {config["model"]}, {len(classes)} classes

Top-1 at {SOURCE_SIZE} pixels on {record["images"]["val"]} validation images:
**{record["top1_percent"]:.2f} %** (the float16 weights as saved, EMA).

- Data: {record["images"]["train"]} training images of the classes {", ".join(classes)}.
- Trained from scratch: {phases}.
- Machine: {record["device"]}, PyTorch {record["torch"]}, precision {config["precision"]}.
- sha256: `{record["sha256"]}`

| recipe | value |
|---|---|
{rows}
"""
