"""Networks that nobody here wrote: our files of each against the plain routes' files, in one run.

python -m benchmarks.foreign --data /path/to/imagenette --networks convnextv2,vit --json out.json

With --networks "" it prints the table of what the record holds.

Weights are drawn, with a trained network's spread, so SQNR tells files of one network apart and
nothing about accuracy. Every file is calibrated on the same images, judged on the same held-out
images and timed in the same rounds on one thread. Where there is an emulated ARM64 processor, the
.tflite files' instructions are counted on it: they are the same on every machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure.file_facts import instructions
from benchmarks.measure.machine import machine
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
    OURS,
    RUNS,
    Candidate,
    examine_all,
    plain_candidates,
    time_all,
)
from benchmarks.routes.ours import SUFFIXES, share, zoo_candidates
from benchmarks.routes.plain_routes import FLOAT, INT8, ROUTES
from benchmarks.routes.zoo import ZOO, ZooNetwork
from mobilemod.data.imagefolder import ImageFolder, imagenet_synsets, read_split
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.files import write_text
from mobilemod.progress import progress
from mobilemod.training.images import load_images

SCHEMA = "mobilemod/foreign/1"
THREADS = 1
TOOLS = {"executorch": "executorch", "tflite": "litert-torch"}
ONNX_RUNTIME = f"onnxruntime-{FLOAT}"
PEERS = (*(f"{tool}-{p}" for tool in TOOLS.values() for p in (FLOAT, INT8)), ONNX_RUNTIME)


def measure_network(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Build every file of a network, compare its answers, time it; print it; its JSON values."""
    preprocess = dataclasses.replace(Preprocess(), size=ZOO[name].size)
    synsets = tuple(imagenet_synsets())

    def folder(split: str, count: int) -> ImageFolder:
        return read_split(args.data, split, synsets, len(synsets)).spread(count)

    network = ZooNetwork(name, folder("train", args.calibration), preprocess)
    judged = load_images(folder("val", args.images), "reading val", preprocess)
    images = preprocess.normalize(judged.pixels)
    with torch.no_grad():
        expected = network.published()(torch.from_numpy(images)).numpy()
    rows, facts = zoo_candidates(network)
    if not args.ours:
        rows += plain_candidates(network, [r for r in ROUTES if r not in PEERS])
    examine_all(rows, images, expected)
    counts, no_counts = counted(rows, images[:1])
    taken = time_all(rows, images[:1], (THREADS,), args.rounds, args.patience)
    others = [round(busy, 3) for busy in taken]
    print(f"### {name}", report.aligned(report.times_table(rows, THREADS)), sep="\n\n")
    for line in [*report.missing_lines(rows), *no_counts]:
        print(f"- {line}")
    print(f"- others kept {np.median(others):.2f} cores busy in the median round\n", flush=True)
    return {
        "network": name,
        "form_error": facts.get("exact"),
        "left": facts.get("left", []),
        "machine": machine(),
        "rounds": args.rounds,
        "runs_per_round": RUNS,
        "compared_images": args.images,
        "calibration_images": args.calibration,
        "others_busy_cores": others,
        "files": [
            {**report.row_record(r, rows, (THREADS,)), "int8_share": share(r),
             "instructions": counts.get(r.key)}
            for r in rows
        ],
    }  # fmt: skip


def counted(rows: list[Candidate], image: np.ndarray) -> tuple[dict[str, int], list[str]]:
    """Key -> instructions of one inference of float32 (1, 3, S, S) on the emulated ARM64 processor,
    for the .tflite files; and a line for each that has none."""
    found, missing = {}, []
    lite = [r for r in rows if r.suffix == ".tflite" and not r.reason]
    for row in progress(lite, "instructions", len(lite), "file"):
        try:
            assert row.path is not None
            found[row.key] = instructions(row.path, image)["total"]
        except UserError as error:
            missing.append(f"{row.key}: no instructions: {error}")
    return found, missing


