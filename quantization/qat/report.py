"""What a run of quantization-aware training brought: measured, drawn, told."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from mobilemod.data.imagefolder import Damage, ImageFolder, iter_pixels
from mobilemod.data.preprocess import Preprocess
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.progress import progress
from mobilemod.tasks.classification import TASK
from mobilemod.training.curve import Line, draw_lines
from mobilemod.training.images import EVALUATION_BATCH, predict


def measure(
    reference: nn.Module,
    programs: Mapping[str, nn.Module],
    folder: ImageFolder,
    preprocess: Preprocess,
    device: str,
) -> dict[str, Any]:
    """Top-1 of `reference` and of every program on all of `folder`, with the paired drop."""
    models = {"float": reference, **programs}
    for model in models.values():
        model.to(device).eval()
    damage = Damage(len(folder.samples))
    logits: dict[str, list[np.ndarray]] = {name: [] for name in models}
    kept: list[int] = []
    found = iter_pixels(folder, preprocess, damage)
    images = progress(found, "validating", len(folder.samples), "img")
    while part := list(itertools.islice(images, EVALUATION_BATCH)):
        kept += [i for i, _ in part]
        pixels = np.stack([image for _, image in part])
        for name, model in models.items():
            logits[name].append(predict(model, [pixels], preprocess, device))
    joined = {name: np.concatenate(parts) for name, parts in logits.items()}
    return _figures(joined, folder.targets[kept], len(damage.files))


def _figures(logits: dict[str, np.ndarray], targets: np.ndarray, damaged: int) -> dict[str, Any]:
    reference = logits["float"]
    programs = {}
    for name, values in logits.items():
        if name == "float":
            continue
        lost = TASK.drop(reference, values, targets)
        programs[name] = {
            "top1_percent": TASK.figure(TASK.scored(values, targets)),
            "drop": {k: getattr(lost, k) for k in ("points", "low", "high", "lost", "won")},
            "agreement_percent": TASK.agreement_percent(reference, values),
            "sqnr_db": sqnr_db(reference, values),
        }
    return {
        "images": len(targets),
        "damaged": damaged,
        "float_top1_percent": TASK.figure(TASK.scored(reference, targets)),
        "programs": programs,
    }


def text(record: dict[str, Any]) -> str:
    """The figures of a record as lines."""
    lines = [f"float: top-1 {record['float_top1_percent']:.2f} % of {record['images']} images"]
    for name, p in record["programs"].items():
        d = p["drop"]
        lines.append(
            f"{name}: top-1 {p['top1_percent']:.2f} %, drop {d['points']:.2f} "
            f"[{d['low']:.2f}, {d['high']:.2f}], logits {p['sqnr_db']:.1f} dB, "
            f"top-1 as float {p['agreement_percent']:.2f} %"
        )
    return "\n".join(lines)


def card(record: dict[str, Any]) -> str:
    """What was trained, from what, how, and what it brought."""
    figures = "\n".join(f"- {line}" for line in text(record).splitlines())
    rows = "\n".join(f"| {k} | {v} |" for k, v in record["config"].items())
    return f"""# {record["model"]}, quantization-aware training, recipe {record["recipe"]}

Quantized program in PyTorch, before training (calibrated) and after (trained), against the float
network:

{figures}

- From: {record["checkpoint"]}, weights `{record["reference"]}`.
- To: weights `{record["weights"]}`; prepared.safetensors has sha256 `{record["sha256"]}`.
- {record["config"]["steps"]} steps in {record["minutes"]} minutes, {record["device"]}, PyTorch
  {record["torch"]}.

| recipe | value |
|---|---|
{rows}
"""


def draw_history(history: list[dict[str, Any]], path: Path) -> None:
    """Training loss and nearness to the float network over the steps, as PNG."""
    draw_lines(
        path,
        "step",
        [h["step"] for h in history],
        Line("training loss", [h["loss"] for h in history]),
        Line("SQNR of the validation logits, dB", [h["sqnr_db"] for h in history]),
        dots=[True] * len(history),
    )
