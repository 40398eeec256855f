"""This Mac: latency of Core ML packages, and where ops run. No driver, as nothing here runs jobs.

Never run: written against coremltools 9.0's sources.
"""

from __future__ import annotations

import asyncio
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mobilemod.errors import UserError
from mobilemod.harness.coreml.placement import place_ops
from mobilemod.harness.record.statistics import Latency
from mobilemod.progress import progress
from mobilemod.targets import suffixes_of

LOADS = 5


class Mac:
    """What `bench` asks of a driver, with `measure` in place of a job."""

    # Core ML chooses its threads itself.
    most_threads = 1

    def check(self) -> None:
        """Raises `UserError` on any other system: Core ML is there alone."""
        if sys.platform != "darwin":
            raise UserError("--device mac needs macOS (Core ML runs on Apple's systems only)")

    def suffixes(self) -> tuple[str, ...]:
        """Core ML's packages."""
        return suffixes_of(["coreml"])

    def environment(self) -> dict[str, Any]:
        """What its figures depend on."""
        import coremltools as ct

        system = f"macOS {platform.mac_ver()[0]} {platform.machine()}"
        return {"system": system, "coremltools": ct.__version__}

    def measure(self, paths: Sequence[Path], image: np.ndarray, runs: int) -> list[dict[str, Any]]:
        """Of each package as it is, with an image, uint8 (H, W, 3), as its input: `compute_units`,
        `load`, `latency`, `ops_by_device` and `ops`, as records have them."""
        return [
            asyncio.run(_measure(path, image, runs))
            for path in progress(paths, "measuring", len(paths), "file")
        ]


async def _measure(path: Path, image: np.ndarray, runs: int) -> dict[str, Any]:
    import coremltools as ct
    from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker
    from PIL import Image

    model = ct.models.MLModel(str(path), skip_model_load=True)
    inputs = {model.get_spec().description.input[0].name: Image.fromarray(image)}
    benchmarker = MLModelBenchmarker(model)
    load = await benchmarker.benchmark_load(LOADS)
    predict = await benchmarker.benchmark_predict(inputs, runs, warmup=True)
    return {
        "compute_units": model.compute_unit.name,
        "load": asdict(Latency.of(load.samples)),
        "latency": asdict(Latency.of(predict.samples)),
        **await place_ops(benchmarker, inputs),
    }
