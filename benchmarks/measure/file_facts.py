"""What is the same in every run of a model file: its ops, answers and executed instructions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure.rounds import examine
from mobilemod.harness.arm64.emulator import Emulator


def anatomy(path: Path) -> dict[str, Any]:
    """As `mobilemod inspect` counts: int8 share 0..1, ops by delegate, quantize and dequantize."""
    from export.auditing.audit import inspect_file

    audit = inspect_file(path)
    return {
        "bytes": audit.bytes,
        "int8_share": audit.int8_share,
        "macs": audit.macs,
        "matmul_macs": audit.matmul_macs,
        "partitions": audit.partitions,
        "outside": audit.outside,
        "ops": sum(audit.ops.values()),
        "quantize": audit.quantize_ops,
        "dequantize": audit.dequantize_ops,
        "transposes": audit.transposes,
    }


def answers(path: Path, images: np.ndarray) -> dict[str, Any]:
    """Logits on float32 (N, 3, S, S), or the reason why the runtime has none."""
    found = examine(path, images)
    logits = None if found.logits is None else found.logits.tolist()
    return {"logits": logits, "runtime": found.runtime, "reason": found.reason}


def instructions(path: Path, emulator: Emulator, image: np.ndarray) -> dict[str, Any]:
    """Executed A64 instructions of one inference on float32 (1, 3, S, S), as records have them."""
    return emulator.infer(path, image, 1).instructions()
