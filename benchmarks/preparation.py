"""What each step before quantization is worth: a recipe with one thing changed.

python -m benchmarks.preparation --data /path/to/imagenette --out docs/results
python -m benchmarks.preparation --data DIR --recipe npu --changes "*float,*squares*"
python -m benchmarks.preparation --data /path/to/imagenette --network hf:DIR

For the bundled efficientmod_xxs, or another network, the quantized program of each form on
validation images, against the float network: SQNR of the logits, drop of the top-1 with its
interval, and the seconds that preparing took (calibration included; on a machine with other work
they are rough).
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
from mobilemod.tasks.classification.accuracy import top1_class
from mobilemod.training.images import load_images
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
    """A recipe in a form: dB, points, seconds."""

    change: str
    form: str
    seconds: float
    sqnr_db: float
    drop: dict[str, Any]
    agreement_percent: float


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
    source: Source, data: Path, count: int, wanted: str = "*", base: str = "cpu"
) -> list[PreparationRow]:
    """The recipe as it is, and every change whose name is like one of `wanted`, separated by
    commas; in every form."""
    torch.set_num_threads(1)
    preprocess = source.preprocess
    val, train = source.read(data, "val").spread(count), source.read(data, "train")
    images = load_images(val, "reading val", preprocess)
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
        for form_name, options in FORMS.items():
            form = adjusted.form(options)
            table = make_table(form, form_name, recipe, prepared.calibration)
            program = SwitchedProgram(form, table)
            program.select(frozenset(program.switches))
            logits = _logits(lambda b, p=program: p.run(0, b), x)
            same = float(np.mean(top1_class(logits) == top1_class(reference))) * 100
            lost = asdict(TASK.drop(reference, logits, images.targets))
            rows.append(
                PreparationRow(name, form_name, seconds, sqnr_db(reference, logits), lost, same)
            )
    return rows


@torch.inference_mode()
def _logits(run: Any, x: torch.Tensor) -> np.ndarray:
    return torch.cat([run(b) for b in x.split(BATCH)]).numpy()


def table(rows: list[PreparationRow], network: str, images: int, recipe: str = "cpu") -> str:
    """Markdown, a change a line, both forms beside each other."""
    lines = [
        f"{network}, recipe `{recipe}`, {images} validation images; SQNR of the logits in dB and "
        "top-1 drop in points, of the quantized program in each form.",
        "",
        "| change to the recipe | xnnpack dB | drop | coreml dB | drop | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(r.change for r in rows):
        by_form = {r.form: r for r in rows if r.change == name}
        cells = []
        for form in ("xnnpack", "coreml"):
            r = by_form[form]
            d = r.drop
            cells += [f"{r.sqnr_db:.2f}", f"{d['points']:.2f} [{d['low']:.2f}, {d['high']:.2f}]"]
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
    rows = run(source, args.data, args.images, args.changes, args.recipe)
    text = table(rows, source.name, args.images, args.recipe)
    record = {
        "schema": "mobilemod/preparation/1",
        "network": source.name,
        "recipe": args.recipe,
        "images": args.images,
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
    parser.add_argument("--changes", default="*", help="names with wildcards, by commas")
    parser.add_argument("--out", type=Path, help="folder for the table and its record")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(command(run_command, parse))
