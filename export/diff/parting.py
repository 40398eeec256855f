"""The first tensor of a lowered file that parts from its program's, each op given the program's
own inputs: what is left in each comparison is the rounding of the few ops since the last one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from export.diff.named import Difference, name_file, name_program
from export.diff.named import difference as difference_of
from export.diff.taps_names import NoMatch
from export.diff.taps_program import ProgramTaps
from export.targets.target import Target
from mobilemod.errors import UserError
from mobilemod.forms.mobile import MobileForm

# Right files of EfficientMod, int8 and float, on the drawn card: a code is off by one step at
# most, and one code in 2,500 of a tensor; real values stand at 110 dB. A weight 5 % off leaves
# 26 dB in what its convolution makes and moves the codes of every large value.
MAX_STEPS = 1
MAX_SHARE = 0.02
MIN_SQNR_DB = 60.0


class NotNamed(Exception):
    """The file's tensors can't be read by name; why, as one line."""


def first_parting(
    target: Target, path: Path, form: MobileForm, program: nn.Module, image: np.ndarray
) -> str | None:
    """Where the file parts from `program` on `image`, in words; None where it doesn't.

    form: the float form that `program` is or quantizes. image: float32 (1, 3, S, S). Raises
    `NotNamed` for a file that isn't laid open.
    """
    name = target.facts.form
    try:
        recorded = ProgramTaps(program, form, image.shape[-1])
        file = name_file(path.name, name, target.open_taps(path), recorded)
    except (NoMatch, UserError) as error:
        raise NotNamed(str(error)) from None
    own = name_program(name, recorded)
    names = [n for n in own.names if n in file.names]
    values = own.tensors(image, names)
    forced = file.tensors(image, names, values)
    for tensor in names:
        coded = values[tensor].scale is not None
        found = difference_of(values[tensor], forced[tensor])
        if _parts(found, coded):
            return f"{tensor} ({_in_words(found, coded)})"
    return None


def _parts(found: Difference, coded: bool) -> bool:
    if found.sqnr_db is None:
        return False
    if coded:
        return found.largest > MAX_STEPS or found.share > MAX_SHARE
    return not found.sqnr_db >= MIN_SQNR_DB


def _in_words(found: Difference, coded: bool) -> str:
    if coded:
        return f"{found.share:.1%} of the codes differ, by up to {found.largest:.0f}"
    return f"SQNR {found.sqnr_db:.0f} dB"
