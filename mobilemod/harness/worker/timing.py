"""Latency on the device: configurations in turns, every value kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from mobilemod.harness.protocol.job import LatencyPlan
from mobilemod.harness.protocol.lines import TIMES_PER_LINE, Writer

STABLE_RUNS, STABLE_WITHIN = 8, 0.05
LINE_SECONDS = 1.0


@dataclass
class Series:
    """One configuration's values on their way out.

    call: one inference. ms, at: what isn't written yet. count: values of this phase; recent: the
    last of them, ms; total: values of all phases.
    """

    writer: Writer
    configuration: int
    call: Callable[[], object]
    ms: list[float] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=2 * STABLE_RUNS))
    count: int = 0
    total: int = 0

    def measure(self) -> None:
        """Run once. Raises what the inference does."""
        begin = self.writer.now()
        self.call()
        ms = (self.writer.now() - begin) * 1e3
        self.at.append(begin)
        self.ms.append(ms)
        self.recent.append(ms)
        self.count += 1
        self.total += 1

    @property
    def due(self) -> bool:
        """Whether what isn't written fills a line, or spans more than a second."""
        if not self.ms:
            return False
        span = self.at[-1] + self.ms[-1] / 1e3 - self.at[0]
        return len(self.ms) >= TIMES_PER_LINE or span > LINE_SECONDS

    def write(self, phase: str) -> None:
        """Write what isn't yet, at most `TIMES_PER_LINE` values."""
        if self.ms:
            self.writer.line(
                "times",
                configuration=self.configuration,
                phase=phase,
                first=self.count - len(self.ms),
                ms=[round(v, 6) for v in self.ms],
                at=[round(v, 6) for v in self.at],
            )
        self.ms.clear()
        self.at.clear()

    def restart(self) -> None:
        """Begin another phase: indices count from 0 again."""
        self.count = 0
        self.recent.clear()


def stable(ms: Sequence[float]) -> bool:
    """Whether the median of the last eight is within 5 % of that of the eight before."""
    if len(ms) < 2 * STABLE_RUNS:
        return False
    last = list(ms)[-2 * STABLE_RUNS :]
    before = median(last[:STABLE_RUNS])
    return abs(median(last[STABLE_RUNS:]) - before) <= STABLE_WITHIN * before


def warmed_up(group: Sequence[Series], plan: LatencyPlan, seconds: float) -> bool:
    """Whether warm-up may end: long enough, and each stable or at `warm_up_max` runs."""
    return seconds >= plan.warm_up_seconds and all(
        series.count >= plan.warm_up_max or stable(series.recent) for series in group
    )


def run_in_turns(
    group: list[Series],
    phase: str,
    over: Callable[[float], bool],
    failed: Callable[[int, Exception], None],
    pause: Callable[[], None],
) -> None:
    """One inference of each in turn, the one to begin alternating, until `over`.

    over: asked before every round with the phase's seconds so far. failed: told the configuration
    whose inference failed, once its values are written; it leaves `group`, the others go on.
    pause: called between lines, outside any timing. An `OSError`, the stream's, is raised.
    """
    if not group:
        return
    now = group[0].writer.now
    begin, number = now(), 0
    while group and not over(now() - begin):
        for series in group[:] if number % 2 == 0 else group[::-1]:
            try:
                series.measure()
            except OSError:
                raise
            except Exception as error:
                series.write(phase)
                group.remove(series)
                failed(series.configuration, error)
        number += 1
        if any(series.due for series in group):
            for series in group:
                series.write(phase)
            pause()
    for series in group:
        series.write(phase)
        series.restart()
