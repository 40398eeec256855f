"""The check of Core ML files where a convolution's terms cancel: what float16 rounded stays."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from export.targets.coreml.check import CheckResult, Record, _Comparison, _Parting
from export.targets.coreml.evaluator import Step
from export.targets.coreml.kernels import KERNELS

CHANNELS = 8
ROUNDING = 10 ** (-37.4 / 20)  # of a channel of efficientmod_xs


def conv_step(weight: torch.Tensor) -> Step:
    constants = {"weight": weight, "bias": torch.zeros(len(weight))}
    places = {"x": "x"}
    return Step("conv", "c", ("x",), {"y": True}, KERNELS["conv"], constants, places, (), None)


def compare(cancelled: float, relative: float) -> None:
    """Channel 1 off by `relative` of its own size; its power is `cancelled` times its terms'.

    Raises `_Parting` where the check finds it.
    """
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 16, 16, generator=rng)
    x[:, 1] = x[:, 0] + x[:, 1] * (2 * cancelled) ** 0.5
    weight = torch.ones(CHANNELS, 2, 1, 1)
    weight[1, 1] = -1.0
    value = F.conv2d(x, weight)
    y = value.clone()
    y[:, 1] *= 1 + relative
    comparison = _Comparison([Record("c", value)], CheckResult())
    comparison._conv(conv_step(weight), [x], y)


def test_the_rounding_of_cancelled_terms_passes():
    compare(0.15, ROUNDING)


@pytest.mark.parametrize("cancelled, relative", [(1.0, ROUNDING), (0.15, 0.05), (0.03, 0.05)])
def test_what_isnt_rounding_is_found(cancelled, relative):
    """An own error where nothing cancels, a scale 5 % off where much or nearly all does."""
    with pytest.raises(_Parting, match="in channel 1"):
        compare(cancelled, relative)
