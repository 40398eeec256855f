"""The plainest static int8: one minimum and maximum per tensor, on the network as published.

Every convolution and linear has an int8 weight with one scale, and int8 inputs and outputs whose
range is the smallest and largest value seen in calibration; all else stays float. Simulated with
quantize and dequantize in torch, so that no runtime's kernels have a part in the result. Source of
the scheme: Jacob et al., CVPR 2018, arXiv 1712.05877, with neither its per-channel weights nor its
moving averages.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from benchmarks.routes.network import CalibratedNetwork
from mobilemod.networks.checkpoints import save_checkpoint
from mobilemod.networks.registry import load_family, module_of
from mobilemod.networks.registry import network as published

LEVELS = 255
Ranges = dict[str, tuple[float, float]]


def round_to_grid(x: Tensor, low: float, high: float) -> Tensor:
    """`x` on the affine 8-bit grid over [low, high] widened to hold 0, clipped to it."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / LEVELS or 1.0
    zero_point = round(-low / scale)
    codes = torch.round(x / scale).add_(zero_point).clamp_(0, LEVELS)
    return codes.sub_(zero_point).mul_(scale)


class MinMaxNetwork(nn.Module):
    """`model` in simulated int8; input and output as `model`'s, which is left as it is.

    ranges: of every convolution's and linear's input and output, from `observe_ranges`.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module, ranges: Ranges):
        super().__init__()
        self.model = copy.deepcopy(model)

        def through(tensor: str, x: Tensor) -> Tensor:
            return round_to_grid(x, *ranges[tensor])

        hook_linears(self.model, through)
        for _, module in linears(self.model):
            low, high = (float(v) for v in torch.aminmax(module.weight))
            module.weight.copy_(round_to_grid(module.weight, low, high))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def linears(model: nn.Module) -> list[tuple[str, nn.Linear | nn.Conv2d]]:
    """Every convolution and linear, by name."""
    return [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]


def hook_linears(model: nn.Module, through: Callable[[str, Tensor], Tensor]) -> None:
    """Pass every convolution's and linear's input and output, "NAME:in", through a function."""

    def hook(name: str, module: nn.Module) -> None:
        module.register_forward_pre_hook(lambda _, args: (through(f"{name}:in", args[0]),))
        module.register_forward_hook(lambda _, args, y: through(f"{name}:out", y))

    for name, module in linears(model):
        hook(name, module)


@torch.no_grad()
def observe_ranges(model: nn.Module, batches: Iterable[Tensor]) -> Ranges:
    """The smallest and largest value of every tensor on `batches` of float32 (B, 3, S, S)."""
    ranges: Ranges = {}

    def through(tensor: str, x: Tensor) -> Tensor:
        low, high = (float(v) for v in torch.aminmax(x))
        old = ranges.get(tensor, (low, high))
        ranges[tensor] = (min(low, old[0]), max(high, old[1]))
        return x

    observed = copy.deepcopy(model)
    hook_linears(observed, through)
    for x in batches:
        observed(x)
    return ranges


def build(network: CalibratedNetwork, path: Path) -> None:
    """Write weights and ranges of the published form to `path`, for `load_minmax`."""
    model = network.published()
    metadata = {
        "family": module_of(network.variant),
        "variant": json.dumps(dataclasses.asdict(network.variant)),
        "classes": str(network.num_classes),
        "ranges": json.dumps(observe_ranges(model, network.batches())),
    }
    save_checkpoint(path, model.state_dict(), metadata, torch.float32)


def load_minmax(path: Path) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """A function float32 (N, 3, S, S) to float32 (N, K) of what `build` wrote, and what runs it."""
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    variant = load_family(metadata["family"]).variant(**json.loads(metadata["variant"]))
    model = published(variant, int(metadata["classes"]), safetensors.torch.load_file(path))
    network = MinMaxNetwork(model, json.loads(metadata["ranges"]))

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.concatenate([network(torch.from_numpy(x[None])).numpy() for x in images])

    return run, f"PyTorch {torch.__version__}"
