"""A program as `torch.export` saves it, its labels beside it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from export.targets.toy.graph import LABELS, open_program
from torch import nn

from export.targets.base import ModelInfo
from mobilemod.files import atomic_path


def lower(module: nn.Module, info: ModelInfo, path: Path, *, int8: bool) -> None:
    """Export `module` for one image and write it."""
    size = info.preprocess.size
    _write(torch.export.export(module, (torch.zeros(1, 3, size, size),)), info, path)


def label(source: Path, info: ModelInfo, path: Path, *, int8: bool) -> None:
    """Write the program again with other labels."""
    _write(open_program(source), info, path)


def _write(program: torch.export.ExportedProgram, info: ModelInfo, path: Path) -> None:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={LABELS: json.dumps(info.labels)})
    with atomic_path(path) as part:
        part.write_bytes(buffer.getvalue())
