"""Times of many files in one process per thread count, in rounds that alternate between them.

All candidates of a thread count are loaded side by side. There is one process per thread count
because ExecuTorch has one pool of threads per process; the processes take turns, never at once.
"""

from __future__ import annotations

import itertools
import multiprocessing
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure.machine import busy_seconds
from benchmarks.measure.series import Timing, order_of_round
from mobilemod.errors import UserError
from mobilemod.machine.sharing import measuring
from mobilemod.progress import progress
from mobilemod.workers import WorkerDied, worker_pool

LOAD_SECONDS = 600
MAX_REASON = 160
ROUND_SECONDS = 600
# A file's caches are cold after its neighbours' runs; it is at its pace after about this time.
WARM_UP_MS = 30.0
PAUSE_SECONDS = 5.0
# Cores that others may keep busy in a round that counts as undisturbed.
QUIET = 0.1


@dataclass(frozen=True)
class Quality:
    """What a file answers and consists of, or why it can't be run."""

    logits: np.ndarray | None
    facts: dict[str, Any]
    runtime: str = ""
    reason: str = ""


def examine(path: Path, images: np.ndarray) -> Quality:
    """Logits on float32 (N, 3, S, S) and the file's facts, found in a process of its own.

    A file that its runtime refuses, or that crashes it, gives a reason.
    """
    try:
        with worker_pool(1) as pool:
            return pool.submit(_examine_here, path, images).result()
    except WorkerDied:
        return Quality(None, {"bytes": path.stat().st_size}, "", "the runtime crashed on it")


def _examine_here(path: Path, images: np.ndarray) -> Quality:
    from benchmarks.measure.loaded import describe, load

    try:
        loaded = load(path, 1)
        return Quality(loaded.logits(images), describe(path), loaded.runtime)
    except Exception as error:  # whatever a runtime throws is its row's reason
        reason = str(error).replace(f"{path}: ", "").splitlines()[0]
        return Quality(None, {"bytes": path.stat().st_size}, "", reason[:MAX_REASON])


@dataclass(frozen=True)
class Round:
    """One round: the key of a timer (a thread count) -> the runs of each file in milliseconds.

    others: cores that other processes kept busy meanwhile, on average; NaN where not known.
    """

    runs: dict[Any, list[list[float]]]
    others: float


def measure(
    paths: list[Path],
    image: np.ndarray,
    threads: tuple[int, ...],
    rounds: int,
    runs: int,
    patience: float = 0.0,
) -> list[Round]:
    """`rounds` rounds, each with `runs` runs of every file back to back on float32 (1, 3, S, S).

    Before them it runs for `WARM_UP_MS` uncounted. While rounds are disturbed, that is other
    processes keep more than `QUIET` of a core busy, more are taken, for `patience` seconds in all;
    the quietest are kept, in order.
    """
    timers = {n: Timer(n, paths, image, runs) for n in threads}
    return take_rounds(timers, len(paths), rounds, patience)


def take_rounds(
    timers: Mapping[Any, Timing], files: int, rounds: int, patience: float
) -> list[Round]:
    """As `measure`, of timers that have `files` files each; they are closed at the end."""
    taken: list[Round] = []
    try:
        for timer in timers.values():
            timer.runtimes = timer.wait(LOAD_SECONDS)
        end = time.monotonic() + patience
        with measuring():
            for number in progress(itertools.count(), "timing", rounds, "round"):
                taken.append(_round(timers, order_of_round(files, number)))
                quiet = sum(r.others <= QUIET for r in taken)
                if quiet >= rounds or (len(taken) >= rounds and time.monotonic() > end):
                    break
                if taken[-1].others > QUIET and len(taken) >= rounds:
                    time.sleep(PAUSE_SECONDS)
    finally:
        for timer in timers.values():
            timer.close()
    return quietest(taken, rounds)


