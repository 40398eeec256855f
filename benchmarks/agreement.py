"""How far a bundle's int8 files agree, and how much one code matters.

python -m benchmarks.agreement dist/efficientmod_xxs --data /path/to/imagenette --out docs/results

Counts the images on which two int8 files' logits and top-1 differ, names those whose top-1 differs,
and tells how many images lie within a few steps of the logits of another answer. Then changes one
code of one tensor by one step in the `.tflite` and follows what becomes of it. Answers are cached:
after `mobilemod validate` on the same images only the second part takes time.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure.machine import machine, packages
from benchmarks.reports.command import command
from benchmarks.reports.latency_report import aligned, markdown
from benchmarks.routes.network import test_images
from benchmarks.routes.plain_onnx import onnx2tf_environment
from export.bundle_parts import OpenedBundle
from export.diff.named import NamedTaps, TappedTensor
from export.diff.taps import BundleTaps
from export.measure.validation import candidates, predict, read_validation_images
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Predictions
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.files import write_json, write_text
from mobilemod.manifest import Bundle, load_bundle
from mobilemod.progress import progress
from mobilemod.results.schema import json_ready
from mobilemod.tasks.classification.accuracy import margins, top1_class
from quantization.params import ACTIVATION_MAX

SCHEMA = "mobilemod/agreement/1"
NEAR = (0, 1, 4)  # steps of the logits between the two best classes
# EfficientMod's logits; what is changed by one code, and where the change is looked at again.
LOGITS = "head:out"
STAGES = tuple(f"layers.{i}.blocks.0.norm:out" for i in range(4))


@dataclass(frozen=True)
class Pair:
    """Two int8 files on the same images.

    logits_differ, top1_differ: how many images. sqnr_db: infinite for identical logits.
    """

    a: str
    b: str
    logits_differ: int
    top1_differ: int
    sqnr_db: float


@dataclass(frozen=True)
class Parting:
    """An image on which two files' top-1 differ.

    a_class, b_class: labels. a_lead, b_lead: of the best class over the second, in steps of the
    logits. sqnr_db: between the two files' logits of this image.
    """

    a: str
    b: str
    image: str
    a_class: str
    b_class: str
    a_lead: float
    b_lead: float
    sqnr_db: float


@dataclass(frozen=True)
class OneCode:
    """What one changed code of `tensor` does, over `runs` images.

    same: percent of the runs whose logits stay as they were. sqnr_db: mean of the others, NaN for
    none. differ: percent of the codes that differ afterwards, by tensor.
    """

    tensor: str
    runs: int
    same: float
    sqnr_db: float
    differ: dict[str, float]


def compare(files: Sequence[Predictions]) -> list[Pair]:
    """Every pair of files."""
    return [
        Pair(
            a.name,
            b.name,
            int((a.outputs != b.outputs).any(axis=1).sum()),
            int((top1_class(a.outputs) != top1_class(b.outputs)).sum()),
            sqnr_db(a.outputs, b.outputs),
        )
        for a, b in itertools.combinations(files, 2)
    ]


def partings(
    files: Sequence[Predictions], step: float, images: Sequence[str], labels: Sequence[str]
) -> list[Parting]:
    """Where a pair's top-1 differ; a file that says what an earlier one says isn't listed again."""
    found = []
    seen: set[tuple[int, int, int]] = set()
    classes = [top1_class(f.outputs) for f in files]
    leads = [margins(f.outputs) / step for f in files]
    for a, b in itertools.combinations(range(len(files)), 2):
        for i in np.flatnonzero(classes[a] != classes[b]):
            says = int(classes[a][i]), int(classes[b][i])
            if (int(i), *says) in seen:
                continue
            seen.add((int(i), *says))
            names = (labels[c] if c >= 0 else "not finite" for c in says)
            near = sqnr_db(files[a].outputs[i : i + 1], files[b].outputs[i : i + 1])
            lead = float(leads[a][i]), float(leads[b][i])
            found.append(Parting(files[a].name, files[b].name, images[i], *names, *lead, near))
    return found


def close_calls(file: Predictions, step: float) -> dict[int, int]:
    """Steps -> how many images' two best classes lie no farther apart."""
    lead = np.rint(margins(file.outputs) / step)
    return {n: int((lead <= n).sum()) for n in NEAR}


def one_code(taps: NamedTaps, images: np.ndarray, seed: int) -> list[OneCode]:
    """Change one code of each of `STAGES` that the file has by one step, for each image another.

    images: float32 (N, 3, S, S), normalized.
    """
    rng = np.random.default_rng(seed)
    stages = [name for name in STAGES if name in taps.names]
    watched = (*stages, LOGITS)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in stages}
    for x in progress(images, "one code", len(images), "image"):
        before = taps.tensors(x[None], watched)
        for i, name in enumerate(stages):
            later = watched[i + 1 :]
            after = taps.tensors(x[None], later, {name: nudged(before[name], rng)})
            share = {n: float((after[n].values != before[n].values).mean()) for n in later}
            near = sqnr_db(before[LOGITS].real[None], after[LOGITS].real[None])
            found[name].append({"share": share, "sqnr_db": near})
    return [_one_code(name, runs) for name, runs in found.items()]


def nudged(tensor: TappedTensor, rng: np.random.Generator) -> TappedTensor:
    """`tensor`, int8 codes, with one of them a step higher, or lower where it can't be higher."""
    values = tensor.values.copy()
    at = np.unravel_index(rng.integers(values.size), values.shape)
    values[at] += 1 if values[at] < ACTIVATION_MAX else -1
    return TappedTensor(tensor.name, values, tensor.scale, tensor.zero_point)


