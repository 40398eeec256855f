"""`mobilemod bench` measures latency or instructions."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from export.verbs.options import DEVICES, emit, gates_code
from mobilemod import ranges
from mobilemod.errors import UserError

SUMMARY = "measure a bundle's files, or one file, on a device"
EXAMPLE = "mobilemod bench dist/efficientmod_xxs --device host"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    p.add_argument("path", type=Path, help="folder that export wrote, or one model file")
    p.add_argument("--device", default="host", help=f"{DEVICES}, mac, or KIND:ID; host")
    p.add_argument("--threads", type=ranges.THREADS, default=1, help="CPU threads; 1")
    p.add_argument("--runs", type=ranges.RUNS, default=50, help="timed runs of each file; 50")
    p.add_argument("--record", type=Path, help="write the instruction counts to compare with later")
    p.add_argument("--against", type=Path, help="fail where counts rose over those recorded here")
    p.add_argument("--max-rise", type=ranges.PERCENT, default=3.0, metavar="PERCENT",
                   help="by which counts may rise; 3")  # fmt: skip
    p.add_argument("--team", help="Apple development team that signs coremltools' app (iphone)")
    p.add_argument("--udid", help="which of several phones: --device iphone:UDID")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from mobilemod.harness.bench.bench import bench, text
    from mobilemod.harness.bench.instructions import read_baseline, write_baseline
    from mobilemod.harness.drivers.iphone.placement import TEAM_VARIABLE

    counts = args.record or args.against
    if counts and args.device.split(":")[0] != "arm64-emulated":
        raise UserError("--record and --against are for --device arm64-emulated")
    baseline = read_baseline(args.against) if args.against else None
    device = f"{args.device}:{args.udid}" if args.udid else args.device
    if args.team:
        os.environ[TEAM_VARIABLE] = args.team
    record, verdicts = bench(
        args.path, device, _load_quietly, args.threads, args.runs, baseline, args.max_rise
    )
    if args.record:
        write_baseline(record, args.record)
    emit(args, record, text(record, verdicts))
    return gates_code(v.to_dict() for v in verdicts)


def _load_quietly(path: Path) -> Any:
    from export.quiet import quiet
    from export.targets.target import target_of_file

    with quiet():
        return target_of_file(path).load(path)
