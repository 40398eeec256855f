"""torch runs the program that a file holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from export.targets.toy.graph import open_program

from export.targets.base import Runner


def load(path: Path, threads: int = 1) -> Runner:
    """A runner of the file."""
    module = open_program(path).module()

    @torch.no_grad()
    def run(x: np.ndarray) -> np.ndarray:
        return module(torch.from_numpy(x)).numpy()[0]

    return Runner(f"torch {torch.__version__}", run)
