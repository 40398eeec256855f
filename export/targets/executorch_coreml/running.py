"""The MIL evaluator as what runs the ML program of a `.pte`: Core ML's delegate is in no wheel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from export.targets.base import Runner
from export.targets.coreml.running import EVALUATOR, evaluate, versions
from export.targets.executorch_coreml.program import load_program


def load(path: Path, threads: int = 1) -> Runner:
    """A runner of the payload, on every system; `UserError` for a damaged file."""
    program = load_program(path)
    image = program.package.spec.description.input[0].type.multiArrayType
    shape = tuple(int(n) for n in image.shape)

    def run(x: np.ndarray) -> np.ndarray:
        if x.shape != shape or x.dtype != np.float32:
            raise ValueError(f"expected float32 {shape}, got {x.dtype} {x.shape}")
        return evaluate(program, x, threads)[0]

    return Runner(f"{EVALUATOR} of the payload, {versions()}", run)
