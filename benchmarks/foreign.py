"""Networks that nobody here wrote: our files of each against the plain routes' files, in one run.

python -m benchmarks.foreign --data /path/to/imagenette --networks convnextv2,vit --json out.json

Weights are drawn, with a trained network's spread, so SQNR tells files of one network apart and
nothing about accuracy. Every file is calibrated on the same images, judged on the same held-out
images and timed in the same rounds on one thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.command import command
from benchmarks.measure.machine import machine
from benchmarks.measure.rounds import measure
from benchmarks.measure.series import ratio
from benchmarks.reports import latency_report as report
from benchmarks.routes.candidates import Candidate, examine_all, plain_candidates
from benchmarks.routes.ours import SUFFIXES, share, zoo_candidates
from benchmarks.routes.plain_routes import FLOAT, INT8, ROUTES
from benchmarks.routes.zoo import ZOO, ZooNetwork
from mobilemod.data.imagefolder import imagenet_synsets, read_split
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError, unknown
from mobilemod.files import write_text
from mobilemod.training.images import load_images

SCHEMA = "mobilemod/foreign/1"
THREADS = 1
RUNS = 3
PEERS = (
    "executorch-float32", "executorch-int8", "litert-torch-float32", "litert-torch-int8",
    "onnxruntime-float32",
)  # fmt: skip
EXACT = 1e-4


@dataclass(frozen=True)
class Measured:
    """One network's rows; error: of the canonical form, None where there is none; left: ops that no
    rewrite took; shares: key -> int8 part of multiply-accumulates; others: busy cores a round."""

    name: str
    rows: list[Candidate]
    error: float | None
    left: tuple[str, ...]
    shares: dict[str, float | None]
    others: list[float]

    def row(self, key: str) -> Candidate | None:
        """The row of a key, where it was timed."""
        return next((r for r in self.rows if r.key == key and r.times.get(THREADS)), None)


def measure_network(name: str, args: argparse.Namespace) -> Measured:
    """Build every file of a network, compare its answers, time it."""
    preprocess = dataclasses.replace(Preprocess(), size=ZOO[name].size)

    def read(split: str, count: int) -> np.ndarray:
        synsets = tuple(imagenet_synsets())
        folder = read_split(args.data, split, synsets, len(synsets)).spread(count)
        return preprocess.normalize(load_images(folder, f"reading {split}", preprocess).pixels)

    calibration = read("train", args.calibration)
    network = ZooNetwork(name, calibration, preprocess.mean, preprocess.std)
    images = read("val", args.images)
    with torch.no_grad():
        expected = network.published()(torch.from_numpy(images)).numpy()
    rows, facts = zoo_candidates(network)
    if not args.ours:
        rows += plain_candidates(network, [r for r in ROUTES if r not in PEERS])
    examine_all(rows, images, expected)
    timed = [r for r in rows if r.path is not None and not r.reason]
    paths = [r.path for r in timed if r.path is not None]
    rounds = measure(paths, images[:1], (THREADS,), args.rounds, RUNS, 60 * args.patience)
    for i, row in enumerate(timed):
        row.times = {THREADS: [r.runs[THREADS][i] for r in rounds]}
    shares = {r.key: share(r) for r in timed if r.precision == INT8}
    error, left = facts.get("exact"), tuple(facts.get("left", ()))
    return Measured(name, rows, error, left, shares, [r.others for r in rounds])


def summary(done: list[Measured]) -> report.Table:
    """A line a network and runtime: ours beside the plain route of that runtime."""
    table = [["network", "file", "exact to", "int8 share", "partitions, plain", "outside, plain",
              "SQNR dB, plain", "float ms", "int8 ms", "plain float ×", "plain int8 ×",
              "ORT float ×"]]  # fmt: skip
    for m in done:
        for target, suffix in SUFFIXES.items():
            tool = {"executorch": "executorch", "tflite": "litert-torch"}[target]
            ours, ours_float = (m.row(f"mobilemod-{suffix[1:]}-{p}") for p in (INT8, FLOAT))
            plain, plain_float = (m.row(f"{tool}-{p}") for p in (INT8, FLOAT))
            base = ours or ours_float
            over = [_over(r, base) for r in (plain_float, plain, m.row("onnxruntime-float32"))]
            table.append([
                m.name, suffix, "–" if m.error is None else f"{m.error:.0e}",
                _number(ours and m.shares.get(ours.key), 3),
                _both(base, plain or plain_float, _partitions),
                _both(base, plain or plain_float, _outside),
                _both(ours, plain, lambda r: _number(r.sqnr, 1)),
                _ms(ours_float), _ms(ours), *over,
            ])  # fmt: skip
    return table


def _both(ours: Candidate | None, plain: Candidate | None, text: Any) -> str:
    return f"{text(ours) if ours else '–'}, {text(plain) if plain else '–'}"


def _partitions(row: Candidate) -> str:
    found = row.facts.get("partitions")
    return "–" if found is None else str(found)


def _outside(row: Candidate) -> str:
    return str(sum((row.facts.get("outside") or {}).values()))


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _ms(row: Candidate | None) -> str:
    return "–" if row is None else f"{row.spread(THREADS).median:.2f}"


def _over(row: Candidate | None, ours: Candidate | None) -> str:
    if row is None or ours is None:
        return "–"
    return f"{ratio(row.rounds(THREADS), ours.rounds(THREADS)).median:.2f}"


def record(done: list[Measured], args: argparse.Namespace) -> dict[str, Any]:
    """The whole run's JSON values."""
    settings = {"rounds": args.rounds, "runs_per_round": RUNS, "compared_images": args.images,
                "calibration_images": args.calibration}  # fmt: skip
    networks = [
        {
            "network": m.name,
            "form_error": m.error,
            "left": list(m.left),
            "others_busy_cores": [round(v, 3) for v in m.others],
            "files": [
                {**report.row_record(r, m.rows, (THREADS,)), "int8_share": m.shares.get(r.key)}
                for r in m.rows
            ],
        }
        for m in done
    ]
    return {"schema": SCHEMA, "machine": machine(), "settings": settings, "networks": networks}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked; `UserError` for a bad one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("MOBILEMOD_DATA"),
                        help="images, with train/ and val/ (MOBILEMOD_DATA)")  # fmt: skip
    parser.add_argument("--networks", default=",".join(ZOO), help="names, separated by commas")
    parser.add_argument("--rounds", type=int, default=30, help="rounds that count")
    parser.add_argument("--patience", type=float, default=10.0,
                        help="minutes in which disturbed rounds are taken again")  # fmt: skip
    parser.add_argument("--images", type=int, default=20, help="images to compare logits on")
    parser.add_argument("--calibration", type=int, default=16, help="images to calibrate on")
    parser.add_argument("--ours", action="store_true", help="leave the plain routes out")
    parser.add_argument("--json", type=Path, help="file for the record")
    args = parser.parse_args(argv)
    if args.data is None:
        raise UserError("no images: give --data DIR, or set MOBILEMOD_DATA")
    args.data = Path(args.data)
    args.networks = [name for name in args.networks.split(",") if name]
    for name in args.networks:
        if name not in ZOO:
            raise unknown("network", name, ZOO)
    for option in ("rounds", "images", "calibration"):
        if getattr(args, option) < 1:
            raise UserError(f"--{option} must be 1 or more")
    return args


def run(args: argparse.Namespace) -> None:
    """Measure every network asked for; the record is written after each."""
    torch.set_num_threads(1)
    done: list[Measured] = []
    for name in args.networks:
        done.append(measure_network(name, args))
        last = done[-1]
        print(f"### {name}", report.aligned(report.times_table(last.rows, THREADS)), sep="\n\n")
        for line in report.missing_lines(last.rows):
            print(f"- {line}")
        if last.error is not None and not last.error <= EXACT:
            print(f"- the canonical form is only exact to {last.error:.1e}")
        print(f"- others kept {np.median(last.others):.2f} cores busy in the median round\n")
        if args.json:
            write_text(args.json, json.dumps(record(done, args), indent=1) + "\n")
    print(report.aligned(summary(done)))


if __name__ == "__main__":
    sys.exit(command(run, parse))
