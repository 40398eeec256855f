"""EfficientMod, the way back: published weights whose mobile form has given weights.

Folding is undone in the simplest way: norms whose scale and shift were folded into the linears
after them get scale 1 and shift 0, every `gamma_1` is 1, and what was folded stays in the linears.
Attention's `qkv` then needs a bias, which the published network lacks; its family makes room.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from mobilemod.forms.efficientmod import Q_K_V, EfficientModForm
from mobilemod.forms.mobile_ops import Constant, MergedColumns, MobileDepthwise, NamedConv2d
from mobilemod.networks.efficientmod import head_width
from mobilemod.networks.reading.fit import expected_shapes


@torch.no_grad()
def published_state(form: EfficientModForm) -> dict[str, Tensor]:
    """float32 weights by published name; `build_mobile` of their network gives `form` again.

    Equal to the last bit but for attention's q, whose scale is divided out.
    """
    shapes = expected_shapes(form.variant, form.num_classes)
    state = {name: torch.zeros(shape) for name, shape in shapes.items()}
    for name in state:
        if name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "gamma_1")):
            state[name].fill_(1.0)
    parts: dict[str, dict[str, NamedConv2d]] = defaultdict(dict)
    for layer in form.modules():
        if isinstance(layer, Constant):
            module, _, role = layer.tensor.partition(":")
            parameter = {"scale": "weight", "shift": "bias"}[role]
            state[f"{module}.{parameter}"] = layer.value.detach().flatten().clone()
        elif isinstance(layer, NamedConv2d) and layer.part not in ("mean", "variance"):
            parts[layer.module][layer.part] = layer
    rewritten = {m.conv.module: m for m in form.modules() if isinstance(m, MergedColumns)}
    rewritten |= {m.module: m for m in form.modules() if isinstance(m, MobileDepthwise)}
    for module, convs in parts.items():
        shape = state[f"{module}.weight"].shape
        if module in rewritten:
            weight, bias = rewritten[module].kernel(), next(iter(convs.values())).bias
        elif set(convs) == set(Q_K_V):
            weight, bias = _joined([convs[p] for p in Q_K_V], head_width(convs["q"].in_channels))
        else:
            weight, bias = convs[""].weight, convs[""].bias
        state[f"{module}.weight"] = weight.reshape(shape).clone()
        state[f"{module}.bias"] = bias.detach().clone()
    return state


def _joined(convs: list[NamedConv2d], width: int) -> tuple[Tensor, Tensor]:
    """q, k and v as one linear, the softmax scale taken out of q."""
    factors = (width**0.5, 1.0, 1.0)
    weights = [c.weight * f for c, f in zip(convs, factors, strict=True)]
    biases = [c.bias * f for c, f in zip(convs, factors, strict=True)]
    return torch.cat(weights), torch.cat(biases)
