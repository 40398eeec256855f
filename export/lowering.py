"""One lowering as a job for a worker process, and its cache by content hash."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from export.checking import MEND, check_classes, check_lowered, suspected
from export.half import Half
from export.quiet import quiet
from export.targets.base import FORMS, ModelInfo, Origin
from export.targets.environment import recipe_of
from export.targets.target import Target, get_target
from mobilemod.closure import code_digest
from mobilemod.data.testcard import draw_card
from mobilemod.errors import UserError
from mobilemod.evaluation.runs import CLASSES, SCORES
from mobilemod.files import atomic_folder, atomic_path
from mobilemod.forms.canonical import Canonical
from mobilemod.forms.form import Form
from mobilemod.targets import TARGETS
from mobilemod.workers import peak_memory
from quantization.calibration import cache_dir
from quantization.params import ParameterTable
from quantization.program import quantize

WORDS = 200  # characters of another's error
TOOLS = ("torch", "torchao", "executorch", "litert-torch", "ai-edge-litert", "coremltools", "numpy")


@dataclass(frozen=True)
class LoweringJob:
    """What a worker needs to write one model file.

    form: a canonical form as `Canonical.to_dict` has it. state: its weights, of a float twin the
    checkpoint's, else those prepared for quantization; arrays, as tensors would go to a worker by
    file descriptors, which break where one is stopped. weights: their digest. table: None for the
    float files. check: compare the file with its program, on the drawn card and `images`, uint8
    (N, H, W, 3). asked: the precision, where the table doesn't tell. observed: for a target with
    ranges of its own, uint8 (N, H, W, 3), what it observes them on.
    """

    target: str
    form: dict[str, Any]
    state: dict[str, np.ndarray]
    weights: str
    table: ParameterTable | None
    info: ModelInfo
    check: bool = True
    images: np.ndarray | None = field(default=None, compare=False)
    asked: str = ""
    observed: np.ndarray | None = field(default=None, compare=False)

    @property
    def precision(self) -> str:
        """ "int8", or the float file's format."""
        if self.asked or self.table is None:
            return self.asked or TARGETS[self.target].twin
        return "int8"

    @property
    def half(self) -> bool:
        """Whether it is lowered from the network in float16, beside a float twin."""
        return self.precision == "float16" and bool(TARGETS[self.target].half_arithmetic)

    @property
    def file_name(self) -> str:
        """Name of the file in the bundle."""
        return f"{self.info.name}_{self.precision}{TARGETS[self.target].suffix}"

    @property
    def program(self) -> LoweringJob:
        """The job without its labels and name, which change nothing in the lowered program."""
        labels = tuple(f"class {i}" for i in range(len(self.info.labels)))
        info = dataclasses.replace(
            self.info,
            name="model",
            labels=labels,
            origin=Origin(),
            precision=self.precision,
            images=self.observed,
        )
        return dataclasses.replace(self, info=info)

    def answering(self, answer: str) -> LoweringJob:
        """The same job of a file with this answer."""
        return dataclasses.replace(self, info=dataclasses.replace(self.info, answer=answer))

    @property
    def observed_digest(self) -> str:
        """sha256 of `observed`, "" where there is none."""
        return "" if self.observed is None else hashlib.sha256(self.observed.tobytes()).hexdigest()

    def key(self) -> str:
        """sha256 of everything that decides the file's bytes."""
        environment = TARGETS[self.target].environment
        parts = {
            "target": self.target,
            "precision": self.precision,
            "observed": self.observed_digest,
            "form": self.form,
            "weights": self.weights,
            "table": self.table and self.table.to_dict(),
            "labels": self.info.labels,
            "kind": [self.info.kind, self.info.classifier, self.info.answer],
            "preprocess": self.info.preprocess.to_dict(),
            "name": self.info.name,
            "origin": dataclasses.asdict(self.info.origin),
            "tools": tool_versions(),
            "elsewhere": environment and recipe_of(environment),
            "code": code_digest(*made_by(self.target)),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def place(self) -> Path:
        """Where the file lies in the cache."""
        return cache_dir() / "lowered" / self.key()[:32] / self.file_name

    def pixels(self) -> np.ndarray:
        """What the file is checked on, uint8 (N, H, W, 3): the drawn card first."""
        card = draw_card(*self.info.preprocess.sides)[None]
        return card if self.images is None else np.concatenate([card, self.images])


@dataclass(frozen=True)
class LoweringResult:
    """Where the file lies in the cache, the seconds it took, the worker's peak memory in bytes."""

    path: Path
    seconds: float
    peak_bytes: int
    cached: bool


def made_by(target: str) -> tuple[str, ...]:
    """The modules that decide what a lowered file holds, and whether it passes."""
    return (__name__, *get_target(target).code("lowering", "check", "taps"))


@functools.cache
def tool_versions() -> dict[str, str]:
    """Versions of what decides a file's bytes, as far as it is installed."""
    found = {}
    for name in TOOLS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def lower(job: LoweringJob) -> LoweringResult:
    """Write the job's file into the cache, unless it is there.

    The program is lowered and checked under names of no meaning and cached on its own, so that
    other labels cost no lowering. Of maps of classes, which show little of what is wrong, the file
    with the same program's scores is lowered and checked, and the maps held to that.
    """
    program, target = job.program, get_target(job.target)
    path, source, pixels = job.place(), program.place(), job.pixels()
    checked = source.parent / f"checked-{hashlib.sha256(pixels.tobytes()).hexdigest()[:16]}"
    needs_check = job.check and target.has("check") and not checked.exists()
    cached = source.exists()
    torch.set_num_threads(1)
    start = time.perf_counter()
    int8 = job.precision == "int8"
    scores = None
    if needs_check and job.info.answer == CLASSES:
        scores = lower(job.answering(SCORES)).path
    if not cached or needs_check:
        state = {name: torch.from_numpy(value) for name, value in job.state.items()}
        canonical = Canonical.from_dict(job.form, state)
        form = canonical.form(FORMS[target.facts.form])
        module: nn.Module = form
        if program.table is not None:
            module = quantize(form, program.table, target.facts.fold)
        if not cached:
            source.parent.mkdir(parents=True, exist_ok=True)
            with refused_ops(target, form, job.file_name):
                lowered = Half(module) if job.half else module
                target.lower(lowered, program.info, source, int8=int8)
        if needs_check:
            with quiet():
                images = job.info.preprocess.normalize(pixels)
                # Where a float file parts, no ranges decide.
                one = None if job.observed is None else job.observed[:1]
                info = dataclasses.replace(program.info, images=one)
                whole = not job.half
                if scores is None:
                    check_lowered(target, info, source, form, module, images, job.file_name, whole)
                else:
                    check_classes(target, source, scores, images, job.file_name)
            checked.touch()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        target.label(source, job.info, path, int8=int8)
    if cached and not needs_check:
        return LoweringResult(path, 0.0, 0, True)
    return LoweringResult(path, time.perf_counter() - start, peak_memory(), cached)


@contextlib.contextmanager
def refused_ops(target: Target, form: Form, name: str) -> Iterator[None]:
    """What a runtime's own tools fail on as one line, with module and op."""
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        where, kind = suspected(form, text) or "it", type(error).__name__
        raise UserError(
            f"{name}: {target.facts.name} can't hold {where} ({kind}: {text[:WORDS]})"
            f"{MEND}, or leave {target.facts.name} out of --targets (TARGETS=…)"
        ) from error


def copy_into(source: Path, target: Path) -> None:
    """Copy a model file or package, whole or not at all."""
    if source.is_dir():
        with atomic_folder(target) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)
        return
    with atomic_path(target) as path:
        shutil.copyfile(source, path)
