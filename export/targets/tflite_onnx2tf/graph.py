"""The graph of onnx2tf's `.tflite`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from export.graph import FileGraph
from export.targets.tflite import graph
from mobilemod.targets.tflite_onnx2tf import FACTS


def read_graph(path: Path) -> FileGraph:
    """The file's graph, as of any `.tflite`."""
    return dataclasses.replace(graph.read_graph(path), target=FACTS.name)
