"""The ML program of a `.pte` beside the program that it came from, op by op as a `.mlpackage`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from export.targets.coreml.check import check_program, require_passed
from export.targets.executorch_coreml.program import load_program


def check_file(path: Path, program: nn.Module, images: np.ndarray) -> None:
    """`Parting` with the first op that parts; on the first image alone for time's sake."""
    require_passed(path, check_program(load_program(path), program, images[:1], lambda x: x))
