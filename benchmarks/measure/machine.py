"""What the figures were taken on: processor, instruction sets, load, package versions."""

from __future__ import annotations

import math
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from mobilemod.harness.worker.facts import processor

FLAGS = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile",
    "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "sve",
)  # fmt: skip
PACKAGES = (
    "torch", "torchao", "executorch", "litert-torch", "ai-edge-litert", "ai-edge-quantizer",
    "onnx", "onnxscript", "onnxruntime", "numpy",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """The processor's name, cores, the instruction sets that matter, system and memory in GB."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.M)
    known = set(flags[1].split()) if flags else set()
    return {
        "processor": processor(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "flags": [f for f in FLAGS if f in known],
        "system": f"{platform.system()} {platform.release()}",
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "python": platform.python_version(),
    }


def busy_seconds() -> float:
    """Processor time that all processes together, and other guests of the host, have taken so far.

    Linux only; NaN elsewhere.
    """
    stat = Path("/proc/stat")
    if not stat.exists():
        return math.nan
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def packages(onnx2tf: Path) -> dict[str, str]:
    """Name -> version of every package that makes or runs a file; onnx2tf's from its own folder."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    site = next(onnx2tf.glob("lib/python*/site-packages"), None)
    for d in metadata.distributions(path=[str(site)] if site else []):
        name = d.metadata["Name"].replace("_", "-")
        if name in ("onnx2tf", "tensorflow-cpu", "tensorflow", "onnxsim"):
            found[f"{name} (own environment)"] = d.version
    return found
