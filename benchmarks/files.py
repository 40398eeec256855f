"""Times of model files as ratios to the first one's, in the same rounds; and how they agree.

python -m benchmarks.files old/net_int8.tflite new/net_int8.tflite --size 224

For two versions of one export: fed the same noise, one thread, paired round by round.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.measure.machine import machine
from benchmarks.measure.rounds import Round, examine, measure
from benchmarks.measure.series import per_round, ratio, spread
from benchmarks.reports.command import command
from benchmarks.reports.latency_report import aligned
from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db

IMAGES = 4


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked; `UserError` for a bad one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_files(parser)
    return checked(parser.parse_args(argv))


def add_files(parser: argparse.ArgumentParser) -> None:
    """The files and how they are timed."""
    parser.add_argument("files", type=Path, nargs="+", help=".pte or .tflite of one input size")
    parser.add_argument("--size", type=int, default=224, help="side of the images (224)")
    parser.add_argument("--rounds", type=int, default=40, help="rounds that count")
    parser.add_argument("--patience", type=float, default=1, help="minutes for quieter rounds")


def checked(args: argparse.Namespace) -> argparse.Namespace:
    """`add_files`' options; `UserError` for a bad one."""
    for path in args.files:
        if not path.is_file():
            raise UserError(f"{path}: no such file")
    if min(args.rounds, args.size) < 1 or args.patience < 0:
        raise UserError("--rounds and --size must be 1 or more, --patience 0 or more")
    return args


def run(args: argparse.Namespace) -> None:
    """Load, compare, time; a table on standard output."""
    drawn = np.random.default_rng(0).normal(size=(IMAGES, 3, args.size, args.size))
    images = drawn.astype(np.float32)
    seen = [examine(path, images) for path in args.files]
    for path, quality in zip(args.files, seen, strict=True):
        if quality.logits is None:
            raise UserError(f"{path}: {quality.reason}")
    rounds = measure(args.files, images[:1], (1,), args.rounds, 3, 60 * args.patience)
    runs = [[r.runs[1][i] for r in rounds] for i in range(len(args.files))]
    table = [["file", "MB", "median ms", "time ×", "95 %", "SQNR dB"]]
    for path, quality, times in zip(args.files, seen, runs, strict=True):
        over = ratio(per_round(times), per_round(runs[0]))
        same = np.array_equal(quality.logits, seen[0].logits)
        table.append([
            str(path), f"{quality.facts['bytes'] / 1e6:.2f}", f"{spread(times).median:.2f}",
            f"{over.median:.3f}", f"[{over.low:.3f}, {over.high:.3f}]",
            "same" if same else f"{sqnr_db(seen[0].logits, quality.logits):.1f}",
        ])  # fmt: skip
    print(aligned(table))
    print(where(rounds))


def where(rounds: list[Round]) -> str:
    """The machine, and how busy others kept it."""
    made, busy = machine(), np.median([r.others for r in rounds])
    return (
        f"{made['processor']} ({', '.join(made['flags'])})\n"
        f"others kept {busy:.2f} cores busy in the median round"
    )


if __name__ == "__main__":
    sys.exit(command(run, parse))