def _one_code(name: str, runs: list[dict[str, Any]]) -> OneCode:
    changed = [r["sqnr_db"] for r in runs if math.isfinite(r["sqnr_db"])]
    differ = {n: 100 * float(np.mean([r["share"][n] for r in runs])) for n in runs[0]["share"]}
    mean = float(np.mean(changed)) if changed else math.nan
    return OneCode(name, len(runs), 100 * (1 - len(changed) / len(runs)), mean, differ)


def logit_step(bundle: Bundle) -> float:
    """The scale of the logits' codes; `UserError` where the logits aren't int8."""
    table = OpenedBundle(bundle).table("xnnpack")
    if LOGITS not in table.entries:
        raise UserError(
            f"{bundle.folder}: no int8 logits {LOGITS}: another network than EfficientMod, or a "
            "recipe that leaves them float"
        )
    return table.entries[LOGITS].scale[0]


def pairs_table(pairs: Sequence[Pair]) -> list[list[str]]:
    """One line per pair."""
    table = [["pair", "logits differ, images", "top-1 differs, images", "SQNR dB"]]
    for p in pairs:
        near = "∞" if math.isinf(p.sqnr_db) else f"{p.sqnr_db:.1f}"
        table.append([f"{p.a} / {p.b}", str(p.logits_differ), str(p.top1_differ), near])
    return table


def partings_table(found: Sequence[Parting]) -> list[list[str]]:
    """One line per image and pair."""
    table = [["image", "file", "says", "the other", "says", "lead, steps", "SQNR dB"]]
    for p in found:
        lead = f"{p.a_lead:.0f} / {p.b_lead:.0f}"
        table.append([p.image, p.a, p.a_class, p.b, p.b_class, lead, f"{p.sqnr_db:.1f}"])
    return table


def one_code_table(found: Sequence[OneCode]) -> list[list[str]]:
    """One line per tensor that was changed."""
    watched = (*STAGES[1:], LOGITS)
    heading = [f"differ in {n.removesuffix(':out')}, %" for n in watched]
    table = [["one code changed in", "logits the same, %", "else SQNR dB", *heading]]
    for c in found:
        near = "–" if math.isnan(c.sqnr_db) else f"{c.sqnr_db:.1f}"
        shares = [f"{c.differ[n]:.2g}" if n in c.differ else "–" for n in watched]
        table.append([c.tensor, f"{c.same:.0f}", near, *shares])
    return table


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked; `UserError` for a bad one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path, help="folder that export wrote")
    parser.add_argument("--data", type=Path, default=os.environ.get("MOBILEMOD_DATA"),
                        help="images, with train/ and val/ (MOBILEMOD_DATA)")  # fmt: skip
    parser.add_argument("--limit", type=int, help="at most so many images, over the classes")
    parser.add_argument("--codes", type=int, default=20, help="images of the one-code experiment")
    parser.add_argument("--seed", type=int, default=0, help="which codes are changed")
    parser.add_argument("--out", type=Path, help="folder for the page and the record")
    args = parser.parse_args(argv)
    if args.data is None:
        raise UserError("no images: give --data DIR, or set MOBILEMOD_DATA")
    for option in ("limit", "codes"):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise UserError(f"--{option} must be 1 or more")
    return args


def run(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    torch.set_num_threads(1)
    bundle = load_bundle(args.bundle)
    step = logit_step(bundle)
    folder = read_validation_images(bundle, Path(args.data), args.limit)
    chosen = [c for c in candidates(bundle) if c.role == "int8"]
    if len(chosen) < 2:
        raise UserError(f"{args.bundle} holds fewer than two int8 files; nothing to compare")
    answers = predict(bundle, folder, chosen)
    files = answers.predictions[None]
    pairs = compare(files)
    names = [folder.name(i) for i in answers.kept]
    parted = partings(files, step, names, bundle.label_names)
    close = close_calls(files[0], step)
    tflite = next((c.file for c in chosen if c.target == "tflite"), None)
    codes = []
    if tflite:
        taps = BundleTaps(bundle).file(args.bundle / tflite)
        codes = one_code(taps, test_images(bundle, Path(args.data), args.codes), args.seed)
    about = (
        f"{bundle.manifest.model}, recipe {bundle.manifest.recipe.name}, "
        f"{len(names)} validation images. One step of the logits is {step:.3f}."
    )
    near = ", ".join(f"{n} within {s} step{'s'[: s != 1]}" for s, n in close.items())
    near = f"Images whose two best classes lie as near ({files[0].name}): {near}."
    tables = [t for t in (pairs_table(pairs), partings_table(parted), one_code_table(codes)) if t]
    print("\n\n".join([about, aligned(tables[0]), near, *(aligned(t) for t in tables[1:])]))
    if args.out:
        facts = {"machine": machine(), "packages": packages(onnx2tf_environment())}
        write_json(
            args.out / "agreement.json",
            json_ready(
                {
                    "schema": SCHEMA,
                    **facts,
                    "model": bundle.manifest.model,
                    "recipe": bundle.manifest.recipe.name,
                    "weights": bundle.manifest.checkpoint.weights,
                    "images": len(names),
                    "logit_step": step,
                    "pairs": [asdict(p) for p in pairs],
                    "close": [{"steps": s, "images": n} for s, n in close.items()],
                    "partings": [asdict(p) for p in parted],
                    "seed": args.seed,
                    "one_code": [asdict(c) for c in codes],
                }
            ),
        )
        flags = ", ".join(facts["machine"]["flags"])
        parts = ["# How far the int8 files agree", about, markdown(tables[0]), near]
        parts += [markdown(t) for t in tables[1:]]
        parts.append(f"{facts['machine']['processor']}, {flags}.")
        write_text(args.out / "agreement.md", "\n\n".join(parts) + "\n")


if __name__ == "__main__":
    sys.exit(command(run, parse))
