"""Clipping, checked where it counts: at the network's output.

An observer that clips weighs what it cuts off against finer steps, value by value. But all that is
clipped errs to one side: where many values are summed, as in the mean before a classifier, that
adds up and rounding doesn't. So each clipped range is held against the whole one, by what either
alone does to the output.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.forms.form import Form
from quantization.calibration import FORM, Calibration, CalibrationImages, Observed
from quantization.params import TensorParams
from quantization.program import make_table
from quantization.recipe import Recipe
from quantization.sensitivity.program import SwitchedProgram

JUDGED = 16  # images
# A tensor that alone leaves the output this near, in dB, is no matter.
HARMLESS = 40.0
# By how many dB the output must come nearer: half the error, which no chance gives.
BETTER = 3.0


@torch.inference_mode()
def without_harmful_clipping(
    form: Form, recipe: Recipe, calibration: Calibration, images: CalibrationImages
) -> Calibration:
    """`calibration`, the range of a tensor being all that was seen where clipping it does harm."""
    whole = {k: Observed.fixed(o.low, o.high) for k, o in calibration.observed.items()}
    tables = [
        make_table(form, FORM, recipe, c)
        for c in (calibration, dataclasses.replace(calibration, observed=whole))
    ]
    clipped = [
        name for name, entry in tables[0].entries.items()
        if name in whole and entry.source is None and _clips(entry, tables[1].entries[name])
    ]  # fmt: skip
    programs = [SwitchedProgram(form, table) for table in tables]
    inputs = programs[0].inputs(images.first(JUDGED))
    expected = programs[0].run(len(inputs) - 1, inputs[-1]).numpy()

    def output(program: SwitchedProgram, names: Sequence[str]) -> float:
        """In dB, with these tensors int8 alone."""
        program.select(names)
        position = min(program.position[name] for name in names)
        return sqnr_db(expected, program.run(position, inputs[position]).numpy())

    def harmful(names: Sequence[str]) -> Iterator[str]:
        """Those that alone leave the output below `HARMLESS`: none where all together don't."""
        if not names or (now := output(programs[0], names)) >= HARMLESS:
            return
        half = len(names) // 2
        if half:
            yield from harmful(names[:half])
            yield from harmful(names[half:])
        elif output(programs[1], names) > now + BETTER:
            yield names[0]

    found = calibration.observed | {name: whole[name] for name in harmful(clipped)}
    return dataclasses.replace(calibration, observed=found)


def _clips(entry: TensorParams, whole: TensorParams) -> bool:
    return not np.allclose((entry.low, entry.high), (whole.low, whole.high), rtol=1e-3, atol=0)
