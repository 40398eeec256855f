"""LiteRT as what runs onnx2tf's files here, codes at the edges and all."""

from __future__ import annotations

from pathlib import Path

from export.targets.base import Runner
from export.targets.tflite import running
from export.targets.tflite.placement.partitions import RuntimeRefusal, ask_partitions
from mobilemod.errors import UserError


def load(path: Path, threads: int = 1) -> Runner:
    """A `Runner` of the file; `UserError` where LiteRT doesn't take it.

    It is asked elsewhere first: its delegate crashes on some of onnx2tf's int8 files.
    """
    try:
        ask_partitions(str(path.resolve()))
    except RuntimeRefusal as error:
        raise UserError(f"{path}: the TFLite runtime doesn't load the file: {error}") from None
    return running.load(path, threads)
