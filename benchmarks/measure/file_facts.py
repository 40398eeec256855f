"""What is the same in every run of a model file: its ops, answers and executed instructions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure.remembered import remembered
from benchmarks.measure.rounds import examine
from mobilemod.harness.arm64.emulator import Emulator, load_emulator, recipe_digest


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


def instructions(path: Path, image: np.ndarray) -> dict[str, Any]:
    """Executed A64 instructions of one inference on float32 (1, 3, H, W), as records have them.

    Kept in the cache. `UserError` without an emulated root, and where it can't run the file.
    """
    return remembered(path, _count, load_emulator(), image, decided=recipe_digest())


def _count(path: Path, emulator: Emulator, image: np.ndarray) -> dict[str, Any]:
    return emulator.infer(path, image, 1).instructions()
