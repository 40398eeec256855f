"""The ML program of a `.pte`, ready for the evaluator."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from export.targets.coreml.evaluator import MilProgram, compile_program
from export.targets.coreml.reader import Package, open_package
from export.targets.executorch_coreml.payload import METADATA, opened_package
from mobilemod.errors import UserError


def open_payload(path: Path) -> Package:
    """The program, by coremltools; `UserError` where the file is damaged, and where the delegate is
    told other names of its input and output than it has."""
    with opened_package(path) as package:
        return program_in(package, path)


def program_in(package: Path, path: Path) -> Package:
    """As `open_payload`, of the `.pte` at `path` whose package is on disk."""
    opened = open_package(package)
    try:
        told = json.loads((package.parent / METADATA).read_text("utf-8"))
        names = told["inputNames"], told["outputNames"]
    except (OSError, ValueError, LookupError, TypeError):
        raise UserError(
            f"{path}: damaged: Core ML's part of it has no {METADATA}; export it again"
        ) from None
    if names != ([opened.input_name], [*opened.output_names]):
        raise UserError(f"{path}: not supported: the delegate is told of {names}; export it again")
    return dataclasses.replace(opened, path=path)


def load_program(path: Path) -> MilProgram:
    """The program compiled for the evaluator; it takes float32 (1, 3, H, W), normalized."""
    return compile_program(open_payload(path))
