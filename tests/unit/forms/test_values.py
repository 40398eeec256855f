"""Ops on each value, by broadcasting in every layout; reductions, pooling, resizing."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.unit.forms.exact import assert_exact, assert_exact_alone, kinds

LAYERS = {"c": nn.Conv2d(4, 6, 1), "d": nn.Conv2d(4, 4, 1)}


def last(x):
    return x.permute(0, 2, 3, 1)


def tokens(x):
    return x.flatten(2).transpose(1, 2)


def rows(x):
    return x.mean(2, keepdim=True)


def columns(x):
    return x.mean(3, keepdim=True)


def plane(x):
    return x.mean(1).flatten(1)


def halves(x):
    return x.view(-1, 4, 2, 4, 12)


def cut(x):
    return x.reshape(len(x), 6, 64)


def quarters(x):
    return x.reshape(len(x), 4, 4, 24).mean(3).reshape(len(x), -1)


class Scales(nn.Module):
    """Constants of every shape that broadcasts with an image (B, 4, 8, 12)."""

    def __init__(self):
        super().__init__()
        shapes = {
            "number": (1,),
            "channels": (4, 1, 1),
            "last": (4,),
            "full": (4, 8, 12),
            "row": (8, 1),
            "column": (12,),
            "plane": (8, 12),
            "batched": (1, 4, 1, 1),
            "more": (1, 4, 8, 12),
            "two": (2, 4),
            "position": (96, 4),
            "grown": (3, 1, 1, 1, 1),
        }
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.ones(shape)))


ACTIVATIONS = {
    name: (lambda m, x, f=f: f(x))
    for name, f in {
        "relu": F.relu,
        "relu6": F.relu6,
        "hardswish": F.hardswish,
        "hardsigmoid": F.hardsigmoid,
        "silu": F.silu,
        "gelu": F.gelu,
        "tanh gelu": lambda x: F.gelu(x, approximate="tanh"),
        "elu": F.elu,
        "leaky": lambda x: F.leaky_relu(x, 0.3),
        "softplus": F.softplus,
        "mish": F.mish,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "exp": torch.exp,
        "h-swish by hand": lambda x: x * F.relu6(x + 3) / 6,
        "clamp": lambda x: x.clamp(-0.5, 0.3),
        "clamp from below": lambda x: x.clamp(min=0.1),
        "clamp from above": lambda x: x.clamp(max=0.1),
        "hardtanh": lambda x: F.hardtanh(x, -0.2, 0.4),
        "pow 2": lambda x: x**2,
        "pow 3": lambda x: x**3,
        "pow 4": lambda x: x**4,
        "one over": lambda x: 2 / (x * x + 1) + (x * x + 1) ** -1 + (x * x + 1) ** -0.5,
        "root": lambda x: (x * x) ** 0.5,
        "rsqrt": lambda x: torch.rsqrt(x * x + 1),
        "prelu": lambda x: F.prelu(x, torch.tensor([0.3])),
        "prelu of channels": lambda x: F.prelu(x, torch.tensor([0.3, 0.1, -0.2, 2.0])),
        "glu": lambda x: F.glu(x, 1),
        "log_softmax": lambda x: F.log_softmax(x, 1),
        "softsign": F.softsign,
        "logsigmoid": F.logsigmoid,
        "softmin": lambda x: F.softmin(x, -1),
        "in place": lambda x: (x * 1).relu_().add_(1).mul_(2),
        "in place on a slice": lambda x: torch.cat([x[:, :1].clone().add_(1), x[:, 1:]], 1),
        "abs": torch.abs,
        "neg": lambda x: -x,
        "floor": lambda x: torch.floor(x),
        "reciprocal": lambda x: (x * x + 1).reciprocal(),
        "erf": torch.erf,
        "log": lambda x: torch.log(x * x + 1),
    }.items()
}
CONSTANTS = {
    "number": lambda m, x: (x * 2 + 1 - 0.5) / 3,
    "from a number": lambda m, x: (1 - x) * 2 - (3 - x) / 2 + 1 / (x * x + 1),
    "alpha": lambda m, x: torch.add(x, m.s.channels, alpha=2) - torch.sub(x * x, x, alpha=3),
    "one value": lambda m, x: x * m.s.number,
    "channels": lambda m, x: x * m.s.channels + m.s.channels,
    "batched": lambda m, x: x - m.s.batched,
    "full": lambda m, x: x * m.s.full + m.s.full,
    "more": lambda m, x: x * m.s.more / m.s.more,
    "row": lambda m, x: x + m.s.row,
    "column": lambda m, x: x * m.s.column,
    "plane": lambda m, x: x * m.s.plane + m.s.plane,
    "channels last": lambda m, x: last(x) * m.s.last + m.s.last,
    "tokens": lambda m, x: tokens(x) * m.s.last + m.s.position,
    "groups": lambda m, x: x.reshape(len(x), 2, 2, -1) * m.s.last.view(2, 2, 1),
    "two of a dimension": lambda m, x: x.mean((2, 3))[:, None] + m.s.two,
    "larger than the tensor": lambda m, x: x.mean((2, 3), keepdim=True) * m.s.full,
    "more dimensions": lambda m, x: (x[None] * m.s.grown).transpose(0, 1),
    "folded constants": lambda m, x: x * (m.s.channels.abs() + 1).sqrt().sum(),
    "maximum": lambda m, x: torch.maximum(x, x * 0.5) + torch.minimum(x, -x),
    "maximum of a constant": lambda m, x: torch.maximum(x, m.s.channels),
    "minimum from a constant": lambda m, x: torch.minimum(m.s.channels, x),
    "broadcast_to": lambda m, x: m.s.last.broadcast_to(len(x), 4) * x.mean((2, 3)),
    "constant power": lambda m, x: 2**x,
}
PAIRS = {
    "alike": lambda m, x: m.c(x) * F.relu(m.c(x)),
    "image by pooled": lambda m, x: x * x.mean((2, 3), keepdim=True),
    "pooled by image": lambda m, x: x.mean((2, 3), keepdim=True) - x,
    "image by row": lambda m, x: x + x.mean(3, keepdim=True),
    "rows by columns": lambda m, x: columns(x) * rows(x),
    "channels by positions": lambda m, x: x.mean((2, 3), keepdim=True) * x.mean(1, keepdim=True),
    "image by plane": lambda m, x: x * x.mean(1, keepdim=True),
    "by one channel": lambda m, x: x * x[:, 0:1],
    "layouts": lambda m, x: last(x) * tokens(m.d(x)).reshape(len(x), 8, 12, 4),
    "tokens by image": lambda m, x: tokens(x) + x.reshape(len(x), 96, 4),
    "axes cut otherwise": lambda m, x: cut(x) * cut(x.transpose(2, 3)),
    "transposed": lambda m, x: x[..., :8] * x[..., :8].transpose(2, 3),
    "outer": lambda m, x: x.mean((2, 3))[:, :, None] * x.mean((2, 3))[:, None, :],
    "outer of positions": lambda m, x: plane(x)[:, :, None] - plane(x)[:, None, :],
    "repeated": lambda m, x: rows(x).expand(-1, -1, 8, -1) + x,
    "both repeated": lambda m, x: rows(x).expand(-1, -1, 8, -1) * columns(x).expand(-1, -1, -1, 12),
    "repeated, then joined": lambda m, x: torch.cat([rows(columns(x)).expand_as(x), x], 1),
    "repeated, then merged": lambda m, x: x[:, :1].expand(-1, 4, -1, -1).reshape(len(x), -1),
    "repeated channels": lambda m, x: m.c(x[:, :2].repeat(1, 2, 1, 1)),
    "repeated in turns": lambda m, x: m.c(x[:, :2].repeat_interleave(2, 1)),
    "with itself": lambda m, x: x * x + x,
    "by less rank": lambda m, x: x.mean((2, 3))[:, None, None] * last(x),
    "windows by windows": lambda m, x: halves(x).mean(3) * halves(x)[:, :, :, 0],
    "split later": lambda m, x: quarters(m.d(x)) + m.d(x).mean((2, 3)).repeat(1, 4),
    "einsum": lambda m, x: torch.einsum("bchw,bdhw->bcd", x, m.d(x)),
    "einsum of channels": lambda m, x: torch.einsum("bchw,oc->bohw", x, m.c.weight[:, :, 0, 0]),
    "normalize": lambda m, x: F.normalize(x, dim=1),
    "normalize positions": lambda m, x: F.normalize(tokens(x), dim=-2),
    "squeeze and excite": lambda m, x: x * torch.sigmoid(m.d(F.relu(m.d(rows(columns(x)))))),
    "addcmul": lambda m, x: torch.addcmul(x, x, m.d(x)),
    "lerp": lambda m, x: torch.lerp(x, m.d(x), 0.3),
    "numbers of shape": lambda m, x: x / math.sqrt(x.shape[1]) * x.size(2),
    "variance": lambda m, x: x / (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt(),
    "std of positions": lambda m, x: x.std((2, 3)),
    "var_mean": lambda m, x: torch.var_mean(x, 1)[0] + torch.var_mean(x, 1)[1],
    "masked_fill": lambda m, x: x.masked_fill(torch.arange(12) > 5, 0.0),
    "where": lambda m, x: torch.where(x > 0, x, x * 0.1),
    "where of a constant mask": lambda m, x: torch.where(torch.arange(12) > 5, x, m.d(x)),
    "compared": lambda m, x: x * (x > 0),
    "compared tokens": lambda m, x: tokens(x) * (tokens(x) > 0).float(),
    "cumsum": lambda m, x: x.cumsum(2),
    "half and back": lambda m, x: (x * 4).round().half().float(),
}
REDUCTIONS = {
    f"{name} over {dims}{' kept' if keep else ''}": (
        lambda m, x, f=f, dims=dims, keep=keep: f(x, dims, keep)
    )
    for name, f in {
        "mean": lambda x, d, k: x.mean(d, keepdim=k),
        "last mean": lambda x, d, k: last(x).mean(d, keepdim=k),
        "sum": lambda x, d, k: x.sum(d, keepdim=k),
        "amax": lambda x, d, k: x.amax(d, keepdim=k),
        "length": lambda x, d, k: torch.linalg.vector_norm(x, dim=d, keepdim=k),
    }.items()
    for dims in ((1,), (2,), (-1,), (2, 3), (1, 2), (-1, 1), (1, 2, 3))
    for keep in (False, True)
}
MORE_REDUCTIONS = {
    "max values": lambda m, x: x.max(1).values,
    "max values and index": lambda m, x: x.max(2)[0] + x.max(2)[1],
    "min values": lambda m, x: x.min(-1, keepdim=True)[0],
    "argmax": lambda m, x: x.argmax(1).float(),
    "mean of tokens": lambda m, x: tokens(x).mean(1) + tokens(x).mean(-1).mean(1, keepdim=True),
    "amin": lambda m, x: x.amin((2, 3)),
    "norm of order 1": lambda m, x: x.norm(p=1, dim=1),
    "norm": lambda m, x: x.norm(dim=1, keepdim=True) + x.norm(p=2, dim=(2, 3), keepdim=True),
    "logsumexp": lambda m, x: x.logsumexp(1),
    "prod": lambda m, x: x.prod(1),
    "windows": lambda m, x: x.reshape(len(x), 4, 2, 4, 3, 4).mean((3, 5)),
    "heads": lambda m, x: x.reshape(len(x), 2, 2, -1).amax(1).mean(-1),
    "of repeated values": lambda m, x: rows(x).expand(-1, -1, 5, -1).mean((2, 3)),
    "sum of repeated values": lambda m, x: rows(x).expand(-1, -1, 5, -1).sum(2),
    "largest of repeated values": lambda m, x: rows(x).expand(-1, -1, 5, -1).amax((2, 3)),
}
POOLS = {
    "avg": lambda m, x: F.avg_pool2d(x, 2),
    "avg padded": lambda m, x: F.avg_pool2d(x, 3, 1, 1),
    "avg padded, not counted": lambda m, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "avg up": lambda m, x: F.avg_pool2d(x, 3, 2, ceil_mode=True),
    "avg by a divisor": lambda m, x: F.avg_pool2d(x, 2, divisor_override=3),
    "avg of a window that is larger": lambda m, x: F.avg_pool2d(x, 40, ceil_mode=True),
    "avg of all, by a divisor": lambda m, x: F.avg_pool2d(x, (8, 12), divisor_override=7),
    "max": lambda m, x: F.max_pool2d(x, 3, 2, 1),
    "max of a window that is larger": lambda m, x: F.max_pool2d(x, 40, ceil_mode=True),
    "max of tokens": lambda m, x: F.max_pool2d(tokens(x).transpose(1, 2).reshape(x.shape), 2),
    "max wide": lambda m, x: F.max_pool2d(x, (2, 3), dilation=2),
    "adaptive 1": lambda m, x: F.adaptive_avg_pool2d(x, 1),
    "adaptive 2x3": lambda m, x: F.adaptive_avg_pool2d(x, (2, 3)),
    "adaptive unlike": lambda m, x: F.adaptive_avg_pool2d(x, 5),
    "adaptive to more": lambda m, x: F.adaptive_avg_pool2d(x, (7, 17)),
    "adaptive as it is": lambda m, x: F.adaptive_avg_pool2d(x, (8, 12)),
    "adaptive one side": lambda m, x: F.adaptive_avg_pool2d(x, (None, 4)),
    "adaptive max": lambda m, x: F.adaptive_max_pool2d(x, 1) + F.adaptive_max_pool2d(x, (2, 3)),
    "adaptive 1d": lambda m, x: F.adaptive_avg_pool1d(x.flatten(2), 1),
    "avg 1d": lambda m, x: F.avg_pool1d(x.flatten(2), 2),
    "bilinear": lambda m, x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "bilinear to a size": lambda m, x: F.interpolate(x, (5, 9), mode="bilinear"),
    "by corners": lambda m, x: F.interpolate(x, (9, 9), mode="bilinear", align_corners=True),
    "bilinear by a broken factor": lambda m, x: F.interpolate(x, scale_factor=1.7, mode="bilinear"),
    "bilinear to the same": lambda m, x: F.interpolate(x, (8, 12), mode="bilinear"),
    "bicubic": lambda m, x: F.interpolate(x, (5, 9), mode="bicubic"),
    "nearest": lambda m, x: F.interpolate(x, scale_factor=2),
    "nearest to a size": lambda m, x: F.interpolate(x, (5, 9)),
    "nearest of channels last": lambda m, x: F.interpolate(last(x), scale_factor=2),
    "nearest uneven": lambda m, x: F.interpolate(x, scale_factor=(2, 1.5)),
}


@pytest.mark.parametrize(
    ("functions", "left"),
    [
        (ACTIVATIONS, {"_log_softmax"}),
        (CONSTANTS, {"pow"}),
        (PAIRS, {"where", "gt", "cumsum", "_to_copy"}),
        (REDUCTIONS, set()),
        (
            MORE_REDUCTIONS,
            {"argmax", "amax", "eq", "where", "linalg_vector_norm", "prod", "_to_copy"},
        ),
        (POOLS, set()),
    ],
    ids=["activations", "constants", "pairs", "reductions", "more reductions", "pools"],
)
def test_values(functions, left):
    canonical = assert_exact(functions, **LAYERS, s=Scales())
    assert {line.split(": ")[1] for line in canonical.left} == left


def test_the_largest_values_need_no_places():
    canonical = assert_exact({"max": lambda m, x: x.max(1).values})
    assert "argmax" not in kinds(canonical) and not canonical.left


def test_powers_and_inverses_are_ops_that_delegates_know():
    canonical = assert_exact_alone(lambda m, x: x**3 + 1 / (x * x + 1))
    assert set(kinds(canonical)) <= {"mul", "div", "add", "Affine", "Fixed"}
