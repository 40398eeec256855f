"""Ops that divide by a sum over an axis."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from export.targets.coreml.kernels.given import Given, Kernel


def _layer_norm(g: Given) -> Tensor:
    x = g()
    axes = g.ints("axes") or list(range(x.ndim))
    d = x - x.mean(axes, keepdim=True)
    y = d * torch.rsqrt(d.square().mean(axes, keepdim=True).add_(g.number("epsilon", 1e-5)))
    y = y if g("gamma") is None else y * g("gamma")
    return y if g("beta") is None else y + g("beta")


def _instance_norm(g: Given) -> Tensor:
    x = g()
    axes = list(range(2, x.ndim))
    d = x - x.mean(axes, keepdim=True)
    y = d * torch.rsqrt(d.square().mean(axes, keepdim=True) + g.number("epsilon", 1e-5))
    return _scaled(g, y)


def _batch_norm(g: Given) -> Tensor:
    mean, variance = _of_channels(g("mean"), g()), _of_channels(g("variance"), g())
    return _scaled(g, (g() - mean) * torch.rsqrt(variance + g.number("epsilon", 1e-5)))


def _scaled(g: Given, y: Tensor) -> Tensor:
    y = y if g("gamma") is None else y * _of_channels(g("gamma"), y)
    return y if g("beta") is None else y + _of_channels(g("beta"), y)


def _of_channels(value: Tensor, like: Tensor) -> Tensor:
    return value.reshape(-1, *[1] * (like.ndim - 2))


def _l2_norm(g: Given) -> Tensor:
    x = g()
    return x * torch.rsqrt(x.square().sum((-3, -2, -1), keepdim=True) + g.number("epsilon", 1e-6))


def _local_response_norm(g: Given) -> Tensor:
    size = int(g.number("size"))
    return F.local_response_norm(
        g(), size, g.number("alpha", 1e-4), g.number("beta", 0.75), g.number("k", 1.0)
    )


KERNELS: dict[str, Kernel] = {
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "l2_norm": _l2_norm,
    "layer_norm": _layer_norm,
    "local_response_norm": _local_response_norm,
    "softmax": lambda g: torch.softmax(g(), int(g.number("axis", -1))),
}
