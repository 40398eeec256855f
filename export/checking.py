"""Whether a lowered file computes what its program does, and if not, where it parts first."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from export.auditing.modules import Names, node_modules, outside, outside_lines
from export.diff.parting import NotNamed, first_parting
from export.diff.probing import first_op
from export.targets.base import ModelInfo, Runner
from export.targets.comparison import Parting
from export.targets.target import Target
from mobilemod.errors import UserError
from mobilemod.forms.form import Form
from mobilemod.forms.naming import KEEPS_RANGE, ROLES
from mobilemod.forms.ops import Call

MEND = "; compute it in another way"


def check_lowered(
    target: Target,
    info: ModelInfo,
    path: Path,
    form: Form,
    program: nn.Module,
    images: np.ndarray,
    name: str = "",
    probe: bool = True,
) -> None:
    """`UserError` where the file at `path`, called `name`, doesn't compute what `program` does.

    info: as it was lowered with. form: the float form that `program` is or quantizes. images:
    float32 (N, 3, H, W), normalized; the outputs are compared on each, and on the first every
    tensor that the file tells by name: one wrong scale among many disappears in what int8 outputs
    differ by anyway. probe: seek the op by lowering `program` in parts, where the file isn't of
    another precision.
    """
    how, where, runs = "", None, True
    try:
        target.check(path, program, images)
    except Parting as error:
        how, runs = error.how, error.runs
    except UserError as error:
        graph = target.read_graph(path)
        found = outside_lines(outside(graph, node_modules(graph, Names([]))))
        where = "; ".join(found) or suspected(form, str(error)) or "the file"
        why = str(error).removeprefix(f"{path}: ").partition("; ")[0]
        raise UserError(
            f"{name or path.name}: {target.facts.name} can't run {where} ({why})"
            f"{MEND}, or leave {target.facts.name} out of --targets (TARGETS=…)"
        ) from error
    # Core ML's own check is op by op, within what float16 rounds.
    if runs and target.facts.twin == "float32":
        why = "each named tensor is right"
        try:
            where = first_parting(target, path, form, program, images[:1])
        except NotNamed as error:
            why = str(error).removeprefix(f"{path}: ")
        if how and where is None and probe:
            where = _probed(target, info, program, images[:1], program is not form, why)
    if how or where:
        said = "; ".join(filter(None, (how, where and f"the first tensor that parts: {where}")))
        raise UserError(
            f"{name or path.name}: the file doesn't compute what its program does: {said}"
            f"{MEND}, or leave {target.facts.name} out of --targets (TARGETS=…)"
        )


def check_classes(target: Target, path: Path, scores: Path, images: np.ndarray, name: str) -> None:
    """`UserError` where the maps of classes of the file at `path`, called `name`, aren't what the
    scores of the one at `scores` decide, pixel by pixel; images: as `check_lowered`."""
    try:
        target.check(path, _Ran(target.load(scores)), images)
    except UserError as error:
        why = str(error).removeprefix(f"{path}: ")
        left = f"leave {target.facts.name} out of --targets (TARGETS=…), or --answer out"
        raise UserError(f"{name}: {why}; {left}") from error


class _Ran(nn.Module):
    """A file in a program's place."""

    def __init__(self, runner: Runner):
        super().__init__()
        self.runner = runner

    def forward(self, image: Tensor) -> Tensor:
        return torch.from_numpy(self.runner.run_many(image.numpy()))


def suspected(form: nn.Module, words: str) -> str:
    """The ops of a form, by module, that a runtime fails on with these words; "" for none.

    They name the op as a rule; where they don't, what no rewrite knows is suspected.
    """
    calls = [m for m in form.modules() if isinstance(m, Call)]
    named = [m for m in calls if re.search(rf"(aten(::|\.)|['\"]){m.kind}\b", words)]
    known = (*ROLES, *KEEPS_RANGE, "mean")
    ops = [m for m in named or calls if named or m.kind not in known]
    return ", ".join(dict.fromkeys(f"{m.makes.partition(':')[0]}: {m.kind}" for m in ops))


def _probed(
    target: Target,
    info: ModelInfo,
    program: nn.Module,
    image: np.ndarray,
    int8: bool,
    why: str,
) -> str:
    """The first op that parts, or why it isn't known."""
    try:
        where = first_op(target, info, program, image, int8=int8)
    except Exception as error:
        # Runtimes fail in ways of their own; what parted is told all the same.
        return f"not known: {why}; {type(error).__name__} as its parts were lowered alone"
    return where or f"not known: {why}; each is right where it is an output"
