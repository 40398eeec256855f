"""What the harness adds to an inference that it times, on this machine.

    python -m benchmarks.harness_overhead dist/efficientmod_xxs/efficientmod_xxs_int8.tflite

Two answers. One: blocks of 64 inferences, in turns through the harness (clock, series, lines
written to a file) and in a bare loop, ratio by ratio of neighbours; of processor time, which other
programs on the machine don't add to, and of the clock. Two: the harness around a call that does
nothing, whose time is the harness' alone.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure.machine import machine
from benchmarks.measure.series import order_of_round
from benchmarks.reports.command import command
from mobilemod.errors import UserError
from mobilemod.files import write_json
from mobilemod.harness.bench.files import find_files
from mobilemod.harness.protocol.lines import TIMES_PER_LINE, Writer
from mobilemod.harness.record.statistics import median_interval
from mobilemod.harness.worker.facts import state
from mobilemod.harness.worker.runtimes import runtime_of_file
from mobilemod.harness.worker.timing import Series, run_in_turns
from mobilemod.progress import progress

SCHEMA = "mobilemod/harness-overhead/1"
LIMIT_PERCENT = 1.0


def measure(path: Path, rounds: int, threads: int) -> dict[str, Any]:
    """The record. rounds: blocks of 64 inferences of each way."""
    found = find_files(path)
    (file,) = found.files
    loaded = runtime_of_file(path).load(path, threads, "xnnpack")
    prepared = loaded.prepare(found.preprocess.normalize(found.card[None]))

    def infer() -> object:
        return loaded.infer(prepared)

    with tempfile.TemporaryFile() as out:
        harness, bare = _harness(infer, out), _bare(infer)
        nothing, empty = _harness(lambda: None, out), _bare(lambda: None)
        for block in (harness, bare, nothing, empty):
            block()
        gc.collect()
        gc.disable()
        seconds = np.array([
            _in_turns([harness, bare], n)
            for n in progress(range(rounds), "blocks in turns", rounds, "round")
        ])  # fmt: skip
        own = np.array([_in_turns([nothing, empty], n) for n in range(20 * rounds)])
        gc.enable()
    seconds, processor = seconds[..., 0], seconds[..., 1]
    own = own[..., 0]
    inference_us = 1e6 * float(np.median(seconds[:, 1])) / TIMES_PER_LINE
    fastest_us = 1e6 * float(seconds[:, 1].min()) / TIMES_PER_LINE
    own_us = 1e6 * float(np.median(own[:, 0] - own[:, 1])) / TIMES_PER_LINE
    return {
        "schema": SCHEMA,
        "file": file.path.name,
        "sha256": file.sha256,
        "runtime": loaded.description,
        "machine": machine(),
        "rounds": rounds,
        "inferences_per_block": TIMES_PER_LINE,
        "inference_us": inference_us,
        "fastest_inference_us": fastest_us,
        "in_turns": {"processor_time": _overhead(processor), "clock": _overhead(seconds)},
        "around_nothing": {
            "us_per_inference": own_us,
            "percent_of_an_inference": 100 * own_us / inference_us,
            "percent_of_the_fastest": 100 * own_us / fastest_us,
        },
        "limit_percent": LIMIT_PERCENT,
    }


def _overhead(times: np.ndarray) -> dict[str, float]:
    """Percent that the harness (column 0) takes more than the bare loop, over rounds."""
    ratios = times[:, 0] / times[:, 1]
    low, high = median_interval(ratios.tolist())
    middle = float(np.median(ratios))
    named = {"overhead_percent": middle, "low": low, "high": high}
    return {key: 100 * (value - 1) for key, value in named.items()}


def _harness(call: Callable[[], object], out: Any) -> Callable[[], None]:
    """A block as the worker runs it: timed one by one, written as lines, a state at its end."""
    writer = Writer("0" * 64, out.write)

    def pause() -> None:
        writer.line("state", **state())

    def failed(_: int, error: Exception) -> None:
        raise error

    def block() -> None:
        series = Series(writer, 0, call)
        over = lambda _: series.count >= TIMES_PER_LINE  # noqa: E731
        run_in_turns([series], "steady", over, failed, pause)

    return block


def _bare(call: Callable[[], object]) -> Callable[[], None]:
    def block() -> None:
        for _ in range(TIMES_PER_LINE):
            call()

    return block


def _in_turns(blocks: list[Callable[[], None]], number: int) -> list[tuple[float, float]]:
    """(clock, processor) seconds of each block of round `number`."""
    seconds = [(0.0, 0.0)] * len(blocks)
    for i in order_of_round(len(blocks), number):
        begin = time.perf_counter(), time.process_time()
        blocks[i]()
        seconds[i] = time.perf_counter() - begin[0], time.process_time() - begin[1]
    return seconds


def text(record: dict[str, Any]) -> str:
    """The record for people."""
    own, ms = record["around_nothing"], record["inference_us"] / 1e3
    lines = [f"{record['file']}, {record['runtime']}: {ms:.2f} ms an inference"]
    for name, t in record["in_turns"].items():
        lines.append(
            f"{name.replace('_', ' ')} in turns with a bare loop, {record['rounds']} blocks of 64: "
            f"{t['overhead_percent']:+.2f} %, 95 % [{t['low']:+.2f}, {t['high']:+.2f}]"
        )
    lines.append(
        f"around a call that does nothing: {own['us_per_inference']:.1f} us, "
        f"{own['percent_of_an_inference']:.2f} % of an inference, "
        f"{own['percent_of_the_fastest']:.2f} % of the fastest block's; "
        f"limit {record['limit_percent']:g} %"
    )
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help=".tflite or .pte file")
    parser.add_argument("--rounds", type=int, default=60, help="blocks of 64 inferences, each way")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the record as JSON")
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    if args.rounds < 6:
        raise UserError("--rounds must be 6 or more: fewer give no interval")
    record = measure(args.file, args.rounds, args.threads)
    if args.out:
        write_json(args.out, record)
    print(text(record))


if __name__ == "__main__":
    sys.exit(command(run, parse))
