"""A target: all that this kit does with a runtime, each part in a module of the runtime's folder.

A part is imported when it is used, so reading a file imports neither a runtime nor torch.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.targets.environment import programs_in
from mobilemod.errors import NOT_EVERYWHERE, UserError, unknown
from mobilemod.targets import TARGETS, facts_of_file, suffixes_in_words
from mobilemod.targets.facts import Facts

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from export.graph import FileGraph
    from export.targets.base import Cutter, GpuRun, ModelInfo, Runner, Taps

# Module of a target's folder -> the functions in it that `Target` calls.
PARTS = {
    "lowering": ("lower", "label"),
    "running": ("load",),
    "graph": ("read_graph",),
    "taps": ("open_taps",),
    "cut": ("open_cutter",),
    "check": ("check_file",),
    "gpu": ("run_on_gpu",),
}


@dataclass(frozen=True)
class Target:
    """One runtime, by its row in `mobilemod.targets` and its folder here.

    Every method raises `UserError`: with the row's own words where the runtime lacks that part,
    and where a file is missing, damaged or not the runtime's.
    """

    facts: Facts

    def lower(self, module: nn.Module, info: ModelInfo, path: Path, *, int8: bool) -> None:
        """Write `module` (a mobile form, or its quantized program) to `path`, whole or not at all.

        Its input is float32 (1, 3, H, W), its output float32 logits (1, K).
        """
        self._part("lowering").lower(module, info, path, int8=int8)

    def label(self, source: Path, info: ModelInfo, path: Path, *, int8: bool) -> None:
        """Write a lowered file again with other labels and name, in a moment."""
        self._part("lowering").label(source, info, path, int8=int8)

    def load(self, path: Path, threads: int = 1) -> Runner:
        """What runs the file here."""
        return self._part("running", path).load(path, threads)

    def load_in(self, runtime: str, path: Path, threads: int = 1) -> Runner:
        """What runs the file in another of its runtimes, by package."""
        return importlib.import_module(*self.runtime_code(runtime)).load(path, threads)

    def runtime_code(self, runtime: str) -> tuple[str, ...]:
        """The module of a further runtime, as `code`; none for one that doesn't run these files."""
        found = (r.code for r in self.facts.runtimes if r.package == runtime)
        return tuple(f"{__package__}.{code}.running" for code in found)

    def read_graph(self, path: Path) -> FileGraph:
        """The file's graph, from the file alone."""
        return self._part("graph").read_graph(path)

    def open_taps(self, path: Path, unit: str | None = None) -> Taps:
        """The file's tensors, to be read and replaced while it runs.

        unit: what it is run on, of those that the harness runs its files on here; None: as usual,
        and where there is only one.
        """
        return self._part("taps", path).open_taps(path, unit)

    def open_cutter(self, path: Path, threads: int = 1) -> Cutter:
        """The file's ops as programs of their own."""
        return self._part("cut", path).open_cutter(path, threads)

    def check(self, path: Path, module: nn.Module, images: np.ndarray) -> None:
        """Compare the file with the module that it was lowered from, on `images`.

        images: float32 (N, 3, H, W), normalized. `UserError` tells by how much it parts.
        """
        self._part("check", path).check_file(path, module, images)

    def run_on_gpu(self, path: Path, images: np.ndarray) -> GpuRun:
        """What a GPU of this machine makes of the file, in a process of its own.

        images: float32 (N, 3, H, W), normalized. `UserError` where there is no GPU to be found.
        """
        return self._part("gpu", path).run_on_gpu(path, images)

    def has(self, part: str) -> bool:
        """Whether there is a part, by its name in `PARTS`."""
        return part not in self.facts.lacks

    def code(self, *parts: str) -> tuple[str, ...]:
        """The modules of those of `parts` that there are, for `mobilemod.closure.code_digest`."""
        return tuple(f"{__package__}.{self.facts.folder}.{p}" for p in parts if self.has(p))

    def _part(self, part: str, path: Path | None = None) -> Any:
        if not self.has(part):
            raise UserError(": ".join(filter(None, (path and str(path), self.facts.lacks[part]))))
        return importlib.import_module(*self.code(part))


def get_target(name: str) -> Target:
    """The target of a name; `UserError` lists the known ones."""
    if name not in TARGETS:
        raise unknown("target", name, TARGETS)
    return Target(TARGETS[name])


def target_of_file(path: Path) -> Target:
    """The target whose file this is, by its suffix."""
    facts = facts_of_file(path)
    if facts is not None:
        return Target(facts)
    if any(path.suffix in f.relatives for f in TARGETS.values()):
        raise UserError(f"{path}: not supported: {path.suffix}; give {suffixes_in_words()}")
    raise UserError(f"{path}: no known model file; expected {suffixes_in_words()}")


def require_packages(name: str) -> None:
    """Raises `UserError` where what writes a target's files isn't installed here."""
    missing = [p for p in TARGETS[name].packages if importlib.util.find_spec(p) is None]
    if missing:
        asked = (t for t in TARGETS.values() if not (t.on_request or t.environment))
        rest = ",".join(t.name for t in asked if all(map(importlib.util.find_spec, t.packages)))
        install = TARGETS[name].installed_by or "make setup"
        raise UserError(
            f"target {name} needs {' and '.join(missing)}, not installed here: run '{install}', "
            f"or give --targets {rest} (TARGETS=…); {NOT_EVERYWHERE}"
        )
    if (environment := TARGETS[name].environment) is not None:
        programs_in(environment)
