"""What an export wrote, and what it cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = "mobilemod/export/1"


@dataclass(frozen=True)
class ExportedFile:
    """One model file.

    file: its name in the bundle. precision: "int8", "float16" or "float32". bytes: of a package,
    those of all its files. audit: what became int8, as the manifest has it (`int8_share` 0..1).
    seconds, peak_mb: of lowering it, and of the process that did; cached: it was there already.
    """

    file: str
    target: str
    precision: str
    sha256: str
    bytes: int
    audit: Mapping[str, Any]
    seconds: float
    peak_mb: int
    cached: bool


@dataclass(frozen=True)
class Exported:
    """A bundle, just written.

    bundle: its folder. checkpoint: which weights were taken, for people; notes: what else is to be
    known. form: what was rewritten, and what was left; floats: by form, why tensors stay float ->
    which. recipe: its name. calibration: where ranges came from; doubts: whether they fit what the
    network will see. seconds, peak_mb: of the whole.
    """

    bundle: Path
    model: str
    checkpoint: str
    notes: tuple[str, ...]
    form: Mapping[str, Any]
    floats: Mapping[str, Any]
    recipe: str
    calibration: str
    doubts: tuple[str, ...]
    seconds: float
    peak_mb: int
    files: tuple[ExportedFile, ...]

    @property
    def bytes(self) -> int:
        """Of all model files."""
        return sum(file.bytes for file in self.files)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the model files lie, in the order of `files`."""
        return tuple(self.bundle / file.file for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """The record of `mobilemod export --json`, JSON-ready."""
        values = {
            **{f.name: getattr(self, f.name) for f in dataclasses.fields(self)},
            "bundle": str(self.bundle),
            "notes": list(self.notes),
            "doubts": list(self.doubts),
            "accuracy_measured": False,
            "files": [dataclasses.asdict(file) for file in self.files],
        }
        return {"schema": SCHEMA, **values}
