"""Times of the same files in two versions of their runtime, in the same rounds.

pip install --target DIR --no-deps executorch==1.4.1
python -m benchmarks.runtime_versions dist/net/net_int8.pte dist/net/net_float32.pte --other DIR

One process a version, one thread, paired round by round.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.files import add_files, checked, where
from benchmarks.measure.rounds import Timer, take_rounds
from benchmarks.measure.series import per_round, ratio, spread
from benchmarks.reports.command import command
from benchmarks.reports.latency_report import aligned
from mobilemod.errors import UserError

INSTALLED, OTHER = "installed", "other"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked; `UserError` for a bad one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_files(parser)
    parser.add_argument("--other", type=Path, required=True, help="folder of the other version")
    args = checked(parser.parse_args(argv))
    if not args.other.is_dir():
        raise UserError(f"{args.other}: no such folder; pip install --target makes one")
    return args


def run(args: argparse.Namespace) -> None:
    """Time; a table on standard output."""
    image = np.random.default_rng(0).normal(size=(1, 3, args.size, args.size)).astype(np.float32)
    timers = {
        INSTALLED: Timer(1, args.files, image, 3),
        OTHER: Timer(1, args.files, image, 3, args.other.resolve()),
    }
    rounds = take_rounds(timers, len(args.files), args.rounds, 60 * args.patience)
    table = [["file", "here", "ms", "there", "ms", "time ×, here over there", "95 %"]]
    for i, path in enumerate(args.files):
        here, there = ([r.runs[key][i] for r in rounds] for key in timers)
        over = ratio(per_round(here), per_round(there))
        table.append([
            str(path), timers[INSTALLED].runtimes[i], f"{spread(here).median:.2f}",
            timers[OTHER].runtimes[i], f"{spread(there).median:.2f}",
            f"{over.median:.3f}", f"[{over.low:.3f}, {over.high:.3f}]",
        ])  # fmt: skip
    print(aligned(table))
    print(where(rounds))


if __name__ == "__main__":
    sys.exit(command(run, parse))
