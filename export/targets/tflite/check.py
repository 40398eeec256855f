"""A `.tflite` beside the program it came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from export.targets.comparison import compare_outputs
from export.targets.tflite.running import load


def check_file(path: Path, program: nn.Module, images: np.ndarray) -> None:
    """As `compare_outputs`, the file run by LiteRT on one thread."""
    compare_outputs(path, program, images, load(path).run_many(images))
