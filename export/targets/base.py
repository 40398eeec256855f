"""What every runtime's module offers, and the list of runtimes."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import nn

from export.graph import FileGraph
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import NOT_EVERYWHERE, UserError, unknown
from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM, FormOptions
from mobilemod.targets import TARGETS, target_of

FORMS: dict[str, FormOptions] = {"xnnpack": XNNPACK_FORM, "coreml": COREML_FORM}


@dataclass(frozen=True)
class Origin:
    """Whose weights a file holds, for the fields that its format has; "" where nobody said.

    license: an SPDX identifier, or words. version: the kit's, and the checkpoint's digest.
    """

    author: str = ""
    license: str = ""
    version: str = "1"


@dataclass(frozen=True)
class ModelInfo:
    """What a lowering writes into the file beside the network."""

    name: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    origin: Origin = Origin()


@dataclass(frozen=True)
class Runner:
    """A loaded file: `run` maps float32 (1, 3, S, S) to float32 logits (K,).

    description: what runs it, with version, as shown in reports.
    """

    description: str
    run: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SubProgram:
    """Some ops of a file as a program of their own.

    run: computes once; inputs: what it computes on, chosen at random; outputs: of the last run.
    """

    run: Callable[[], object]
    inputs: tuple[np.ndarray, ...]
    outputs: Callable[[], tuple[np.ndarray, ...]]


class Backend(Protocol):
    """One runtime's module.

    lower: write `module` (a mobile form, or its quantized program) to `path`, whole or not at all.
    label: write a lowered file again with other labels and name, in a moment.
    load: a `Runner` of the file. read_graph: the file's graph, from the file alone.
    """

    TARGET: str
    FOLD: bool

    def lower(self, module: nn.Module, info: ModelInfo, path: Path, *, int8: bool) -> None: ...

    def label(self, source: Path, info: ModelInfo, path: Path, *, int8: bool) -> None: ...

    def load(self, path: Path, threads: int = 1) -> Runner: ...

    def read_graph(self, path: Path) -> FileGraph: ...


def get_backend(target: str) -> Backend:
    """The module of a target; `UserError` lists the known ones."""
    if target not in TARGETS:
        raise unknown("target", target, TARGETS)
    return importlib.import_module(f"export.targets.{target}.target")  # type: ignore[return-value]


def require_packages(target: str) -> None:
    """Raises `UserError` where what writes a target's files isn't installed here."""
    missing = [name for name in TARGETS[target].packages if importlib.util.find_spec(name) is None]
    if missing:
        there = (t for t in TARGETS.values() if all(map(importlib.util.find_spec, t.packages)))
        rest = ",".join(t.name for t in there)
        raise UserError(
            f"target {target} needs {' and '.join(missing)}, not installed here: run 'make setup', "
            f"or give --targets {rest} (TARGETS=…); {NOT_EVERYWHERE}"
        )


def backend_for(path: Path) -> Backend:
    """The backend that reads a file, by its suffix."""
    target = target_of(path)
    if target is not None:
        return get_backend(target.name)
    if path.suffix in (".mlmodel", ".mlmodelc", ".aimodel", ".ptd", ".bpte"):
        raise UserError(f"{path}: not supported: {path.suffix}; give .pte, .tflite or .mlpackage")
    raise UserError(f"{path}: no known model file; expected .pte, .tflite or .mlpackage")
