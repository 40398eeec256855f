"""Latency of our files against the routes that a user would take without them, in one run.

python -m benchmarks.latency --data /path/to/imagenette --out docs/results

Every file is built from the same weights, calibrated on the same images, given the same image,
and timed in the same rounds. `make bench-setup` installs what the other tools need; a tool that is
absent or fails has a line with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure.machine import machine, packages
from benchmarks.measure.rounds import WARM_UP_MS
from benchmarks.reports import latency_report as report
from benchmarks.reports.checks import Check, all_checks
from benchmarks.reports.command import check_timing, command, names, timing_options
from benchmarks.routes.candidates import (
    RUNS,
    Candidate,
    check_skip,
    examine_all,
    our_bundle,
    our_candidates,
    plain_candidates,
    time_all,
)
from benchmarks.routes.network import bundle_network, checkpoint_option, test_images
from benchmarks.routes.plain_onnx import onnx2tf_environment
from mobilemod.errors import UserError
from mobilemod.files import write_text
from mobilemod.manifest import load_bundle
from mobilemod.networks.registry import get_variant

DEFAULT_MODEL = "efficientmod_xxs"
NOTES = (
    "ms: median of all runs; × : this file's time over our int8 file's, the median over rounds "
    "with its 95 % bootstrap interval. SQNR and top-1 against torch float on the same images. "
    "int8 weights: activations stay float in the file and are quantized while it runs."
)


@dataclass(frozen=True)
class Measured:
    """One model's rows and checks; others: cores that other processes kept busy, each round."""

    name: str
    weights: str
    rows: list[Candidate]
    checks: list[Check]
    others: list[float]


def measure_model(name: str, folder: Path | None, args: argparse.Namespace) -> Measured:
    """Build or fetch every file of one model, look at its answers, time it."""
    bundle = load_bundle(folder or our_bundle(name, args.data))
    network = bundle_network(bundle, args.data, args.calibration, args.checkpoint)
    images = test_images(bundle, args.data, args.images)
    with torch.no_grad():
        reference = network.published()
        expected = torch.cat([reference(x[None]) for x in torch.from_numpy(images)]).numpy()
    rows = our_candidates(bundle)
    for recipe in args.recipes:
        rows += our_candidates(load_bundle(our_bundle(name, args.data, recipe)), recipe)
    rows += plain_candidates(network, args.skip)
    examine_all(rows, images, expected, bundle.task)
    others = time_all(rows, images[:1], args.threads, args.rounds, args.patience)
    checks = all_checks(rows, args.threads)
    weights = bundle.manifest.checkpoint.file
    return Measured(name, weights, rows, checks, others)


def text(measured: Measured, threads: tuple[int, ...], table: Any) -> str:
    """One model's tables; table: `report.aligned` or `report.markdown`."""
    parts = []
    for n in threads:
        heading = f"{measured.name}, {n} thread{'s'[: n > 1]}"
        parts += [f"### {heading}", table(report.times_table(measured.rows, n))]
    missing = report.missing_lines(measured.rows)
    if missing:
        parts += ["Not measured:", "\n".join(f"- {line}" for line in missing)]
    parts += [f"### {measured.name}, asked and measured"]
    parts += [table(report.checks_table(measured.checks))]
    return "\n\n".join(parts)


def disturbance(measured: Measured) -> str:
    """What went on beside the measurement, in a sentence."""
    others = np.asarray(measured.others)
    return (
        f"{measured.name} ({measured.weights}): others kept {np.median(others):.2f} cores busy in "
        f"the median round, {others.max():.2f} in the worst."
    )


def record(done: list[Measured], args: argparse.Namespace, facts: dict[str, Any]) -> dict[str, Any]:
    """The whole run's JSON values."""
    return {
        "schema": report.SCHEMA,
        **facts,
        "settings": {
            "threads": list(args.threads),
            "rounds": args.rounds,
            "runs_per_round": RUNS,
            "warm_up_milliseconds": WARM_UP_MS,
            "calibration_images": args.calibration,
            "compared_images": args.images,
            "skipped": args.skip,
        },
        "models": [
            {
                "model": m.name,
                "weights": m.weights,
                "others_busy_cores": [round(v, 3) for v in m.others],
                "files": [report.row_record(r, m.rows, args.threads) for r in m.rows],
                "checks": [report.check_record(c) for c in m.checks],
            }
            for m in done
        ],
    }


def write(done: list[Measured], args: argparse.Namespace, facts: dict[str, Any]) -> None:
    """The JSON record, and in `args.out` latency.md, latency.json and latency.png."""
    values = json.dumps(record(done, args, facts), indent=1, ensure_ascii=False) + "\n"
    if args.json:
        write_text(args.json, values)
    if args.out:
        write_text(args.out / "latency.json", values)
        report.plot({m.name: m.rows for m in done}, args.threads, args.out / "latency.png")
        host = facts["machine"]
        lines = [
            "# Latency",
            f"{host['processor']}, {host['cores']} cores, {', '.join(host['flags'])}. "
            f"{args.rounds} rounds of {RUNS} runs each after {WARM_UP_MS:.0f} ms uncounted, all "
            "files in one process per thread count, the order changing from round to round. "
            + " ".join(disturbance(m) for m in done),
            NOTES,
            "![times](latency.png)",
            *(text(m, args.threads, report.markdown) for m in done),
            "### Versions",
            ", ".join(f"{k} {v}" for k, v in facts["packages"].items()),
        ]
        write_text(args.out / "latency.md", "\n\n".join(lines) + "\n")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked; `UserError` for a bad one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    timing_options(parser, 10.0, 50)
    parser.add_argument("--models", type=names, default=[], help="names, separated by commas")
    parser.add_argument("--bundle", type=Path, action="append", default=[],
                        help="take our files from this export; repeatable")  # fmt: skip
    checkpoint_option(parser)
    parser.add_argument("--recipes", type=names, default=["cpu-x86"],
                        help="our files by these recipes too")  # fmt: skip
    parser.add_argument("--threads", default="1,2", help="thread counts, separated by commas")
    parser.add_argument("--calibration", type=int, default=32, help="images to calibrate on")
    parser.add_argument("--skip", type=names, default=[], help="routes to leave out")
    parser.add_argument("--out", type=Path, help="folder for latency.md, .json and .png")
    parser.add_argument("--json", type=Path, help="file for the record")
    args = parser.parse_args(argv)
    check_timing(args, ("rounds", "images", "calibration"))
    counts, cores = names(args.threads), os.cpu_count() or 1
    if not counts or not all(n.isdigit() and 1 <= int(n) <= cores for n in counts):
        raise UserError(f"--threads {args.threads}: give counts up to {cores}, as 1,2")
    args.threads = tuple(int(n) for n in counts)
    check_skip(args.skip)
    for name in args.models:
        get_variant(name)
    return args


def run(args: argparse.Namespace) -> None:
    """Measure every model asked for; files are written after each."""
    torch.set_num_threads(1)
    bundles = {load_bundle(b, verify=False).manifest.model: b for b in args.bundle}
    facts = {"machine": machine(), "packages": packages(onnx2tf_environment())}
    done: list[Measured] = []
    for name in args.models or list(bundles) or [DEFAULT_MODEL]:
        done.append(measure_model(name, bundles.get(name), args))
        print(text(done[-1], args.threads, report.aligned))
        print(f"\n{disturbance(done[-1])}", flush=True)
        write(done, args, facts)


if __name__ == "__main__":
    sys.exit(command(run, parse))
