"""What each step before quantization is worth: a recipe with one thing changed.

python -m benchmarks.preparation --data /path/to/imagenette --out docs/results
python -m benchmarks.preparation --data DIR --recipe npu --changes "*float,*squares*"
python -m benchmarks.preparation --data /path/to/imagenette --network hf:DIR

For the bundled efficientmod_xxs, or another network, the quantized program of each form on
validation images, against the float network: SQNR of the logits, drop of the top-1 with its
interval, how both forms agree, and the seconds that preparing took (calibration included; on a
machine with other work they are rough). To choose by it, take --held-out: the tenth of the training
images on which `train` by default trains nothing; the others are calibrated on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.reports.command import command
from export.source import Source, open_source, source_of
from export.targets.base import FORMS
from export.verbs.network_options import network_options, opened_of
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.files import write_text
from mobilemod.progress import progress
from mobilemod.tasks.classification import TASK
from mobilemod.training.config import TrainConfig
from mobilemod.training.images import load_images
from mobilemod.training.train import held_back
from quantization.prepare.preparation import prepare
from quantization.program import make_table
from quantization.recipe import Recipe, Rule, load_recipe
from quantization.sensitivity.program import SwitchedProgram

MODEL = "efficientmod_xxs"
BATCH = 8
STEM, UNCHANGED = "stem", "as it is"
VARIANCES = ("norm.square", "norm.variance")
INSIDES = (*VARIANCES, "norm.mean", "norm.centered", "norm.rstd")
# What a recipe of whole numbers adds to `cpu`'s int8, in parts.
PARTS = {
    "squares and variances": VARIANCES,
    "norms' insides": INSIDES,
    "residuals": ("residual",),
    "norms' insides and residuals": (*INSIDES, "residual"),
    "attention": ("matrix", "scores", "softmax", "context"),
}


@dataclass(frozen=True)
class PreparationRow:
    """A recipe in a form: dB, points, seconds. forms: how the recipe's two forms agree."""

    change: str
    form: str
    seconds: float
    sqnr_db: float
    drop: dict[str, Any]
    agreement_percent: float
    forms_agreement_percent: float
    forms_sqnr_db: float


def changes(base: Recipe) -> Iterator[tuple[str, Recipe]]:
    """A recipe, and it with one thing changed."""
    yield UNCHANGED, base
    yield "no check of what is clipped", replace(base, clipping_check=False)
    yield "no equalization", replace(base, equalization=False)
    yield "no bias correction", replace(base, bias_correction=False)
    rules = tuple(r for r in base.rules if r.role != STEM)
    if rules != base.rules:
        yield "the stem's range by mse too", replace(base, rules=rules)
    plain = replace(base, equalization=False, bias_correction=False, rules=rules)
    yield "none of these three", plain
    for observer in ("minmax", "percentile", "entropy"):
        yield f"ranges by {observer}", replace(base, observer=observer)
    parts = Rule("int8", role="depthwise.*", observer="minmax")
    yield "ranges of the depthwise's pieces by minmax", replace(base, rules=(*base.rules, parts))
    for rounding in ("nearest", "learned"):
        yield f"rounding {rounding}", replace(base, rounding=rounding)
    for name, roles in PARTS.items():
        if any(base.dtype("", "xnnpack", role) != "float" for role in roles):
            rules = tuple(Rule("float", role=role) for role in roles)
            yield f"{name} float", replace(base, rules=(*base.rules, *rules))
    if base.dtype("", "xnnpack", VARIANCES[0]) == "int8":
        form = ("xnnpack",)  # Core ML computes them in float16
        rules = tuple(Rule("int8", "*", role, form, "minmax") for role in VARIANCES)
        yield (
            "ranges of squares and variances by minmax",
            replace(base, rules=(*base.rules, *rules)),
        )


