"""Several files inspected, those that are refused told beside the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.auditing.audit import SCHEMA, Inspection, inspect_file
from export.graph import FileGraph
from mobilemod.errors import UserError, os_error


@dataclass(frozen=True)
class Inspections:
    """files: of those that could be read. errors: (file, why), of the others."""

    files: tuple[Inspection, ...]
    errors: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """The record of `mobilemod inspect --json`, JSON-ready."""
        errors = [{"file": file, "error": why} for file, why in self.errors]
        return {"schema": SCHEMA, "files": [f.to_dict() for f in self.files], "errors": errors}


def inspect_files(
    paths: Iterable[Path],
    strict: bool = False,
    seen: Callable[[FileGraph], object] | None = None,
) -> Inspections:
    """Each as `inspect_file` has it; strict: the first error is raised. seen: is given each
    graph."""
    files, errors = [], []
    for path in paths:
        try:
            files.append(inspect_file(path, seen))
        except (UserError, OSError) as error:
            if strict:
                raise
            why = os_error(error) if isinstance(error, OSError) else str(error)
            errors.append((str(path), why))
    return Inspections(tuple(files), tuple(errors))
