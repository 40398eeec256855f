"""What every kind of device offers to `mobilemod bench`, and the list of kinds."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mobilemod.data.preprocess import Preprocess
from mobilemod.data.testcard import draw_card
from mobilemod.errors import UserError, unknown
from mobilemod.results.verdict import Verdict


class Runner(Protocol):
    """A model file loaded on this machine: `run` maps float32 (1, 3, S, S) to logits (K,)."""

    description: str
    run: Callable[[np.ndarray], np.ndarray]


# (file, threads) -> runner. Passed in, because runtimes are known to export/ only.
Loader = Callable[[Path, int], Runner]


@dataclass(frozen=True)
class ModelFile:
    """One file to measure. precision: "int8", "float32", …, None where no manifest says it."""

    path: Path
    sha256: str
    target: str | None = None
    precision: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As the record has it."""
        return {
            "file": self.path.name,
            "target": self.target,
            "precision": self.precision,
            "sha256": self.sha256,
        }


@dataclass(frozen=True)
class Job:
    """What a device measures: files, threads, timed runs of each file, and how to load them here.

    apple: options of `iphone` alone, see iphone.py.
    """

    files: tuple[ModelFile, ...]
    preprocess: Preprocess
    threads: int
    runs: int
    load: Loader
    apple: dict[str, str | None] = field(default_factory=dict)

    def card(self) -> np.ndarray:
        """The input of every measurement: the drawn test card, float32 (1, 3, S, S)."""
        return self.preprocess.normalize(draw_card(self.preprocess.size)[None])

    def loaded(self, file: ModelFile) -> Runner:
        """A file loaded on this machine; `UserError` where it doesn't take the card."""
        runner = self.load(file.path, self.threads)
        try:
            runner.run(self.card())
        except ValueError as error:
            size = self.preprocess.size
            raise UserError(f"{file.path} takes no image of {size} x {size}: {error}") from None
        return runner


@dataclass(frozen=True)
class Measurement:
    """A device's answer. files: one dictionary per file of the job, in its order; comparisons:
    between files; verdicts: the gates that every run of the device has."""

    environment: dict[str, Any]
    files: Sequence[dict[str, Any]]
    comparisons: Sequence[dict[str, Any]] = ()
    verdicts: tuple[Verdict, ...] = ()


class Device(Protocol):
    """One kind of device's module.

    check: `UserError` where it can't be used here. suffixes: the model files that it runs.
    measure: run the job. table: a record's files as rows of text, the first the heading.
    """

    def check(self, threads: int) -> None: ...

    def suffixes(self) -> tuple[str, ...]: ...

    def measure(self, job: Job) -> Measurement: ...

    def table(self, record: dict[str, Any]) -> list[list[str]]: ...


# Name on the command line -> module.
DEVICES = {
    "host": "host",
    "arm64-emulated": "arm64_emulated",
    "mac": "mac",
    "iphone": "iphone",
}


def get_device(name: str) -> Device:
    """The module of a device; `UserError` lists the known ones."""
    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    return importlib.import_module(f"mobilemod.harness.bench.{DEVICES[name]}")  # type: ignore[return-value]
