"""Sub-programs of onnx2tf's `.tflite`."""

from __future__ import annotations

from pathlib import Path

from export.targets.tflite import cut


def open_cutter(path: Path, threads: int = 1) -> cut.TfliteCutter:
    """The cutter of a file, as of any `.tflite`."""
    return cut.open_cutter(path, threads)
