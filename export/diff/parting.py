"""The first tensor of a lowered file that parts from its program's, each op given the program's
own inputs: what is left in each comparison is the rounding of the few ops since the last one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn

from export.diff.named import (
    WIDE,
    Difference,
    NamedTaps,
    TappedTensor,
    difference,
    name_file,
    name_program,
)
from export.diff.rules import exact, inputs_of
from export.diff.taps_names import NoMatch
from export.diff.taps_program import ProgramTaps
from export.targets.comparison import NOISE
from export.targets.target import Target
from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.forms.form import Form

# Right files of EfficientMod, int8 and float, on the drawn card: a code is off by one step at
# most, and one code in 2,500 of a tensor; real values stand at 110 dB. A weight 5 % off leaves
# 26 dB in what its convolution makes and moves the codes of every large value.
MAX_STEPS = 1
MAX_SHARE = 0.02
# Averages of few codes lie in the middle between two often, and which one a runtime takes is its
# own: more codes may differ that are the nearest but for so much, in steps.
MAX_PAST_MIDDLE = 0.05
MIN_SQNR_DB = 60.0
# 16-bit kernels interpolate in tables: a right softmax stands at 40 to 50 dB.
MIN_WIDE_SQNR_DB = 35.0
HALF_NOISE = 2.0**-11  # what float16 rounds by


Tensors = Mapping[str, TappedTensor]


class NotNamed(Exception):
    """The file's tensors can't be read by name; why, as one line."""


def first_parting(
    target: Target,
    path: Path,
    form: Form,
    program: nn.Module,
    image: np.ndarray,
    unit: str | None = None,
) -> str | None:
    """Where the file parts from `program` on `image`, in words; None where it doesn't.

    form: the float form that `program` is or quantizes. image: float32 (1, 3, H, W). unit: what the
    file is run on, as `Target.open_taps`. Raises `NotNamed` for a file that isn't laid open.
    """
    name = target.facts.form
    try:
        recorded = ProgramTaps(program, form)
        file = name_file(path.name, name, target.open_taps(path, unit), recorded)
    except (NoMatch, UserError) as error:
        raise NotNamed(str(error)) from None
    own = name_program(name, recorded)
    names = [n for n in own.names if n in file.names]
    values = own.tensors(image, names)
    forced = file.tensors(image, names, values)
    for tensor in names:
        # A real tensor that a runtime rounds at once stands in the file as codes alone.
        coded = _coded(tensor, values, forced).scale is not None
        found = difference(values[tensor], forced[tensor])
        if str(values[tensor].values.dtype) == WIDE:
            left, right = (t[tensor].values.reshape(1, -1) for t in (values, forced))
            parts = sqnr_db(left, right) < MIN_WIDE_SQNR_DB
        elif coded and found.largest <= MAX_STEPS:
            parts = found.share > MAX_SHARE and not _nearest(own, tensor, image, values, forced)
        elif coded:
            parts = True
        else:
            near = found.sqnr_db is None or found.sqnr_db >= MIN_SQNR_DB
            noise = HALF_NOISE if file.half else NOISE
            parts = not near and not _lost(own, tensor, image, values, forced, noise)
        if parts:
            return f"{tensor} ({_in_words(found, coded)})"
    return None


def _coded(name: str, values: Tensors, forced: Tensors) -> TappedTensor:
    """That of the program's and the file's tensors that is codes; the program's where none is."""
    return forced[name] if values[name].scale is None else values[name]


def _nearest(
    own: NamedTaps, name: str, image: np.ndarray, values: Tensors, forced: Tensors
) -> bool:
    """Whether the file's codes of `name` are the nearest ones to what the program's inputs give."""
    inputs = {n: values[n] for n in inputs_of(own, name, set(values))}
    result = exact(own, name, image, inputs)
    held = _coded(name, values, forced)
    codes = forced[name].codes(held.scale, held.zero_point)
    return float(result.past_middle(codes).max()) <= MAX_PAST_MIDDLE


def _lost(
    own: NamedTaps,
    name: str,
    image: np.ndarray,
    values: Tensors,
    forced: Tensors,
    noise: float,
) -> bool:
    """Whether nothing but the format's last bits is left of `name`, as of a mean of what has none:
    the file is no farther from the exact values than inputs with a little noise bring them."""
    rng = np.random.default_rng(0)

    def noisy(x: np.ndarray) -> np.ndarray:
        return x * (1 + noise * rng.standard_normal(x.shape))

    inputs = {n: values[n] for n in inputs_of(own, name, set(values))}
    shaken = {n: dataclasses.replace(t, values=noisy(t.values)) for n, t in inputs.items()}
    right = exact(own, name, image, inputs).values
    moved = exact(own, name, noisy(image), shaken).values
    return bool(np.abs(forced[name].real - right).max() <= 2 * np.abs(moved - right).max())


def _in_words(found: Difference, coded: bool) -> str:
    if coded:
        return f"{found.share:.1%} of the codes differ, by up to {found.largest:.0f}"
    return f"SQNR {found.sqnr_db:.0f} dB"