def run(
    source: Source,
    data: Path,
    count: int,
    wanted: str = "*",
    base: str = "cpu",
    held_out: bool = False,
) -> tuple[list[PreparationRow], int]:
    """(rows, images): the recipe as it is, and every change whose name is like one of `wanted`,
    separated by commas; in every form. held_out: on training images that calibration doesn't see.
    """
    torch.set_num_threads(1)
    preprocess = source.preprocess
    train = source.read(data, "train")
    if held_out:
        kept, held = held_back(len(train.samples), TrainConfig.selection, TrainConfig.seed)
        train, measured = train.subset(kept.tolist()), train.subset(held.tolist())
    else:
        measured = source.read(data, "val")
    images = load_images(measured.spread(count), "reading images", preprocess)
    x = torch.from_numpy(preprocess.normalize(images.pixels))
    x = x.contiguous(memory_format=torch.channels_last)
    reference = _logits(source.module, x)
    rows = []
    work = [
        row
        for row in changes(load_recipe(base))
        if row[0] == UNCHANGED or any(fnmatchcase(row[0], w) for w in wanted.split(","))
    ]
    for name, recipe in progress(work, "recipes", len(work), "recipe"):
        start = time.perf_counter()
        prepared = prepare(source.canonical, recipe, train, preprocess)
        seconds = time.perf_counter() - start
        adjusted = source.canonical.with_state(prepared.state)
        found = {}
        for form_name, options in FORMS.items():
            form = adjusted.form(options)
            table = make_table(form, form_name, recipe, prepared.calibration)
            program = SwitchedProgram(form, table)
            program.select(frozenset(program.switches))
            found[form_name] = _logits(lambda b, p=program: p.run(0, b), x)
        forms = TASK.agreement_percent(*found.values()), sqnr_db(*found.values())
        for form_name, logits in found.items():
            row = PreparationRow(
                name,
                form_name,
                seconds,
                sqnr_db(reference, logits),
                asdict(TASK.drop(reference, logits, images.targets)),
                TASK.agreement_percent(reference, logits),
                *forms,
            )
            rows.append(row)
    return rows, len(x)


@torch.inference_mode()
def _logits(run: Any, x: torch.Tensor) -> np.ndarray:
    return torch.cat([run(b) for b in x.split(BATCH)]).numpy()


def table(rows: list[PreparationRow], network: str, images: str, recipe: str = "cpu") -> str:
    """Markdown, a change a line, both forms beside each other. images: how many of which."""
    lines = [
        f"{network}, recipe `{recipe}`, {images}; SQNR of the logits in dB and "
        "top-1 drop in points, of the quantized program in each form, and between the forms.",
        "",
        "| change to the recipe | xnnpack dB | drop | coreml dB | drop | forms dB | alike % | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(r.change for r in rows):
        by_form = {r.form: r for r in rows if r.change == name}
        cells = []
        for form in ("xnnpack", "coreml"):
            r = by_form[form]
            d = r.drop
            cells += [f"{r.sqnr_db:.2f}", f"{d['points']:.2f} [{d['low']:.2f}, {d['high']:.2f}]"]
        cells += [f"{r.forms_sqnr_db:.2f}", f"{r.forms_agreement_percent:.2f}"]
        seconds = max(r.seconds for r in by_form.values())
        cells.append("cached" if seconds < 5 else f"{seconds:.0f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def run_command(args: argparse.Namespace) -> None:
    """Print the table, and write it with the record beside it."""
    opened = opened_of(args)
    source = (
        source_of(opened, args.data)
        if opened
        else open_source(args.model or MODEL, args.checkpoint, args.data)
    )
    rows, images = run(source, args.data, args.images, args.changes, args.recipe, args.held_out)
    of = "held-out training" if args.held_out else "validation"
    text = table(rows, source.name, f"{images} {of} images", args.recipe)
    record = {
        "schema": "mobilemod/preparation/1",
        "network": source.name,
        "recipe": args.recipe,
        "images": images,
        "held_out": args.held_out,
        "torch": torch.__version__,
        "rows": [asdict(r) for r in rows],
    }
    if args.out:
        write_text(args.out / "preparation.md", text)
        write_text(args.out / "preparation.json", json.dumps(record, indent=1))
    print(text)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    network_options(parser)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--recipe", default="cpu", help="what is changed: a name or a file")
    parser.add_argument("--held-out", action="store_true", help="training images, to choose by")
    parser.add_argument("--changes", default="*", help="names with wildcards, by commas")
    parser.add_argument("--out", type=Path, help="folder for the table and its record")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(command(run_command, parse))
