"""EfficientMod against EfficientFormerV2 at like published accuracy, both as this project exports
them, in one run.

python -m benchmarks.rivals --data /path/to/imagenette --json docs/results/rivals.json

Weights are drawn, with a trained network's spread, for ImageNet's 1,000 classes: what a file costs
doesn't depend on them. Accuracy isn't measured here: top-1 is that of the papers, and SQNR says
nothing about it. What comes out the same every time is kept in the cache, so that a run that was
ended goes on where it was; times are taken anew, in rounds that alternate between all files.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure.file_facts import anatomy, answers, instructions
from benchmarks.measure.machine import machine
from benchmarks.measure.remembered import remembered
from benchmarks.measure.series import ratio
from benchmarks.reports import latency_report as report
from benchmarks.reports.command import (
    check_networks,
    check_timing,
    command,
    names,
    timing_options,
)
from benchmarks.routes.candidates import (
    RUNS,
    Candidate,
    drawn_checkpoint,
    our_bundle,
    our_candidates,
    time_all,
)
from benchmarks.routes.network import test_images
from benchmarks.routes.plain_routes import FLOAT, INT8
from export.npu.qualcomm import Compiler, find_compiler
from mobilemod.data.testcard import draw_card
from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.files import write_text
from mobilemod.manifest import Bundle, load_bundle
from mobilemod.progress import progress

SCHEMA = "mobilemod/rivals/1"
THREADS = 1
SUFFIXES = (".pte", ".tflite")
# Top-1 on ImageNet-1K in percent, distilled, after 300 epochs: EfficientMod's from its paper (Ma et
# al., ICLR 2024, arXiv 2403.19963), EfficientFormerV2's from its own (Li et al., ICCV 2023, arXiv
# 2212.08059), which has 76.2, 79.7 and 82.0 after 450.
PUBLISHED = {
    "efficientmod_xxs": 77.1, "efficientmod_xs": 79.4, "efficientmod_s": 81.9,
    "efficientformerv2_s0": 75.7, "efficientformerv2_s1": 79.0, "efficientformerv2_s2": 81.6,
}  # fmt: skip
SOC = "SM8750"
PAIRS = (
    ("efficientmod_xxs", "efficientformerv2_s0"),
    ("efficientmod_xxs", "efficientformerv2_s1"),
    ("efficientmod_xs", "efficientformerv2_s1"),
    ("efficientmod_s", "efficientformerv2_s2"),
)


@dataclass
class Rival:
    """A network's files; counts: key -> instructions of one inference on the emulated ARM64;
    taken: key -> what Qualcomm's compiler takes. A missing one's reason is in `missing`."""

    name: str
    rows: list[Candidate]
    counts: dict[str, dict[str, Any]]
    taken: dict[str, dict[str, int]]
    missing: list[str]

    def row(self, suffix: str, precision: str) -> Candidate | None:
        """The file of a kind, where it runs."""
        kinds = (r for r in self.rows if (r.suffix, r.precision) == (suffix, precision))
        return next((r for r in kinds if not r.reason), None)


def rival(name: str, args: argparse.Namespace) -> Rival:
    """Export a network, look at its files and count what they execute."""
    bundle = load_bundle(our_bundle(name, args.data, checkpoint=drawn_checkpoint(name)))
    found = Rival(name, our_candidates(bundle), {}, {}, [])
    images = test_images(bundle, args.data, args.images)
    expected = _expected(name, images)
    for row in progress(found.rows, f"{name}: answers", len(found.rows), "file"):
        assert row.path is not None
        row.facts = remembered(row.path, anatomy)
        said = remembered(row.path, answers, images, decided=images.tobytes())
        row.reason, row.runtime = said["reason"], said["runtime"]
        if not row.reason:
            row.sqnr = sqnr_db(expected, np.asarray(said["logits"], np.float32))
    lite = [r for r in found.rows if r.suffix == ".tflite" and r.path is not None and not r.reason]
    for row in progress(lite, f"{name}: instructions", len(lite), "file"):
        try:
            found.counts[row.key] = instructions(row.path, _card(bundle))
        except UserError as error:
            found.missing.append(f"{name}: no instructions: {error}")
        try:
            compiler = find_compiler(args.qnn)
            found.taken[row.key] = remembered(
                row.path, _accepted, compiler, decided=compiler.version
            )
        except UserError as error:
            found.missing.append(f"{name}: {error}")
    return found


@torch.no_grad()
def _expected(name: str, images: np.ndarray) -> np.ndarray:
    """The float network's logits, float32 (N, K)."""
    from export.source import open_source

    network = open_source(name, drawn_checkpoint(name), None).module
    return torch.cat([network(x[None]) for x in torch.from_numpy(images)]).numpy()


def _card(bundle: Bundle) -> np.ndarray:
    return bundle.preprocess.normalize(draw_card(*bundle.preprocess.sides)[None])


def _accepted(path: Path, compiler: Compiler) -> dict[str, int]:
    taken = compiler.accept(path, SOC)
    return {"selected": taken.selected, "ops": taken.ops, "partitions": taken.partitions}


