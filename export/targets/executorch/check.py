"""A `.pte` beside the program it came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from export.targets.comparison import Parting, compare_outputs
from export.targets.executorch.running import load
from export.targets.isolated import IsolatedError, call

SECONDS, MEMORY = 600.0, 32 << 30


def check_file(path: Path, program: nn.Module, images: np.ndarray) -> None:
    """As `compare_outputs`, the file run by ExecuTorch on one thread.

    In a process of its own: a constant that lies in the file in two layouts crashes it.
    """
    try:
        found = call(_run, path, images, seconds=SECONDS, memory=MEMORY)
    except IsolatedError as error:
        raise Parting(path, f"ExecuTorch {error}", runs=False) from None
    compare_outputs(path, program, images, found)


def _run(path: Path, images: np.ndarray) -> np.ndarray:
    return load(path).run_many(images)
