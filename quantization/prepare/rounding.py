"""Learned rounding: each weight up or down as the block's output comes out nearest to float.

Rounding every weight to its nearest code isn't best for the sum that a layer computes (Nagel et
al., "Up or down? Adaptive rounding for post-training quantization", ICML 2020). Here, block by
block, an offset of at most half a step per weight is learned by signed gradients, whose few steps
need neither a regularizer nor annealing (Cheng et al., "Optimize weight rounding via signed
gradient descent", EMNLP Findings 2024). Inputs come from the blocks before, already quantized.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.errors import UserError
from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.progress import progress
from quantization.calibration import CalibrationImages
from quantization.params import WEIGHT_MAX, ParameterTable, weight_params
from quantization.qat.network import FakeQuantConv2d, QatProgram

BATCH = 8


@dataclass(frozen=True)
class RoundingConfig:
    """images: to learn on; held_out: to judge on; steps: per block; offset: the most, in steps."""

    images: int = 96
    held_out: int = 32
    steps: int = 150
    offset: float = 0.5
    seed: int = 0


class OffsetConv2d(nn.Module):
    """A convolution on its int8 grid, `offset` (in steps, like the weight) added before rounding.

    Where a weight decides its channel's scale the offset is kept at 0.
    """

    def __init__(self, conv: NamedConv2d):
        super().__init__()
        self.conv = conv
        weight = conv.weight.detach()
        params = weight_params(conv.tensor, weight.numpy())
        self.scale = torch.tensor(params.scale)[:, None, None, None]
        self.steps = weight / self.scale
        self.free = (self.steps.abs() < WEIGHT_MAX - 0.5).float()
        self.offset = nn.Parameter(torch.zeros_like(weight))

    def rounded(self) -> Tensor:
        """The weight on its grid, with a gradient to `offset` as if nothing were rounded."""
        moved = self.steps + self.offset * self.free
        codes = moved.detach().round().clamp(-WEIGHT_MAX, WEIGHT_MAX)
        return (codes + moved - moved.detach()) * self.scale

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        return F.conv2d(
            x, self.rounded(), conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups
        )


def learn_rounding(
    form: Form,
    table: ParameterTable,
    images: CalibrationImages,
    config: RoundingConfig = RoundingConfig(),
) -> dict[str, tuple[float, float]]:
    """Set `form`'s int8 weights to the learned codes' values, so that nearest rounding gives them.

    The depthwise kernels keep their nearest codes: forms cut them differently. Returns, by layer,
    the mean squared error of its output on held-out images before and after; where learning
    didn't lower it, nothing was changed. Raises `UserError` for fewer images than are held out.
    """
    program = QatProgram(form, table).requires_grad_(False)
    program.refresh()
    layers = program.program.layers
    rng = np.random.default_rng(config.seed)
    real = quantized = images.first(config.images + config.held_out)
    if len(real) <= config.held_out:
        raise UserError(
            f"{len(real)} calibration images are too few to learn rounding, which holds out "
            f"{config.held_out}; give more images, or a recipe with nearest rounding"
        )
    order = torch.from_numpy(rng.permutation(len(real)))
    used, kept = order[: -config.held_out], order[-config.held_out :]
    errors = {}
    work = list(enumerate(zip(form.layers, layers, strict=True)))
    for i, (float_layer, layer) in progress(work, "learning to round", len(work), "block"):
        target = _run(float_layer, real)
        convs = _swap(layer)
        if convs:
            before = _error(layer, quantized[kept], target[kept])
            _learn(layer, convs, quantized[used], target[used], config, rng)
            after = _error(layer, quantized[kept], target[kept])
            errors[f"layers[{i}]"] = (before, after)
            if after < before:
                for conv in convs:
                    with torch.no_grad():
                        conv.conv.weight.copy_(conv.rounded())
            _swap_back(layer)
        quantized, real = _run(layer, quantized), target
    return errors


def _learn(
    layer: nn.Module,
    convs: list[OffsetConv2d],
    x: Tensor,
    target: Tensor,
    config: RoundingConfig,
    rng: np.random.Generator,
) -> None:
    for step in range(config.steps):
        chosen = torch.from_numpy(rng.choice(len(x), min(BATCH, len(x)), replace=False))
        loss = F.mse_loss(layer(x[chosen]), target[chosen])
        gradients = torch.autograd.grad(loss, [conv.offset for conv in convs])
        rate = 2 * config.offset / config.steps * (1 - step / config.steps)
        with torch.no_grad():
            for conv, gradient in zip(convs, gradients, strict=True):
                conv.offset.sub_(rate * gradient.sign())
                conv.offset.clamp_(-config.offset, config.offset)


def _swap(layer: nn.Module) -> list[OffsetConv2d]:
    """Make the layer's int8 convolutions, but for depthwise ones, learnable."""
    found = []
    for path, module in list(layer.named_modules()):
        if isinstance(module, FakeQuantConv2d) and module.conv.groups == 1:
            found.append(OffsetConv2d(module.conv))
            layer.set_submodule(path, found[-1])
    return found


def _swap_back(layer: nn.Module) -> None:
    for path, module in list(layer.named_modules()):
        if isinstance(module, OffsetConv2d):
            layer.set_submodule(path, FakeQuantConv2d(module.conv))


@torch.no_grad()
def _run(layer: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([layer(piece) for piece in x.split(BATCH)])


def _error(layer: nn.Module, x: Tensor, target: Tensor) -> float:
    return float(F.mse_loss(_run(layer, x), target))
