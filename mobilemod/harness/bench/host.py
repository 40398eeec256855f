"""This machine: latency of every file, by the runtimes' own Python packages."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from typing import Any

from mobilemod.harness.bench.devices import Job, Measurement
from mobilemod.harness.bench.latency import Latency, alternate, compare
from mobilemod.harness.worker.facts import processor
from mobilemod.harness.worker.runtimes import RUNTIMES
from mobilemod.progress import progress
from mobilemod.targets import suffixes_of


def check(threads: int) -> None:
    """Every machine will do."""


def suffixes() -> tuple[str, ...]:
    """Not Core ML's, which the devices `mac` and `iphone` measure where it runs."""
    return suffixes_of(RUNTIMES)


def measure(job: Job) -> Measurement:
    """Latency of each file; each int8 file against the float file of its runtime."""
    x = job.card()
    before = os.getloadavg()[0]
    runners = [job.loaded(file) for file in job.files]
    rounds = progress(range(job.runs), "timing in turns", job.runs, "round")
    times = alternate([lambda r=r: r.run(x) for r in runners], rounds)
    files = [
        {**f.to_dict(), "runtime": r.description, "latency": asdict(Latency.of(column))}
        for f, r, column in zip(job.files, runners, times.T.tolist(), strict=True)
    ]
    comparisons = []
    for i, a in enumerate(job.files):
        for j, b in enumerate(job.files):
            if a.target == b.target and a.precision == "int8" and b.precision not in ("int8", None):
                pair = {"int8": a.path.name, "float": b.path.name}
                comparisons.append({**pair, **compare(times[:, i].tolist(), times[:, j].tolist())})
    environment = {
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_before": round(before, 2),
    }
    return Measurement(environment, files, comparisons)


def table(record: dict[str, Any]) -> list[list[str]]:
    """Rows of text; the first is the heading."""
    rows = [["file", "median ms", "p90 ms", "min ms", "runs", "run by"]]
    for f in record["files"]:
        t = f["latency"]
        numbers = [f"{t[k]:.2f}" for k in ("median_ms", "p90_ms", "min_ms")]
        rows.append([f["file"], *numbers, str(t["runs"]), f["runtime"]])
    return rows
