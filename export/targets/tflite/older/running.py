"""tflite-runtime as a further runtime of `.tflite` files on this machine."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import struct
import subprocess
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.targets.base import Runner
from export.targets.environment import last_error, outside_of_ours, programs_in
from export.targets.tflite.older import worker
from export.targets.tflite.reader import read_model
from export.targets.tflite.running import Edge, check_edges
from mobilemod.errors import UserError
from mobilemod.targets.tflite import TFLITE_RUNTIME

# A process that says nothing for so long hangs: an image takes a fraction of a second.
SECONDS = 300.0
SECONDS_BYTES = struct.calcsize("<d")


def load(path: Path, threads: int = 1) -> Runner:
    """A `Runner` of the file, in a process of its own; `UserError` where the environment is missing
    or the runtime refuses the file, as it does where an op is newer than it."""
    opened = open_file(path, threads)
    return Runner(opened.description, lambda x: opened.timed(x)[0])


@dataclass(frozen=True)
class Opened:
    """A file that is ready. timed: float32 (1, 3, H, W) -> logits, float32 (K,), and the seconds
    that the runtime took, without the way to its process and back."""

    description: str
    timed: Callable[[np.ndarray], tuple[np.ndarray, float]]


def open_file(path: Path, threads: int = 1) -> Opened:
    """As `load`, with the time of each inference."""
    programs = programs_in(TFLITE_RUNTIME)
    read_model(path)
    process = _Process(path, threads, programs)
    said = process.line()
    if "error" in said:
        raise UserError(f"{path}: {TFLITE_RUNTIME.package} refuses the file: {said['error']}")
    edges = ([Edge.of(d) for d in said[side]] for side in ("inputs", "outputs"))
    image, answer = check_edges(path, *edges)
    dtype = np.dtype(answer.dtype)
    size = dtype.itemsize * math.prod(answer.shape)

    def timed(x: np.ndarray) -> tuple[np.ndarray, float]:
        said = process.ask(image.taken(x).tobytes(), SECONDS_BYTES + size)
        (seconds,) = struct.unpack_from("<d", said)
        return answer.given(np.frombuffer(said, dtype, offset=SECONDS_BYTES)), seconds

    by = f"{TFLITE_RUNTIME.package} {said['version']}"
    return Opened(f"{by}, XNNPACK, {threads} thread{'s'[: threads != 1]}", timed)


class _Process:
    """The worker that runs one file; it ends with this object."""

    def __init__(self, path: Path, threads: int, programs: Path):
        self.path = path
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        command = [programs / "python", "-I", worker.__file__, path.resolve(), threads]
        self.process = subprocess.Popen(
            [*map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=outside_of_ours(programs),
        )
        weakref.finalize(self, _end, self.process, self.log)

    def line(self) -> dict:
        """What it says first."""
        said = b""
        while not said.endswith(b"\n"):
            said += self._read(1)
        return json.loads(said)

    def ask(self, given: bytes, size: int) -> bytes:
        """Its answer of `size` bytes; `UserError` where it fails."""
        try:
            self.process.stdin.write(given)
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._failed() from None
        if self._read(1) != b"\0":
            raise self._failed()
        return self._read(size)

    def _read(self, size: int) -> bytes:
        pipe, found = self.process.stdout.fileno(), b""
        while len(found) < size:
            if not select.select([pipe], [], [], SECONDS)[0]:
                raise UserError(f"{self.path}: {TFLITE_RUNTIME.package} hangs")
            more = os.read(pipe, size - len(found))
            if not more:
                raise self._failed()
            found += more
        return found

    def _failed(self) -> UserError:
        code = self.process.wait(SECONDS)
        self.log.seek(0)
        why = last_error(self.log.read().decode("utf-8", "replace"))
        if code < 0:
            why = f"crashes with {signal.Signals(-code).name}"
        return UserError(f"{self.path}: {TFLITE_RUNTIME.package} fails: {why}")


def _end(process: subprocess.Popen, log: object) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, log):
        with contextlib.suppress(BrokenPipeError):
            stream.close()
