"""Ranges inside norms, chosen by what counts there: each position's own variance.

The least squared error (`mse`) of squares and variances is that of the largest ones. But a norm
divides each position by its own deviation: a small variance that is off by a part costs as much as
a large one. So there `mse` is the squared error of what positions are multiplied by, as a share of
it: that of the norm's result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import MobileNorm, Tap
from quantization.calibration import Calibration, CalibrationImages, Observed
from quantization.hooks import forward_hooks
from quantization.observers import OBSERVERS
from quantization.params import activation_params
from quantization.program import limits, on_grid

JUDGED, BATCH = 32, 8  # images
# Of the largest value seen; one that clips nothing is among them.
SHARES = 2.0 ** (-np.arange(0, 21) / 4)
OBSERVER = "mse"


@torch.inference_mode()
def with_relative_variances(
    form: Form, calibration: Calibration, images: CalibrationImages
) -> Calibration:
    """`calibration`; the `mse` range of norms' squares and variances is the relative one."""
    errors: dict[str, np.ndarray] = {}
    norms = [m for m in form.modules() if isinstance(m, MobileNorm)]
    taps = {tap: norm for norm in norms for tap in (norm.tap_square, norm.tap_variance)}

    def add(tap: Tap, args: tuple[Tensor, ...], _: Tensor) -> None:
        found = np.array(list(_errors(taps[tap], tap, args[0], calibration.observed)))
        errors[tap.tensor] = errors.get(tap.tensor, 0.0) + found

    if taps:
        with forward_hooks(taps, add):
            for batch in images.first(JUDGED).split(BATCH):
                form(batch)
    place, found = list(OBSERVERS).index(OBSERVER), dict(calibration.observed)
    for tensor, error in errors.items():
        ranges = list(found[tensor].ranges)
        ranges[place] = (0.0, found[tensor].high * float(SHARES[int(error.argmin())]))
        found[tensor] = Observed(tuple(ranges))
    return dataclasses.replace(calibration, observed=found)


def _errors(
    norm: MobileNorm, tap: Tap, values: Tensor, observed: dict[str, Observed]
) -> Iterator[float]:
    """The squared error of 1 / deviation, as a share of it, with each of `SHARES` of the values
    at `tap`."""
    largest = observed[norm.tap_rstd.tensor].high

    def rstd(x: Tensor) -> Tensor:
        variance = norm.averaged(x, "variance") if tap is norm.tap_square else x
        # No more than the range of its own codes: a variance may be rounded to zero.
        return variance.double().rsqrt().clamp_(max=largest)

    exact = rstd(values)
    for share in SHARES:
        entry = activation_params(tap.tensor, 0.0, observed[tap.tensor].high * float(share))
        rounded = rstd(on_grid(values, entry.scale[0], *limits(entry)))
        yield float((rounded / exact - 1).square().mean())