def quietest(taken: list[Round], count: int) -> list[Round]:
    """The `count` rounds with the least going on beside them, in the order they were taken."""
    ranked = sorted(
        range(len(taken)), key=lambda i: (not taken[i].others <= QUIET, taken[i].others)
    )
    return [taken[i] for i in sorted(ranked[:count])]


def _round(timers: Mapping[Any, Timing], order: list[int]) -> Round:
    start, busy, own = time.perf_counter(), busy_seconds(), 0.0
    runs = {}
    for n, timer in timers.items():
        taken, seconds = timer.round(order)
        own += seconds
        runs[n] = [r for _, r in sorted(zip(order, taken, strict=True))]
    others = (busy_seconds() - busy - own) / (time.perf_counter() - start)
    return Round(runs, others)


class Timer:
    """A process that has all files loaded for one thread count and times rounds on demand.

    packages: a folder whose Python packages go before those that are installed.
    """

    def __init__(
        self,
        threads: int,
        paths: list[Path],
        image: np.ndarray,
        runs: int,
        packages: Path | None = None,
    ):
        context = multiprocessing.get_context("spawn")
        self.threads = threads
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, paths, image, threads, runs, packages), daemon=True
        )
        self.process.start()
        theirs.close()
        self.runtimes: list[str] = []

    def wait(self, seconds: float) -> Any:
        """The process's next answer; `UserError` where it died or takes too long."""
        try:
            if self.connection.poll(seconds):
                return self.connection.recv()
        except EOFError:
            pass
        self.process.join(1)
        state = "takes too long" if self.process.is_alive() else f"died ({self.process.exitcode})"
        raise UserError(f"the process that times {self.threads} threads {state}; run it again")

    def round(self, order: list[int]) -> tuple[list[list[float]], float]:
        """One round: milliseconds of each file of `order`, processor seconds of the process."""
        self.connection.send(order)
        return self.wait(ROUND_SECONDS)

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.terminate()
        self.process.join()


class ElsewhereTimer:
    """As `Timer`, of `.tflite` files in tflite-runtime, a process each, on one thread."""

    def __init__(self, paths: list[Path], image: np.ndarray, runs: int):
        from export.targets.tflite.older.running import open_file

        self.files, self.image, self.runs = [open_file(path) for path in paths], image, runs
        self.runtimes: list[str] = []

    def wait(self, seconds: float) -> list[str]:
        """What runs the files: they are loaded."""
        del seconds
        return [file.description for file in self.files]

    def round(self, order: list[int]) -> tuple[list[list[float]], float]:
        """One round, as `Timer.round`; a thread that computes all the while keeps one core busy."""
        start = time.perf_counter()
        taken = []
        for file in (self.files[i] for i in order):
            begin = time.perf_counter()
            while time.perf_counter() - begin < WARM_UP_MS / 1e3:
                file.timed(self.image)
            taken.append([file.timed(self.image)[1] * 1e3 for _ in range(self.runs)])
        return taken, time.perf_counter() - start

    def close(self) -> None:
        """End the processes."""
        self.files.clear()


def _serve(
    connection: Connection,
    paths: list[Path],
    image: np.ndarray,
    threads: int,
    runs: int,
    packages: Path | None,
) -> None:
    if packages is not None:
        sys.path.insert(0, str(packages))
    import torch

    from benchmarks.measure.loaded import load

    torch.set_num_threads(1)

    loaded = [load(path, threads) for path in paths]
    inputs = [file.prepare(image) for file in loaded]
    connection.send([file.runtime for file in loaded])
    while True:
        try:
            order = connection.recv()
        except EOFError:
            return
        start = time.process_time()
        taken = [_time(loaded[i].run, inputs[i], runs) for i in order]
        connection.send((taken, time.process_time() - start))


def _time(run: Any, x: Any, runs: int) -> list[float]:
    """Milliseconds of `runs` runs, after the warm-up."""
    begin = time.perf_counter()
    run(x)
    while time.perf_counter() - begin < WARM_UP_MS / 1e3:
        run(x)
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        run(x)
        taken.append((time.perf_counter() - start) * 1e3)
    return taken
