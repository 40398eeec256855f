"""LiteRT as what runs onnx2tf's files here, codes at the edges and all."""

from __future__ import annotations

from pathlib import Path

from export.targets.base import Runner
from export.targets.tflite import running


def load(path: Path, threads: int = 1) -> Runner:
    """A `Runner` of the file."""
    return running.load(path, threads)
