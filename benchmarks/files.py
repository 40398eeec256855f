"""Times of model files as ratios to the first one's, in the same rounds; and how they agree.

python -m benchmarks.files old/net_int8.tflite new/net_int8.tflite --size 224

For two versions of one export: fed the same noise, one thread, paired round by round. Or for two
versions of a runtime, a process each: each file here and with the Python packages of a folder.

pip install --target DIR --no-deps executorch==1.4.1
python -m benchmarks.files net_int8.pte net_float32.pte --other DIR

Or each `.tflite` file here and in tflite-runtime (`make tflite-runtime`):

python -m benchmarks.files net_int8.tflite net_float32.tflite --tflite-runtime
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.measure.machine import machine
from benchmarks.measure.rounds import ElsewhereTimer, Round, Timer, examine, measure, take_rounds
from benchmarks.measure.series import per_round, ratio, spread
from benchmarks.reports.command import command
from benchmarks.reports.latency_report import aligned
from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db

IMAGES = 4


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked; `UserError` for a bad one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", type=Path, nargs="+", help=".pte or .tflite of one input size")
    parser.add_argument("--size", type=int, default=224, help="side of the images (224)")
    parser.add_argument("--rounds", type=int, default=40, help="rounds that count")
    parser.add_argument("--patience", type=float, default=1, help="minutes for quieter rounds")
    parser.add_argument("--other", type=Path, help="folder of another version of the runtime")
    parser.add_argument("--tflite-runtime", action="store_true", help="also in tflite-runtime")
    args = parser.parse_args(argv)
    for path in args.files:
        if not path.is_file():
            raise UserError(f"{path}: no such file")
    if min(args.rounds, args.size) < 1 or args.patience < 0:
        raise UserError("--rounds and --size must be 1 or more, --patience 0 or more")
    if args.tflite_runtime and (args.other or any(p.suffix != ".tflite" for p in args.files)):
        raise UserError("--tflite-runtime runs .tflite files, and doesn't go with --other")
    if args.other and not args.other.is_dir():
        raise UserError(f"{args.other}: no such folder; pip install --target makes one")
    return args


def run(args: argparse.Namespace) -> None:
    """Load, compare, time; a table on standard output."""
    drawn = np.random.default_rng(0).normal(size=(IMAGES, 3, args.size, args.size))
    images = drawn.astype(np.float32)
    if args.other or args.tflite_runtime:
        return versions(args, images[:1])
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


def versions(args: argparse.Namespace, image: np.ndarray) -> None:
    """Time each file in both versions of its runtime; a table on standard output."""
    there = (
        Timer(1, args.files, image, 3, args.other.resolve())
        if args.other
        else ElsewhereTimer(args.files, image, 3)
    )
    here = Timer(1, args.files, image, 3)
    timers = {"here": here, "there": there}
    rounds = take_rounds(timers, len(args.files), args.rounds, 60 * args.patience)
    table = [["file", "here", "ms", "other", "ms", "time ×, here over other", "95 %"]]
    for i, path in enumerate(args.files):
        own, others = ([r.runs[key][i] for r in rounds] for key in timers)
        over = ratio(per_round(own), per_round(others))
        table.append([
            str(path), here.runtimes[i], f"{spread(own).median:.2f}", there.runtimes[i],
            f"{spread(others).median:.2f}", f"{over.median:.3f}",
            f"[{over.low:.3f}, {over.high:.3f}]",
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
