"""Other labels in a lowered file: nothing else changes, and the way back gives the same bytes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from export.targets.base import ModelInfo
from export.targets.target import Target


def check_labels(
    backend: Target, path: Path, info: ModelInfo, int8: bool, x: np.ndarray, folder: Path
) -> Path:
    """Label a copy of `path` anew and back again; the newly labelled copy, named "new"."""
    new, back = (
        folder / f"new{path.suffix}",
        folder / f"back{path.suffix}",
    )
    names = tuple(f"étiquette {i} {'x' * i}" for i in range(len(info.labels)))
    backend.label(path, dataclasses.replace(info, name="new", labels=names), new, int8=int8)
    backend.label(new, info, back, int8=int8)
    assert contents(back) == contents(path)
    assert contents(new) != contents(path)
    np.testing.assert_array_equal(backend.load(new).run(x), backend.load(path).run(x))
    return new


def contents(path: Path) -> dict[str, bytes]:
    """Relative path -> bytes of a file or package."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {(str(p.relative_to(path)) if path.is_dir() else "file"): p.read_bytes() for p in files}
