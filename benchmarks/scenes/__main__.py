"""Segmentation data composed of photographs: regions of each class on textures, exact labels.

python -m benchmarks.scenes --data IMAGENETTE --out DIR --size 256 --train 4000 --val 500 --seed 0
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from benchmarks.reports.command import command
from benchmarks.scenes.making import make_scenes
from mobilemod.data.dataset import MEASURED, TRAIN
from mobilemod.errors import UserError
from mobilemod.files import require_writable
from mobilemod.workers import default_workers

SIZES = 128, 1024


def run_command(args: argparse.Namespace) -> None:
    """Make them, and say how many and how fast."""
    if args.data is None:
        raise UserError("no photographs: give --data DIR, or set MOBILEMOD_DATA")
    if not SIZES[0] <= args.size <= SIZES[1]:
        raise UserError(f"--size {args.size} must be from {SIZES[0]} to {SIZES[1]}")
    for option, least in ((TRAIN, 1), (MEASURED, 1), ("seed", 0), ("workers", 1)):
        if getattr(args, option) < least:
            raise UserError(f"--{option} must be {least} or more")
    require_writable(args.out, "--out", folder=True)
    counts = {split: getattr(args, split) for split in (TRAIN, MEASURED)}
    start = time.perf_counter()
    made = make_scenes(Path(args.data), args.out, args.size, counts, args.seed, args.workers)
    seconds = time.perf_counter() - start
    print(f"{args.out}: {made} scenes made, {sum(counts.values())} there, {seconds:.1f} s")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--data", type=Path, default=os.environ.get("MOBILEMOD_DATA"),
                        help="photographs, train/CLASS and val/CLASS (MOBILEMOD_DATA)")  # fmt: skip
    parser.add_argument(
        "--out", type=Path, required=True, help="folder; gone on with if it is there"
    )
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    parser.add_argument("--train", type=int, default=4000, help="scenes of train photographs")
    parser.add_argument("--val", type=int, default=500, help="scenes of val photographs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=default_workers(), help="processes")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(command(run_command, parse))
