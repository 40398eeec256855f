"""Ops on each element, reductions and products of matrices."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from export.targets.coreml.kernels.given import Given, Kernel

INT_RANGE = {"int8": (-128, 127), "uint8": (0, 255)}


def _unary(function: Callable[[Tensor], Tensor]) -> Kernel:
    return lambda g: function(g())


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Kernel:
    return lambda g: function(g("x"), g("y"))


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Kernel:
    def run(g: Given) -> Tensor:
        axes = g.ints("axes") or list(range(g().ndim))
        return function(g(), axes, bool(g.number("keep_dims")))

    return run


def _quantize(g: Given) -> Tensor:
    low, high = INT_RANGE[g.text("output_dtype")]
    codes = g("input").div(g.number("scale")).round_()
    return codes.add_(g.number("zero_point")).clamp_(low, high)


def _dequantize(g: Given) -> Tensor:
    return g("input").sub(g.number("zero_point")).mul_(g.number("scale"))


def _cast(g: Given) -> Tensor:
    dtype = g.text("dtype")
    if dtype == "bool":
        return g() != 0
    return g().to(torch.int32) if "int" in dtype else g().float()


def _gelu(g: Given) -> Tensor:
    mode = g.text("mode", "EXACT")
    if mode == "SIGMOID_APPROXIMATION":
        return g() * torch.sigmoid(1.702 * g())
    approximate = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}[mode]
    return F.gelu(g(), approximate=approximate)


def _matmul(g: Given) -> Tensor:
    x, y = (g(name).mT if g.number(f"transpose_{name}") else g(name) for name in ("x", "y"))
    return torch.matmul(x, y)


KERNELS: dict[str, Kernel] = {
    **{
        name: _unary(function)
        for name, function in {
            "abs": torch.abs, "ceil": torch.ceil, "cos": torch.cos, "erf": torch.erf,
            "exp": torch.exp, "exp2": torch.exp2, "floor": torch.floor,
            "identity": lambda x: x, "logical_not": torch.logical_not, "relu": torch.relu,
            "relu6": F.relu6, "round": torch.round, "sigmoid": torch.sigmoid, "sign": torch.sign,
            "silu": F.silu, "sin": torch.sin, "softplus": F.softplus, "softsign": F.softsign,
            "sqrt": torch.sqrt, "square": torch.square, "tanh": torch.tanh,
        }.items()
    },
    **{
        name: _binary(function)
        for name, function in {
            "add": torch.add, "equal": torch.eq, "floor_div": torch.floor_divide,
            "greater": torch.gt, "greater_equal": torch.ge, "less": torch.lt,
            "less_equal": torch.le, "logical_and": torch.logical_and,
            "logical_or": torch.logical_or, "logical_xor": torch.logical_xor,
            "maximum": torch.maximum, "minimum": torch.minimum, "mod": torch.remainder,
            "mul": torch.mul, "not_equal": torch.ne, "pow": torch.pow, "real_div": torch.div,
            "sub": torch.sub,
        }.items()
    },
    **{
        f"reduce_{name}": _reduction(function)
        for name, function in {
            "l1_norm": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
            "l2_norm": lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt(),
            "log_sum_exp": lambda x, axes, keep: x.logsumexp(axes, keepdim=keep),
            "max": lambda x, axes, keep: x.amax(axes, keepdim=keep),
            "mean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
            "min": lambda x, axes, keep: x.amin(axes, keepdim=keep),
            "sum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
            "sum_square": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
        }.items()
    },
    "cast": _cast,
    "clip": lambda g: g().clamp(g.number("alpha"), g.number("beta")),
    "cumsum": lambda g: g().cumsum(int(g.number("axis"))),
    "dequantize": _dequantize,
    "einsum": lambda g: torch.einsum(g.text("equation"), *g("values")),
    "elu": lambda g: F.elu(g(), g.number("alpha", 1.0)),
    "gelu": _gelu,
    "inverse": lambda g: 1 / (g() + g.number("epsilon", 1e-4)),
    "leaky_relu": lambda g: F.leaky_relu(g(), g.number("alpha", 0.01)),
    "linear": lambda g: F.linear(g(), g("weight"), g("bias")),
    "linear_activation": lambda g: g.number("alpha", 1.0) * g() + g.number("beta"),
    "log": lambda g: torch.log(g() + g.number("epsilon", 1e-45)),
    "matmul": _matmul,
    "prelu": lambda g: F.prelu(g(), g("alpha")),
    "quantize": _quantize,
    "rsqrt": lambda g: torch.rsqrt(g() + g.number("epsilon", 1e-12)),
    "select": lambda g: torch.where(g("cond").bool(), g("a"), g("b")),
    "sigmoid_hard": lambda g: (g.number("alpha", 0.2) * g() + g.number("beta", 0.5)).clamp(0, 1),
    "threshold": lambda g: g().clamp(min=g.number("alpha", 1.0)),
    "thresholded_relu": lambda g: g() * (g() >= g.number("alpha", 1.0)),
}  # fmt: skip
