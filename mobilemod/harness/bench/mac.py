"""This Mac: latency of Core ML packages, and on which of its processors each op runs.

Never run: written against coremltools 9.0's sources.
"""

from __future__ import annotations

import asyncio
import platform
from typing import Any

from mobilemod.data.testcard import draw_card
from mobilemod.harness.bench.coreml import check_macos, measure_package, suffixes, table
from mobilemod.harness.bench.devices import Job, Measurement
from mobilemod.progress import progress

__all__ = ["check", "measure", "suffixes", "table"]


def check(threads: int) -> None:
    """Raises `UserError` on another system than macOS. Core ML chooses its threads itself."""
    check_macos("mac")


def measure(job: Job) -> Measurement:
    """Load and predict latency of each package as it is, an image as its input."""
    import coremltools as ct
    from PIL import Image

    card = Image.fromarray(draw_card(job.preprocess.size))
    files: list[dict[str, Any]] = []
    verdicts = []
    for file in progress(job.files, "measuring", len(job.files), "file"):
        model = ct.models.MLModel(str(file.path), skip_model_load=True)
        name = model.get_spec().description.input[0].name
        entry, verdict = asyncio.run(measure_package(file, model, {name: card}, job.runs))
        files.append(entry)
        verdicts.append(verdict)
    environment = {
        "system": f"macOS {platform.mac_ver()[0]} {platform.machine()}",
        "coremltools": ct.__version__,
    }
    return Measurement(environment, files, (), tuple(verdicts))
