"""What it costs to make the map of classes in the file, and after it.

python -m benchmarks.segmentation.answers SCORES_BUNDLE CLASSES_BUNDLE

The two are exports of one network with --answer scores and --answer classes. Processor time of one
thread, in which other programs on the machine count less than in the clock's; each way in turns, on
the drawn card: an inference with its scores read, the same and then NumPy's argmax, an inference
with its map read.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.measure.series import order_of_round
from benchmarks.reports.command import command
from mobilemod.errors import UserError
from mobilemod.evaluation.runs import CLASSES, SCORES, map_of
from mobilemod.harness.bench.files import BenchFile, find_files
from mobilemod.harness.worker.runtimes import RUNTIMES, Loaded, runtime_of_file
from mobilemod.progress import progress
from mobilemod.results.table import aligned
from mobilemod.targets import suffix_of, suffixes_of

WARM_UPS = 3


def ways(scores: Path, classes: Path, x: np.ndarray) -> list[Callable[[], np.ndarray]]:
    """The three ways of the docstring on float32 (1, 3, H, W); `UserError` for unequal maps."""
    one, other = (_loaded(path) for path in (scores, classes))
    given = one.prepare(x)
    found = [
        lambda: one.infer(given),
        lambda: map_of(one.infer(given)),
        lambda: other.infer(given),
    ]
    if (differing := int((found[1]() != found[2]()).sum())) > 0:
        raise UserError(f"{classes}: {differing} pixels have another class than by {scores}")
    return found


def _loaded(path: Path) -> Loaded:
    runtime = runtime_of_file(path)
    runtime.prepare()
    return runtime.load(path, 1, runtime.delegates[0])


def milliseconds(calls: list[Callable[[], np.ndarray]], rounds: int, label: str) -> np.ndarray:
    """(rounds, ways): of processor time, the order changing from round to round."""
    for call in calls * WARM_UPS:
        call()
    taken = np.zeros((rounds, len(calls)))
    for number in progress(range(rounds), label, rounds, "round"):
        for i in order_of_round(len(calls), number):
            begin = time.process_time()
            calls[i]()
            taken[number, i] = 1e3 * (time.process_time() - begin)
    return taken


def _files(folder: Path, answer: str) -> dict[str, BenchFile]:
    """The files that run here, by name; `UserError` where they answer otherwise."""
    found = find_files(folder)
    if found.bundle is None or found.bundle.manifest.answer != answer:
        raise UserError(f"{folder}: no bundle whose files give {answer}")
    runs = suffixes_of(RUNTIMES)
    return {f.path.name: f for f in found.files if suffix_of(f.path) in runs}


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    before, after = _files(args.scores, SCORES), _files(args.classes, CLASSES)
    found = find_files(args.scores)
    x = found.preprocess.normalize(found.card[None])
    rows = [["file", "scores ms", "and argmax ms", "classes ms", "scores bytes", "classes bytes"]]
    for name in (n for n in before if n in after):
        calls = ways(before[name].path, after[name].path, x)
        medians = np.median(milliseconds(calls, args.rounds, name), axis=0)
        sizes = (calls[0]().nbytes, calls[2]().nbytes)
        rows.append([name, *(f"{m:.2f}" for m in medians), *(f"{s:,}" for s in sizes)])
    print("\n".join(aligned(rows)))


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scores", type=Path, help="bundle of --answer scores")
    parser.add_argument("classes", type=Path, help="the same network's of --answer classes")
    parser.add_argument("--rounds", type=int, default=50)
    args = parser.parse_args(argv)
    if args.rounds < 1:
        raise UserError(f"--rounds {args.rounds}: give a whole number from 1")
    return args


if __name__ == "__main__":
    sys.exit(command(run, parse))
