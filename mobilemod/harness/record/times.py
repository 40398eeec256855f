"""Latency, throttling and the ratio of twins, from a device's `times` lines."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobilemod.files import atomic_path
from mobilemod.harness.protocol.job import Job
from mobilemod.harness.protocol.lines import Line
from mobilemod.harness.record.statistics import Distribution, compare

WINDOW_SECONDS = 60.0
CURVE_POINTS = 60
SERIES_FILE = "series.csv"


@dataclass(frozen=True)
class Value:
    """One timed inference. run: the job's start it belongs to. at: seconds since that start."""

    run: str
    index: int
    at: float
    ms: float


# (configuration, phase) -> values in the order of their runs
Series = dict[tuple[int, str], list[Value]]


def series_of(lines: Iterable[Line]) -> Series:
    """All timed values of a job; none is left out."""
    found: Series = defaultdict(list)
    for line in lines:
        if line.type == "times":
            values = found[line["configuration"], line["phase"]]
            for n, (ms, at) in enumerate(zip(line["ms"], line["at"], strict=True)):
                values.append(Value(line.run, line["first"] + n, at, ms))
    return found


def gaps(series: Series) -> int:
    """Values that are known to be missing: holes in the numbering of a run's series."""
    missing = 0
    for values in series.values():
        indices = defaultdict(set)
        for v in values:
            indices[v.run].add(v.index)
        missing += sum(max(found) + 1 - len(found) for found in indices.values())
    return missing


def latency_entry(series: Series, index: int) -> dict[str, Any] | None:
    """`latency` of a configuration: the steady values of all runs; the warm-up apart."""
    steady = series.get((index, "steady"))
    if not steady:
        return None
    warm = series.get((index, "warm-up"), [])
    return {
        **asdict(Distribution.of([v.ms for v in steady])),
        "seconds": sum(v.ms for v in steady) / 1e3,
        "warm_up_runs": len(warm),
        "first_warm_up_ms": warm[0].ms if warm else None,
    }


def sustained_entry(series: Series, index: int) -> dict[str, Any] | None:
    """`sustained` of a configuration: its first minute against its last, and the curve.

    Of the longest run. Under two minutes the halves are compared. loss_percent: by how much the
    median of the last window is above that of the first.
    """
    values = _longest(series.get((index, "sustained"), []))
    if len(values) < 2:
        return None
    begin = values[0].at
    seconds = np.array([v.at - begin for v in values])
    ms = np.array([v.ms for v in values])
    whole = max(float(seconds[-1]) + values[-1].ms / 1e3, 1e-9)
    window = min(WINDOW_SECONDS, whole / 2)
    first, last = ms[seconds < window], ms[seconds >= whole - window]
    if not len(first) or not len(last):
        return None
    bins = np.minimum((seconds / whole * CURVE_POINTS).astype(int), CURVE_POINTS - 1)
    curve = [
        {
            "seconds": (b + 0.5) * whole / CURVE_POINTS,
            "p50_ms": float(np.median(ms[bins == b])),
            "p90_ms": float(np.percentile(ms[bins == b], 90)),
        }
        for b in range(CURVE_POINTS)
        if (bins == b).any()
    ]
    return {
        "seconds": whole,
        "runs": len(values),
        "window_seconds": window,
        "first_p50_ms": float(np.median(first)),
        "last_p50_ms": float(np.median(last)),
        "loss_percent": 100.0 * (float(np.median(last)) / float(np.median(first)) - 1.0),
        "curve": curve,
    }


def _longest(values: Sequence[Value]) -> list[Value]:
    """The values of the run that has most of them, in order."""
    runs = defaultdict(list)
    for v in values:
        runs[v.run].append(v)
    return sorted(max(runs.values(), key=len), key=lambda v: v.index) if runs else []


def comparisons(job: Job, series: Series) -> list[dict[str, Any]]:
    """Each int8 configuration against its float twin, inference by inference of the same turn."""
    found = []
    for index, *others in job.timed_groups():
        if not others:
            continue
        c, twin = job.configurations[index], others[0]
        mine = {(v.run, v.index): v.ms for v in series.get((index, "steady"), ())}
        other = {(v.run, v.index): v.ms for v in series.get((twin, "steady"), ())}
        turns = [turn for turn in mine if turn in other and mine[turn] > 0]
        if turns:
            ratio = compare([mine[t] for t in turns], [other[t] for t in turns])
            names = {"int8": c.file, "float": job.configurations[twin].file}
            found.append({**names, "threads": c.threads, "delegate": c.delegate, **ratio})
    return found


def write_series(job: Job, series: Series, path: Path) -> None:
    """Every timed value as CSV: file, threads, delegate, phase, run, index, at (s), ms."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as f:
        out = csv.writer(f)
        out.writerow(["file", "threads", "delegate", "phase", "run", "index", "at", "ms"])
        for (index, phase), values in sorted(series.items()):
            c = job.configurations[index]
            for v in values:
                out.writerow([c.file, c.threads, c.delegate, phase, v.run, v.index, v.at, v.ms])
