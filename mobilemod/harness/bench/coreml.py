"""Core ML on a Mac or on a phone beside it, by coremltools' own benchmarker."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from mobilemod.errors import UserError
from mobilemod.harness.bench.coreml_placement import by_device, fallback_verdict, placements
from mobilemod.harness.bench.devices import ModelFile
from mobilemod.harness.bench.latency import Latency
from mobilemod.results.verdict import Verdict
from mobilemod.targets import suffixes_of

LOADS = 5


def check_macos(device: str) -> None:
    """Raises `UserError` on any other system: Core ML and Xcode's tools are there alone."""
    if sys.platform != "darwin":
        raise UserError(f"--device {device} needs macOS (Core ML runs on Apple's systems only)")


def suffixes() -> tuple[str, ...]:
    """Core ML's packages alone."""
    return suffixes_of(["coreml"])


async def measure_package(
    file: ModelFile, model: Any, inputs: dict[str, Any], runs: int, device: Any = None
) -> tuple[dict[str, Any], Verdict]:
    """The record's entry of a package, and the verdict on where its ops run.

    model: an `MLModel`, which needn't be loaded. inputs: of one prediction. device: coremltools'
    `Device`, prepared; without it this Mac.
    """
    from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

    benchmarker = MLModelBenchmarker(model, device)
    load = await benchmarker.benchmark_load(LOADS)
    predict = await benchmarker.benchmark_predict(inputs, runs, warmup=True)
    infos = await benchmarker.benchmark_operation_execution(inputs, iterations=1)
    found = placements(infos)
    entry = {
        **file.to_dict(),
        "compute_units": model.compute_unit.name,
        "load": asdict(Latency.of(load.samples)),
        "latency": asdict(Latency.of(predict.samples)),
        "ops_by_device": by_device(found),
        "ops": [asdict(p) for p in found],
    }
    return entry, fallback_verdict(file.path.name, found)


def table(record: dict[str, Any]) -> list[list[str]]:
    """Rows of text; the first is the heading."""
    rows = [["file", "median ms", "p90 ms", "min ms", "load ms", "ops by device"]]
    for f in record["files"]:
        t = f["latency"]
        numbers = [f"{t[k]:.2f}" for k in ("median_ms", "p90_ms", "min_ms")]
        devices = ", ".join(f"{k} {v}" for k, v in f["ops_by_device"].items())
        rows.append([f["file"], *numbers, f"{f['load']['median_ms']:.1f}", devices])
    return rows
