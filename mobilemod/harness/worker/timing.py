"""Latency on the device: warm-up until stable, then runs in turns, every value kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from mobilemod.harness.protocol.job import LatencyPlan
from mobilemod.harness.protocol.lines import TIMES_PER_LINE, Writer

STABLE_RUNS, STABLE_WITHIN = 8, 0.05


@dataclass
class Series:
    """One configuration's values on their way out; a line is written for every 64.

    call: one inference. written: values of this phase that are out; total: of all phases.
    """

    writer: Writer
    configuration: int
    call: Callable[[], object]
    ms: list[float] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    written: int = 0
    total: int = 0

    def measure(self) -> float:
        """Run once; the milliseconds."""
        begin = time.perf_counter()
        self.call()
        ms = (time.perf_counter() - begin) * 1e3
        self.at.append(begin)
        self.ms.append(ms)
        return ms

    @property
    def pending(self) -> int:
        """Values that aren't written yet."""
        return len(self.ms)

    def write(self, phase: str, offset: float) -> None:
        """Write what is pending. offset: to be added to perf_counter's seconds to give `t`."""
        for start in range(0, self.pending, TIMES_PER_LINE):
            part = slice(start, start + TIMES_PER_LINE)
            self.writer.line(
                "times",
                configuration=self.configuration,
                phase=phase,
                first=self.written + start,
                ms=[round(v, 6) for v in self.ms[part]],
                at=[round(max(v + offset, 0.0), 6) for v in self.at[part]],
            )
        self.written += self.pending
        self.total += self.pending
        self.ms.clear()
        self.at.clear()

    def restart(self) -> None:
        """Begin another phase: indices count from 0 again."""
        self.written = 0


def stable(ms: Sequence[float]) -> bool:
    """Whether the median of the last eight is within 5 % of that of the eight before."""
    if len(ms) < 2 * STABLE_RUNS:
        return False
    before = median(ms[-2 * STABLE_RUNS : -STABLE_RUNS])
    return abs(median(ms[-STABLE_RUNS:]) - before) <= STABLE_WITHIN * before


def clock_offset(writer: Writer) -> float:
    """What makes perf_counter's seconds the run's `t`."""
    return writer.now() - time.perf_counter()


def warm_up(series: Series, plan: LatencyPlan) -> None:
    """Run until stable, at most `warm_up_max` runs, at least `warm_up_seconds`."""
    begin, ms = time.perf_counter(), []
    while True:
        enough = time.perf_counter() - begin >= plan.warm_up_seconds
        if enough and (stable(ms) or len(ms) >= plan.warm_up_max):
            break
        ms.append(series.measure())
        if series.pending >= TIMES_PER_LINE:
            series.write("warm-up", clock_offset(series.writer))
    series.write("warm-up", clock_offset(series.writer))
    series.restart()


def run_in_turns(
    group: Sequence[Series],
    min_runs: int,
    min_seconds: float,
    phase: str,
    pause: Callable[[], None],
) -> None:
    """One inference of each in turn, the one to begin alternating, until both limits are reached.

    pause: called between groups of 64 values, outside any timing.
    """
    begin, number = time.perf_counter(), 0
    while number < min_runs or time.perf_counter() - begin < min_seconds:
        for series in group if number % 2 == 0 else reversed(group):
            series.measure()
        number += 1
        if number % TIMES_PER_LINE == 0:
            for series in group:
                series.write(phase, clock_offset(series.writer))
            pause()
    for series in group:
        series.write(phase, clock_offset(series.writer))
        series.restart()
