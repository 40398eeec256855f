"""Accuracy of our int8 files against other tools' on the same images, in one run.

python -m benchmarks.accuracy --data /path/to/imagenette --out docs/results

Every file is made of the same weights, calibrated on the same training images and judged on the
same validation images against the same float network. Ours start from the mobile form, the others
from the published one, each by its tool's documented route. A tool that is absent or fails has a
line with the reason (`make bench-setup` installs them). Files and answers are cached: an
interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure.answers import EXACT
from benchmarks.measure.machine import machine, packages
from benchmarks.reports.command import command
from benchmarks.reports.latency_report import aligned, markdown
from benchmarks.routes.accuracy_rows import (
    AccuracyRow,
    Judge,
    export,
    our_rows,
    peer_row,
    row_record,
    rows_table,
    title,
)
from benchmarks.routes.network import bundle_network, checkpoint_option
from benchmarks.routes.plain_onnx import onnx2tf_environment
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Drop
from mobilemod.files import write_json, write_text
from mobilemod.manifest import load_bundle
from mobilemod.networks.registry import get_variant
from mobilemod.results.schema import json_ready
from mobilemod.results.table import drop_text
from mobilemod.tasks.classification import TASK
from mobilemod.tasks.classification.accuracy import top_k
from quantization.calibration import cache_dir

SCHEMA = "mobilemod/accuracy/1"
DEFAULT_MODEL = "efficientmod_xxs"
# Route and how it is run; ONNX Runtime's own default kernels lose accuracy on some processors.
PEERS = (
    ("executorch-int8", ""),
    ("litert-torch-int8", ""),
    ("ai-edge-quantizer-int8", ""),
    ("ai-edge-quantizer-int8-flat", ""),
    ("onnx2tf-int8", ""),
    ("onnxruntime-int8", EXACT),
    ("onnxruntime-int8", ""),
    ("onnxruntime-int8-products", EXACT),
    ("coremltools-int8", ""),
    ("coremltools-int8-all", ""),
)
NOTES = (
    "Drop: top-1 points lost against the float network on the same images, with the paired 95 % "
    "bootstrap interval; lost/won: images that only the float network, only the file gets right. "
    "SQNR of the logits against the float network's. int8 MACs: of convolutions and linears. A "
    "drop below 0 is chance: a file that changes many answers may change some for the better. How "
    "near a file is to its network is told by the answers changed and the SQNR. "
    "ONNX Runtime's kernels for uint8 times int8 add up in 16 bits, which saturate, on x86 "
    "processors without VNNI; with its option session.x64quantprecision they don't. Core ML "
    "packages are run by interpreters of their programs, not by Core ML; coremltools calibrates "
    "with such an interpreter in Core ML's place, as it comes on the last image's range alone."
)


@dataclass(frozen=True)
class Measure:
    """What the files are compared by. least: the value to be small, of a row with answers."""

    asked: str
    value: Callable[[AccuracyRow], float]
    digits: int
    least: bool = True

    def cost(self, row: AccuracyRow) -> float:
        """Smaller is better."""
        return self.value(row) if self.least else -self.value(row)


MEASURES = (
    Measure("smallest drop", lambda r: r.drop.points, 2),
    Measure("fewest answers changed", lambda r: r.drop.lost + r.drop.won, 0),
    Measure("largest SQNR", lambda r: r.sqnr, 1, False),
)


@dataclass(frozen=True)
class Check:
    """Whether one of our files is the best by a measure, and the best of the others.

    ahead: top-1 points that our file has over that other one on the same images.
    """

    measure: Measure
    ours: AccuracyRow
    peer: AccuracyRow
    ahead: Drop

    @property
    def verdict(self) -> str:
        """ "yes", "yes, equal" or "no", by the values alone."""
        own, other = self.measure.cost(self.ours), self.measure.cost(self.peer)
        if own == other:
            return "yes, equal"
        return "yes" if own < other else "no"


def all_checks(rows: Sequence[AccuracyRow], judge: Judge) -> list[Check]:
    """Each measure of each of our files against the best other file by it."""
    peers = [r for r in rows if not r.ours and r.drop is not None]
    checks = []
    for measure, row in itertools.product(MEASURES, [r for r in rows if r.ours] if peers else ()):
        best = min(peers, key=lambda r: (measure.cost(r), -r.sqnr))
        ahead = TASK.drop(row.logits, best.logits, judge.targets)
        checks.append(Check(measure, row, best, ahead))
    return checks


def checks_table(checks: Sequence[Check]) -> list[list[str]]:
    """Asked and measured."""
    table = [
        ["asked of all", "file", "its", "best other", "its", "points ahead", "95 %", "measured"]
    ]
    for c in checks:
        own, other = (f"{c.measure.value(r):.{c.measure.digits}f}" for r in (c.ours, c.peer))
        ahead = drop_text(dataclasses.asdict(c.ahead))
        names = (title(c.ours), title(c.peer))
        table.append([c.measure.asked, names[0], own, names[1], other, *ahead, c.verdict])
    return table


def missing_lines(rows: Sequence[AccuracyRow]) -> list[str]:
    """A line for every file that wasn't run: which, and why."""
    return [f"{title(r)} ({r.key}): not run: {r.reason}" for r in rows if r.reason]


