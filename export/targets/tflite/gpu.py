"""LiteRT's GPU path: what of a `.tflite` file it takes, by name, and what it answers.

An app on a phone opens a file in the same way, for the GPU alone and, where LiteRT refuses that,
beside the processor. Which ops fall out is no part of its interface: its log tells.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from export.targets.base import GpuRun
from export.targets.tflite.placement import on_gpu
from mobilemod.errors import UserError
from mobilemod.harness.gpu.places import GpuPlace, gpu_places
from mobilemod.progress import progress

# A process that says nothing for so long hangs: a software GPU takes seconds for an image.
SECONDS = 300.0
SET_UP = "run 'make gpu' for SwiftShader, a software GPU (docs/gpu.md)"
ADAPTER = re.compile(r"Selected adapter: (.+?)(?:, arch=.*)?$", re.MULTILINE)
# What LiteRT logs where it doesn't take all: a line "OP: why" each, and how many stay behind.
UNSUPPORTED = re.compile(
    r"operations are not supported by GPU delegate:\n(.+?)"
    r"^(?:No|\d+) operations will run on the GPU, and .+? (\d+) operations will run on the CPU",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Ending:
    """How a process ended. code: its exit code, None where it was stopped for hanging. log: what
    LiteRT said."""

    code: int | None
    log: str

    @property
    def adapter(self) -> str | None:
        """The GPU that LiteRT chose; None where the log names none."""
        found = ADAPTER.search(self.log)
        return found and found[1]

    @property
    def reason(self) -> str:
        """Why it failed, as one line."""
        if self.code is None:
            return f"says nothing for {SECONDS:g} s"
        if self.code < 0:
            return f"crashes with {signal.Signals(-self.code).name}"
        lines = [line.strip() for line in self.log.splitlines() if line.strip()]
        # Those that end with a place in the source alone say where, not why.
        errors = [line for line in lines if line.startswith("ERROR: [") and line[-1] != "]"]
        said = [*errors[:1], *reversed(lines), "it said nothing"][0]
        return said.removeprefix("ERROR: ").partition("] ")[2] or said


def run_on_gpu(path: Path, images: np.ndarray) -> GpuRun:
    """What the first GPU that LiteRT finds makes of the file; see `Target`."""
    reasons = []
    for place in gpu_places():
        with tempfile.TemporaryDirectory() as name:
            found, why = _try(path, images, place, Path(name))
        if found is not None:
            return found
        reasons.append(f"{place.name}: {why}")
    if not reasons:
        raise UserError(f"no GPU: no Vulkan driver and no SwiftShader here; {SET_UP}")
    raise UserError(f"LiteRT finds no GPU ({'; '.join(reasons)}); {SET_UP}")


def _try(
    path: Path, images: np.ndarray, place: GpuPlace, folder: Path
) -> tuple[GpuRun | None, str]:
    """What the GPU of a place makes of the file; (None, why) where there is no GPU."""
    x, y = folder / "x.npy", folder / "y.npy"
    np.save(x, np.ascontiguousarray(images, np.float32))
    job = {
        "model": str(path.resolve()),
        "images": str(x),
        "outputs": str(y),
        "loader": place.loader and str(place.loader),
        "cpu": False,
    }
    ending = alone = _run(job, place.environment, folder, f"{path.name} on a GPU", len(images))
    if alone.adapter is None and alone.code != 0:
        return None, alone.reason
    outside, on_cpu = unsupported(alone.log)
    if alone.code == on_gpu.REFUSED:
        job["cpu"] = True
        label = f"{path.name} on a GPU and the processor"
        ending = _run(job, place.environment, folder, label, len(images))
    return GpuRun(
        adapter=alone.adapter or "a GPU without a name",
        description=f"LiteRT {metadata.version('ai-edge-litert')}, GPU",
        outputs=np.load(y) if ending.code == 0 else None,
        whole=alone.code == 0,
        outside=outside,
        on_cpu=0 if alone.code == 0 else on_cpu,
        error=None if ending.code == 0 else ending.reason,
    ), ""


def unsupported(log: str) -> tuple[dict[str, str], int | None]:
    """(Op that the GPU doesn't take -> why, how many ops stay on the processor) by LiteRT's log."""
    found = UNSUPPORTED.search(log)
    if found is None:
        return {}, None
    reasons: dict[str, list[str]] = {}
    for line in found[1].splitlines():
        op, _, why = line.partition(": ")
        reasons.setdefault(op.strip(), []).append(why.strip())
    return {op: "; ".join(why) for op, why in reasons.items()}, int(found[2])


def _run(
    job: Mapping[str, object], environment: Mapping[str, str], folder: Path, label: str, total: int
) -> Ending:
    log = folder / "log"
    command = [sys.executable, "-P", "-m", on_gpu.__name__, json.dumps(job)]
    path = os.pathsep.join(filter(None, sys.path))
    with log.open("wb") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            env={**os.environ, "PYTHONPATH": path, **environment},
        )
        try:
            for _ in progress(_ticks(process), label, total, "img"):
                pass
        finally:
            hangs = process.poll() is None
            process.kill()
            process.wait()
            process.stdout.close()
    text = log.read_text("utf-8", "replace")
    return Ending(None if hangs else process.returncode, text)


def _ticks(process: subprocess.Popen) -> Iterator[None]:
    """One for each image; ends with the process, or when it hangs."""
    pipe = process.stdout.fileno()
    while select.select([pipe], [], [], SECONDS)[0]:
        done = os.read(pipe, 1024)
        if not done:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS)
            return
        yield from (None for _ in done)
