"""The graph of a `.pte`, delegates opened."""

from __future__ import annotations

from pathlib import Path

from export.graph import FileGraph
from export.targets.executorch.reader import read_pte


def read_graph(path: Path) -> FileGraph:
    """The file's graph; `UserError` where it is damaged."""
    return read_pte(path).graph