def files_table(rivals: list[Rival]) -> report.Table:
    """A line a file."""
    table = [["network", "top-1, paper", "file", "ms", "ARM64 instructions, M", "MB", "int8 share",
              "partitions", "outside", "ops", "q / dq", "SQNR dB", "Qualcomm takes"]]  # fmt: skip
    for m in rivals:
        for r in m.rows:
            facts, taken = r.facts, m.taken.get(r.key)
            table.append([
                m.name, f"{PUBLISHED[m.name]:.1f}", f"{r.suffix} {r.precision}",
                f"{r.spread(THREADS).median:.2f}" if r.times else r.reason or "–",
                f"{m.counts[r.key]['total'] / 1e6:.1f}" if r.key in m.counts else "–",
                f"{facts['bytes'] / 1e6:.2f}",
                f"{facts['int8_share']:.4f}" if r.precision == INT8 else "–",
                str(facts["partitions"]), str(sum(facts["outside"].values())),
                str(facts["ops"]), f"{facts['quantize']} / {facts['dequantize']}",
                "–" if r.sqnr is None else f"{r.sqnr:.1f}",
                f"{taken['selected']} of {taken['ops']}, {taken['partitions']} part" if taken
                else "–",
            ])  # fmt: skip
    return table


def pairs(rivals: list[Rival]) -> list[dict[str, Any]]:
    """Each pair and kind of file: what EfficientFormerV2 takes of what EfficientMod does, as
    ratios of time (median and 95 % interval over rounds), instructions and bytes."""
    named, found = {m.name: m for m in rivals}, []
    for ours, theirs in PAIRS:
        if ours not in named or theirs not in named:
            continue
        for suffix in SUFFIXES:
            for precision in (INT8, FLOAT):
                a, b = (named[n].row(suffix, precision) for n in (ours, theirs))
                if a is None or b is None or not (a.times and b.times):
                    continue
                counts = [named[n].counts.get(r.key) for n, r in ((ours, a), (theirs, b))]
                time = ratio(b.rounds(THREADS), a.rounds(THREADS))
                found.append({
                    "efficientmod": ours, "efficientformerv2": theirs, "file": suffix,
                    "precision": precision, "time": report.ratio_record(time),
                    "instructions": counts[1]["total"] / counts[0]["total"]
                    if all(counts) else None,
                    "bytes": b.facts["bytes"] / a.facts["bytes"],
                })  # fmt: skip
    return found


def pairs_table(found: list[dict[str, Any]]) -> report.Table:
    """`pairs` for people; over 1: EfficientMod takes less."""
    table = [["EfficientMod", "EfficientFormerV2", "top-1", "file", "time ×", "95 %",
              "instructions ×", "size ×"]]  # fmt: skip
    for p in found:
        ours, theirs, time = p["efficientmod"], p["efficientformerv2"], p["time"]
        count = p["instructions"]
        table.append([
            ours.partition("_")[2], theirs.partition("_")[2],
            f"{PUBLISHED[ours]:.1f}, {PUBLISHED[theirs]:.1f}", f"{p['file']} {p['precision']}",
            f"{time['median']:.2f}", f"{time['low']:.2f}–{time['high']:.2f}",
            "–" if count is None else f"{count:.2f}", f"{p['bytes']:.2f}",
        ])  # fmt: skip
    return table


def record(rivals: list[Rival], others: list[float], args: argparse.Namespace) -> dict[str, Any]:
    """The whole run's JSON values."""
    return {
        "schema": SCHEMA,
        "machine": machine(),
        "weights": "drawn, with a trained network's spread",
        "settings": {"rounds": args.rounds, "runs_per_round": RUNS, "threads": THREADS,
                     "compared_images": args.images},
        "others_busy_cores": [round(v, 3) for v in others],
        "networks": [
            {
                "network": m.name,
                "published_top1_percent": PUBLISHED[m.name],
                "missing": m.missing,
                "files": [
                    {**report.row_record(r, m.rows, (THREADS,)),
                     "instructions": m.counts.get(r.key), "qualcomm": m.taken.get(r.key)}
                    for r in m.rows
                ],
            }
            for m in rivals
        ],
        "pairs": pairs(rivals),
    }  # fmt: skip


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked; `UserError` for a bad one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    timing_options(parser, 2.0, 8)
    parser.add_argument(
        "--networks", type=names, default=list(PUBLISHED), help="separated by commas"
    )
    parser.add_argument("--qnn", type=Path, help="where onnxruntime-qnn was installed to")
    parser.add_argument("--json", type=Path, help="file for the record")
    args = parser.parse_args(argv)
    check_timing(args, ("rounds", "images"))
    check_networks(args.networks, PUBLISHED)
    return args


def run(args: argparse.Namespace) -> None:
    """Export, examine and time all networks asked for."""
    torch.set_num_threads(1)
    rivals = [rival(name, args) for name in args.networks]
    bundle = load_bundle(our_bundle(args.networks[0], args.data,
                                    checkpoint=drawn_checkpoint(args.networks[0])))  # fmt: skip
    rows = [row for found in rivals for row in found.rows]
    image = test_images(bundle, args.data, 1)
    others = time_all(rows, image, (THREADS,), args.rounds, args.patience)
    print(report.aligned(files_table(rivals)), end="\n\n")
    print(report.aligned(pairs_table(pairs(rivals))))
    print(f"\nothers kept {np.median(others):.2f} cores busy in the median round")
    for line in dict.fromkeys(line for m in rivals for line in m.missing):
        print(f"- {line}")
    if args.json:
        values = record(rivals, others, args)
        write_text(args.json, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(command(run, parse))
