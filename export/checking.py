"""Whether a lowered file computes what its program does, and if not, where it parts first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from export.diff.parting import NotNamed, first_parting
from export.targets.comparison import Parting
from export.targets.target import Target
from mobilemod.errors import UserError
from mobilemod.forms.mobile import MobileForm


def check_lowered(
    name: str, target: Target, path: Path, form: MobileForm, program: nn.Module, images: np.ndarray
) -> None:
    """`UserError` where the file at `path`, called `name`, doesn't compute what `program` does.

    form: the float form that `program` is or quantizes. images: float32 (N, 3, S, S), normalized;
    the outputs are compared on each, and on the first every tensor that the file tells by name:
    one wrong scale among many disappears in what int8 outputs differ by anyway.
    """
    how, where, runs = "", None, True
    try:
        target.check(path, program, images)
    except Parting as error:
        how, runs = error.how, error.runs
    # Core ML's own check is op by op, within what float16 rounds.
    if runs and target.facts.twin == "float32":
        try:
            where = first_parting(target, path, form, program, images[:1])
        except NotNamed as error:
            where = how and f"not known, {error}"
    if how or where:
        said = filter(None, (how, where and f"the first tensor that parts: {where}"))
        raise UserError(
            f"{name}: the file doesn't compute what its program does: {'; '.join(said)}; compute "
            f"it in another way, or leave {target.facts.name} out of --targets (TARGETS=…)"
        )
