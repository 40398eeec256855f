"""Bias correction: the mean error that quantization leaves in each channel, put into the bias.

Source: Nagel et al., "Data-free quantization through weight equalization and bias correction",
ICCV 2019, in its empirical form: each layer is measured with all before it corrected.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mobilemod.forms.form import CANONICAL_WEIGHTS
from quantization.hooks import forward_hooks
from quantization.sensitivity.program import SwitchedConv2d, SwitchedProgram

# A channel's mean error counts where it is this many standard errors from none.
SIGNIFICANT = 3.0

Corrections = dict[str, Tensor]


@torch.inference_mode()
def measure_corrections(program: SwitchedProgram, x: Tensor) -> Corrections:
    """What to add to each int8 convolution's bias, float32 (C,) by module.

    x: images (B, 3, H, W), all run as one batch. Only errors that stand out from the images'
    spread are corrected: the rest would bring the spread of B images into the weights.
    """
    found: Corrections = {}
    real = quantized = x
    for step in [*program.form.layers, program.tail]:
        program.select(())
        convs = _convolutions(step)
        real, means = _record(step, convs, real)
        program.select(frozenset(program.switches))
        quantized = _correct(step, convs, quantized, means, found)
    return found


def _convolutions(step: nn.Module) -> list[SwitchedConv2d]:
    """The network's own, not a norm's averages; of a kernel in parts the first has the bias."""
    convs = [m for m in step.modules() if isinstance(m, SwitchedConv2d)]
    return [m for m in convs if m.role in CANONICAL_WEIGHTS and m.part in ("", "part0")]


def _record(
    step: nn.Module, convs: Sequence[SwitchedConv2d], x: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The step's output and, (B, C), the mean of each convolution's output over positions."""
    means: dict[str, Tensor] = {}

    def keep(conv: SwitchedConv2d, args: tuple[Tensor, ...], out: Tensor) -> None:
        means[conv.module] = out.mean((2, 3))

    with forward_hooks(convs, keep):
        return step(x), means


def _correct(
    step: nn.Module,
    convs: Sequence[SwitchedConv2d],
    x: Tensor,
    means: dict[str, Tensor],
    found: Corrections,
) -> Tensor:
    """The step's output with every convolution corrected as soon as it has run."""

    def add(conv: SwitchedConv2d, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        error = means[conv.module] - out.mean((2, 3))
        mean, spread = error.mean(0), error.std(0, correction=1) / len(error) ** 0.5
        change = torch.where(mean.abs() > SIGNIFICANT * spread, mean, 0.0)
        found[conv.module] = change
        return out + change[:, None, None]

    with forward_hooks(convs, add):
        return step(x)
