"""The tensors of the ML program of a `.pte`, read and replaced while the MIL evaluator runs it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from export.targets.coreml.graph import read_graph
from export.targets.coreml.taps import CoremlTaps
from export.targets.executorch_coreml.payload import opened_package
from export.targets.executorch_coreml.program import program_in
from mobilemod.targets.executorch_coreml import FACTS


def open_taps(path: Path, unit: str | None = None) -> CoremlTaps:
    """The taps of a file; `UserError` where it is damaged."""
    with opened_package(path) as package:
        graph, program = read_graph(package), program_in(package, path)
    return CoremlTaps(dataclasses.replace(graph, target=FACTS.name), program, lambda x: x)
