"""Runs, image by image, the ML programs that coremltools converts from the published form."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from export.targets.coreml.evaluator import Step, compile_program
from export.targets.coreml.reader import open_package


class MilNetwork:
    """The program of a `.mlpackage` with one float input (1, 3, S, S) and one output.

    Raises `UserError` for an op that is unknown here.
    """

    def __init__(self, path: Path):
        package = open_package(path)
        (self.output,) = package.output_names
        self.program = compile_program(package, self.output)

    def run(self, x: np.ndarray, keep: Collection[str] = ()) -> dict[str, np.ndarray]:
        """The output and the variables in `keep`, by name, for float32 (1, 3, S, S)."""
        image = torch.from_numpy(np.ascontiguousarray(x))
        kept = {self.program.input: x} if self.program.input in keep else {}

        def visit(step: Step, name: str, inputs: list[Tensor], y: Tensor) -> Tensor:
            if name in keep:
                kept[name] = y.numpy()
            return y

        return kept | {self.output: self.program.run(image, visit).numpy()}

    def logits(self, images: np.ndarray) -> np.ndarray:
        """float32 (N, K) of float32 (N, 3, S, S)."""
        return np.stack([self.run(x[None])[self.output].ravel() for x in images])