def summary(networks: list[dict[str, Any]]) -> report.Table:
    """A line a network and runtime: ours beside the plain route of that runtime.

    networks: as `measure_network` gives them. ×: a file's time over that of our int8 file.
    """
    table = [["network", "file", "exact to", "int8 share", "partitions, plain", "outside, plain",
              "SQNR dB, plain", "float ms", "int8 ms", "plain float ×", "plain int8 ×",
              "best plain ×", "ORT float ×"]]  # fmt: skip
    for values in networks:
        files = {f["key"]: f for f in values["files"] if f["milliseconds"]}
        plain = {key: files.get(key) for key in PEERS}
        error = values["form_error"]
        for target, suffix in SUFFIXES.items():
            ours, ours_float = (files.get(f"{OURS}-{suffix[1:]}-{p}") for p in (INT8, FLOAT))
            beside, beside_float = (plain[f"{TOOLS[target]}-{p}"] for p in (INT8, FLOAT))
            base = ours or ours_float
            over = [_over(f, base) for f in (beside_float, beside, plain[ONNX_RUNTIME])]
            best = [_over(f, base) for key, f in plain.items() if f and key != ONNX_RUNTIME]
            both = base, beside or beside_float
            table.append([
                values["network"], suffix, "–" if error is None else f"{error:.0e}",
                _number(ours and ours["int8_share"], 3),
                _both(*both, _partitions), _both(*both, _outside),
                _both(ours, beside, lambda f: _number(f["sqnr_db"], 1)),
                _ms(ours_float), _ms(ours), *map(_number, over[:2]),
                _number(min((r for r in best if r), default=None)), _number(over[2]),
            ])  # fmt: skip
    return table


def instructions_table(networks: list[dict[str, Any]]) -> report.Table:
    """A line a network: millions of ARM64 instructions of each .tflite file, and what the plain
    ones take of our int8 file's."""
    kinds = [(tool, p) for tool in (OURS + "-tflite", TOOLS["tflite"]) for p in (FLOAT, INT8)]
    table = [["network", "float32", "int8", "plain float32", "plain int8",
              "plain float ×", "plain int8 ×"]]  # fmt: skip
    for values in networks:
        counts = {f["key"]: f.get("instructions") for f in values["files"]}
        found = [counts.get(f"{tool}-{p}") for tool, p in kinds]
        over = [n / found[1] if n and found[1] else None for n in found[2:]]
        table.append([
            values["network"], *(_number(n and n / 1e6, 1) for n in found), *map(_number, over)
        ])  # fmt: skip
    return table


File = dict[str, Any]


def _both(ours: File | None, plain: File | None, text: Callable[[File], str]) -> str:
    return f"{text(ours) if ours else '–'}, {text(plain) if plain else '–'}"


def _partitions(file: File) -> str:
    found = file.get("partitions")
    return "–" if found is None else str(found)


def _outside(file: File) -> str:
    return str(sum((file.get("outside") or {}).values()))


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _ms(file: File | None) -> str:
    return _number(file and file["milliseconds"][str(THREADS)]["median"])


def _over(file: File | None, ours: File | None) -> float | None:
    if file is None or ours is None:
        return None
    times = (np.array(f["milliseconds"][str(THREADS)]["rounds"]) for f in (file, ours))
    return ratio(*times).median


def measured_before(path: Path | None) -> dict[str, dict[str, Any]]:
    """Network -> its values in a record of this command; `UserError` where it is none."""
    if path is None or not path.exists():
        return {}
    try:
        values = json.loads(path.read_text("utf-8"))
        if values["schema"] != SCHEMA:
            raise ValueError(f"schema {values['schema']!r}")
        return {n["network"]: n for n in values["networks"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no record of this command ({error}); delete it") from None


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked; `UserError` for a bad one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    timing_options(parser, 10.0, 20)
    parser.add_argument(
        "--networks", type=names, default=list(ZOO), help="names, separated by commas"
    )
    parser.add_argument("--calibration", type=int, default=16, help="images to calibrate on")
    parser.add_argument("--ours", action="store_true", help="leave the plain routes out")
    parser.add_argument("--json", type=Path,
                        help="file for the record; networks that are there stay")  # fmt: skip
    args = parser.parse_args(argv)
    check_timing(args, ("rounds", "images", "calibration"))
    check_networks(args.networks, ZOO)
    return args


def run(args: argparse.Namespace) -> None:
    """Measure every network asked for; the record is written after each and keeps the others."""
    torch.set_num_threads(1)
    done = measured_before(args.json)
    for name in args.networks:
        done[name] = measure_network(name, args)
        if args.json:
            record = {"schema": SCHEMA, "networks": [done[n] for n in sorted(done)]}
            write_text(args.json, json.dumps(record, indent=1) + "\n")
    networks = [done[n] for n in sorted(done)]
    print(report.aligned(summary(networks)), report.aligned(instructions_table(networks)),
          sep="\n\n")  # fmt: skip


if __name__ == "__main__":
    sys.exit(command(run, parse))