def text(judge: Judge, rows: Sequence[AccuracyRow], checks: Sequence[Check], table: Any) -> str:
    """The result; table: `aligned` or `markdown`."""
    top1 = top_k(judge.reference.outputs, judge.targets, 1)
    parts = [
        f"{judge.bundle.manifest.model}, {len(judge.kept)} validation images, calibrated on "
        f"{judge.bundle.manifest.calibration.images} training images; float network: "
        f"{top1:.2f} %",
        table(rows_table(rows)),
    ]
    missing = missing_lines(rows)
    if missing:
        parts.append("\n".join(f"- {line}" for line in missing))
    if checks:
        parts.append(table(checks_table(checks)))
    return "\n\n".join(parts)


def record(
    judge: Judge, rows: Sequence[AccuracyRow], checks: Sequence[Check], facts: dict[str, Any]
) -> dict[str, Any]:
    """The whole run's JSON values."""
    manifest = judge.bundle.manifest
    return {
        "schema": SCHEMA,
        **facts,
        "model": manifest.model,
        "recipe": manifest.recipe.name,
        "weights": manifest.checkpoint.weights,
        "images": len(judge.kept),
        "calibration_images": manifest.calibration.images,
        "files": [row_record(r) for r in rows],
        "checks": json_ready(
            [
                {
                    "asked": c.measure.asked,
                    "file": c.ours.key,
                    "value": c.measure.value(c.ours),
                    "best_other": c.peer.key,
                    "other_value": c.measure.value(c.peer),
                    "points_ahead": dataclasses.asdict(c.ahead),
                    "measured": c.verdict,
                }
                for c in checks
            ]
        ),
    }


def write(out: Path, name: str, values: dict[str, Any], page: str) -> None:
    """`NAME.json` and `NAME.md` in `out`."""
    write_json(out / f"{name}.json", values)
    write_text(out / f"{name}.md", page)


def page(heading: str, notes: str, body: str, facts: dict[str, Any]) -> str:
    """A Markdown page: heading, where it was run, notes, body, versions."""
    host = facts["machine"]
    where = f"{host['processor']}, {', '.join(host['flags'])}."
    versions = ", ".join(f"{k} {v}" for k, v in facts["packages"].items())
    return "\n\n".join([f"# {heading}", notes, body, f"{where} {versions}"]) + "\n"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked; `UserError` for a bad one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    common_options(parser)
    parser.add_argument("--bundle", type=Path, help="take our files from this export")
    checkpoint_option(parser)
    args = parser.parse_args(argv)
    check_common(args)
    return args


def common_options(parser: argparse.ArgumentParser) -> None:
    """The options that the accuracy benchmarks share."""
    parser.add_argument("--data", type=Path, default=os.environ.get("MOBILEMOD_DATA"),
                        help="images, with train/ and val/ (MOBILEMOD_DATA)")  # fmt: skip
    parser.add_argument("--model", default=DEFAULT_MODEL, help="variant with a checkpoint here")
    parser.add_argument("--limit", type=int, help="at most so many images, over the classes")
    parser.add_argument("--skip", default="", help="routes to leave out, separated by commas")
    parser.add_argument("--out", type=Path, help="folder for the page and the record")


def check_common(args: argparse.Namespace) -> None:
    """`UserError` for a bad value of `common_options`."""
    if args.data is None:
        raise UserError("no images: give --data DIR, or set MOBILEMOD_DATA")
    args.data = Path(args.data)
    if args.limit is not None and args.limit < 1:
        raise UserError("--limit must be 1 or more")
    get_variant(args.model)


def chosen(peers: Sequence[tuple[str, str]], skip: str) -> list[tuple[str, str]]:
    """The peers that aren't to be skipped; `UserError` for a name that is none's."""
    left_out = [name for name in skip.split(",") if name]
    for name in left_out:
        if not any(name == peer for peer, _ in peers):
            known = ", ".join(dict.fromkeys(peer for peer, _ in peers))
            raise UserError(f"--skip {name}: no such route; known: {known}")
    return [(peer, how) for peer, how in peers if peer not in left_out]


def run(args: argparse.Namespace) -> None:
    """Measure; a row is printed when it is known, everything at the end."""
    torch.set_num_threads(1)
    peers = chosen(PEERS, args.skip)
    if args.bundle:
        bundle = load_bundle(args.bundle)
    else:
        out = cache_dir() / "accuracy" / f"bundle-{args.model}"
        bundle = export(args.model, args.data, out, args.checkpoint)
    judge, rows = our_rows(bundle, args.data, args.limit)
    network = bundle_network(bundle, args.data, bundle.manifest.calibration.images, args.checkpoint)
    for name, how in peers:
        rows.append(peer_row(name, network, judge, how))
        print(f"{title(rows[-1])}: {rows[-1].reason or f'{rows[-1].top1:.2f} %'}", file=sys.stderr)
    checks = all_checks(rows, judge)
    facts = {"machine": machine(), "packages": packages(onnx2tf_environment())}
    print(text(judge, rows, checks, aligned))
    if args.out:
        body = text(judge, rows, checks, markdown)
        write(args.out, "accuracy", record(judge, rows, checks, facts),
              page("Accuracy against other tools", NOTES, body, facts))  # fmt: skip


if __name__ == "__main__":
    sys.exit(command(run, parse))
