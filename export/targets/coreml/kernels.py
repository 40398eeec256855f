"""What each op of a MIL program computes, in torch, on values of the shapes that the file says.

Arithmetic inside an op is float32. Source of the semantics: the MIL op reference of coremltools.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from export.targets.coreml.reader import constant
from mobilemod.errors import UserError

INT_RANGE = {"int8": (-128, 127), "uint8": (0, 255)}
Result = Tensor | tuple[Tensor, ...]
Kernel = Callable[["Given"], Result]


@dataclass(frozen=True)
class Given:
    """The inputs of an op by name. constants: arrays, floats as tensors in float32; variables:
    what was computed."""

    constants: dict[str, Any]
    variables: dict[str, Tensor]

    def __call__(self, name: str = "x") -> Any:
        """A tensor, None where the op has no such input."""
        value = self.variables.get(name)
        value = self.constants.get(name) if value is None else value
        return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value

    def number(self, name: str, default: float = 0.0) -> float:
        """A setting that is one number or truth value."""
        value = self.constants.get(name)
        return default if value is None else np.asarray(value).reshape(-1)[0].item()

    def ints(self, name: str, default: tuple[int, ...] = ()) -> list[int]:
        """A setting that is a list of whole numbers or truth values."""
        value = self.constants.get(name)
        return [int(v) for v in np.asarray(default if value is None else value).reshape(-1)]

    def text(self, name: str, default: str = "") -> str:
        """A setting that is a word."""
        value = self.constants.get(name)
        return default if value is None else str(value)


def constants_of(op: Any) -> dict[str, Any]:
    """What an op is given that the file alone tells."""
    found = {}
    for name, var in op.inputs.items():
        several = isinstance(var, list | tuple)
        value = None if var is None or several else constant(var)
        if value is not None:
            real = value.dtype.kind == "f"
            found[name] = torch.from_numpy(np.array(value, np.float32)) if real else value
    return found


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


def _pads(g: Given, sizes: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """What is added before and after each axis of an image, first axis first."""
    kind = g.text("pad_type", "valid")
    if kind == "custom":
        return g.ints("pad")
    pads = []
    for side, size, stride, dilation in zip(g().shape[2:], sizes, strides, dilations, strict=True):
        reach = (-(-side // stride) - 1) * stride + dilation * (size - 1) + 1
        whole = max(reach - side, 0) if kind.startswith("same") else 0
        less = whole // 2
        pads += [whole - less, less] if kind == "same_lower" else [less, whole - less]
    return pads


def _torch_order(pads: list[int]) -> list[int]:
    """As `F.pad` takes them, last axis first."""
    return [n for i in range(len(pads) - 2, -1, -2) for n in pads[i : i + 2]]


def _image(g: Given, pads: list[int], value: float = 0.0) -> tuple[Tensor, list[int]]:
    """The padded input and what is left to pad, the same on both sides of each axis."""
    if pads[::2] == pads[1::2] and (value == 0.0 or not any(pads)):
        return g(), pads[::2]
    return F.pad(g(), _torch_order(pads), value=value), [0] * (len(pads) // 2)


def _conv(g: Given) -> Tensor:
    weight = g("weight")
    n = weight.ndim - 2
    strides, dilations = g.ints("strides", (1,) * n), g.ints("dilations", (1,) * n)
    x, pads = _image(g, _pads(g, list(weight.shape[2:]), strides, dilations))
    run = (F.conv1d, F.conv2d, F.conv3d)[n - 1]
    groups = int(g.number("groups", 1))
    return run(x, weight, g("bias"), strides, pads, dilations, groups)


def _conv_transpose(g: Given) -> Tensor:
    weight = g("weight")
    n = weight.ndim - 2
    strides, dilations = g.ints("strides", (1,) * n), g.ints("dilations", (1,) * n)
    run = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]
    groups = int(g.number("groups", 1))
    whole = run(g(), weight, g("bias"), strides, 0, 0, groups, dilations)
    pads = g.ints("pad", (0,) * 2 * n) if g.text("pad_type", "valid") == "custom" else [0] * 2 * n
    told = g.ints("output_shape")[-n:]
    sides = told or [s - sum(pads[2 * i : 2 * i + 2]) for i, s in enumerate(whole.shape[2:])]
    for i, side in enumerate(sides):
        short = pads[2 * i] + side - whole.shape[2 + i]
        if short > 0:  # what no input reaches is the bias
            whole = F.pad(whole, [0, 0] * (n - 1 - i) + [0, short])
            if g("bias") is not None:
                end = whole.narrow(2 + i, whole.shape[2 + i] - short, short)
                end += g("bias").reshape(-1, *[1] * n)
        whole = whole.narrow(2 + i, pads[2 * i], side)
    return whole


def _pool(largest: bool) -> Kernel:
    def run(g: Given) -> Tensor:
        sizes = g.ints("kernel_sizes")
        n, strides = len(sizes), g.ints("strides") or [1] * len(sizes)
        pads, ceil = _pads(g, sizes, strides, [1] * n), bool(g.number("ceil_mode"))
        x, rest = _image(g, pads, -math.inf if largest else 0.0)
        if largest:
            most = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[n - 1]
            return most(x, sizes, strides, rest, ceil_mode=ceil)
        mean = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[n - 1]
        alone = bool(g.number("exclude_padding_from_average"))
        if rest == pads[::2] or not alone:
            return mean(x, sizes, strides, rest, ceil, not alone)
        inside = F.pad(torch.ones_like(g()), _torch_order(pads))
        return mean(x, sizes, strides, 0, ceil) / mean(inside, sizes, strides, 0, ceil)

    return run


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


def _gelu(g: Given) -> Tensor:
    mode = g.text("mode", "EXACT")
    if mode == "SIGMOID_APPROXIMATION":
        return g() * torch.sigmoid(1.702 * g())
    approximate = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}[mode]
    return F.gelu(g(), approximate=approximate)


def _matmul(g: Given) -> Tensor:
    x, y = (g(name).mT if g.number(f"transpose_{name}") else g(name) for name in ("x", "y"))
    return torch.matmul(x, y)


def _split(g: Given) -> tuple[Tensor, ...]:
    x, axis = g(), int(g.number("axis"))
    sizes = g.ints("split_sizes") or x.shape[axis] // int(g.number("num_splits"))
    return torch.split(x, sizes, axis)


def _squeeze(g: Given) -> Tensor:
    x = g()
    return x.squeeze(tuple(g.ints("axes"))) if g.ints("axes") else x.squeeze()


def _expand_dims(g: Given) -> Tensor:
    x, axes = g(), g.ints("axes")
    for axis in sorted(a % (x.ndim + len(axes)) for a in axes):
        x = x.unsqueeze(axis)
    return x


def _slice_by_index(g: Given) -> Tensor:
    x = g()
    ends = g.ints("end")
    strides = g.ints("stride", (1,) * x.ndim)
    masks = {n: g.ints(f"{n}_mask", (0,) * x.ndim) for n in ("begin", "end", "squeeze")}
    gone = 0
    for axis, begin in enumerate(g.ints("begin")):
        at, side = axis - gone, x.shape[axis - gone]
        if masks["squeeze"][axis]:
            x, gone = x.select(at, begin), gone + 1
            continue
        place = slice(
            None if masks["begin"][axis] else begin,
            None if masks["end"][axis] else ends[axis],
            strides[axis],
        )
        x = x.index_select(at, torch.tensor(range(side)[place], dtype=torch.long))
    return x


def _slice_by_size(g: Given) -> Tensor:
    x = g()
    for axis, (begin, size) in enumerate(zip(g.ints("begin"), g.ints("size"), strict=True)):
        x = x.narrow(axis, begin, x.shape[axis] - begin if size < 0 else size)
    return x


def _pad(g: Given) -> Tensor:
    mode = g.text("mode", "constant")
    pads = _torch_order(g.ints("pad"))
    if mode == "constant":
        return F.pad(g(), pads, value=g.number("constant_val"))
    return F.pad(g(), pads, {"reflect": "reflect", "replicate": "replicate"}[mode])


def _depth_to_space(g: Given) -> Tensor:
    n, (b, c, h, w) = int(g.number("block_size")), g().shape
    blocks = g().reshape(b, n, n, c // (n * n), h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(b, c // (n * n), h * n, w * n)


def _space_to_depth(g: Given) -> Tensor:
    n, (b, c, h, w) = int(g.number("block_size")), g().shape
    blocks = g().reshape(b, c, h // n, n, w // n, n).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(b, c * n * n, h // n, w // n)


def _upsample_bilinear(g: Given) -> Tensor:
    corners = bool(g.number("align_corners", 1))
    if bool(g.number("half_pixel_centers", not corners)) == corners:
        raise UserError("the evaluator doesn't know an upsampling with other corners")
    factors = [float(g.number(f"scale_factor_{side}", 1)) for side in ("height", "width")]
    return F.interpolate(g(), scale_factor=factors, mode="bilinear", align_corners=corners)


def _upsample_nearest(g: Given) -> Tensor:
    factors = [float(g.number(f"scale_factor_{side}", 1)) for side in ("height", "width")]
    return F.interpolate(g(), scale_factor=factors, mode="nearest")


def _resize_bilinear(g: Given) -> Tensor:
    size = [int(g.number(f"target_size_{side}", 1)) for side in ("height", "width")]
    mode = g.text("sampling_mode", "DEFAULT")
    corners = {"STRICT_ALIGN_CORNERS": True, "ALIGN_CORNERS": True, "UNALIGN_CORNERS": False}
    if mode not in corners:
        raise UserError(f"the evaluator doesn't know a resize with {mode}")
    return F.interpolate(g(), size=size, mode="bilinear", align_corners=corners[mode])


def _gather(g: Given) -> Tensor:
    indices = g("indices").long()
    axis = int(g.number("axis"))
    found = g().index_select(axis, indices.reshape(-1) % g().shape[axis])
    axis %= g().ndim
    return found.reshape(*g().shape[:axis], *indices.shape, *g().shape[axis + 1 :])


def _reverse(g: Given) -> Tensor:
    return g().flip(g.ints("axes") or list(range(g().ndim)))


def _concat(g: Given) -> Tensor:
    if g.number("interleave"):
        raise UserError("the evaluator doesn't know an interleaved concat")
    return torch.cat(g("values"), int(g.number("axis")))


# Ops whose result holds the input's values or codes: nothing to round.
MOVES = (
    "concat", "depth_to_space", "expand_dims", "gather", "identity", "pixel_shuffle",
    "pixel_unshuffle", "quantize", "reshape", "reverse", "slice_by_index", "slice_by_size",
    "space_to_depth", "split", "squeeze", "stack", "tile", "transpose",
)  # fmt: skip
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
    "avg_pool": _pool(False),
    "batch_norm": _batch_norm,
    "cast": _cast,
    "clip": lambda g: g().clamp(g.number("alpha"), g.number("beta")),
    "concat": _concat,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "cumsum": lambda g: g().cumsum(int(g.number("axis"))),
    "depth_to_space": _depth_to_space,
    "dequantize": _dequantize,
    "einsum": lambda g: torch.einsum(g.text("equation"), *g("values")),
    "elu": lambda g: F.elu(g(), g.number("alpha", 1.0)),
    "expand_dims": _expand_dims,
    "gather": _gather,
    "gelu": _gelu,
    "instance_norm": _instance_norm,
    "inverse": lambda g: 1 / (g() + g.number("epsilon", 1e-4)),
    "l2_norm": _l2_norm,
    "layer_norm": _layer_norm,
    "leaky_relu": lambda g: F.leaky_relu(g(), g.number("alpha", 0.01)),
    "linear": lambda g: F.linear(g(), g("weight"), g("bias")),
    "linear_activation": lambda g: g.number("alpha", 1.0) * g() + g.number("beta"),
    "local_response_norm": _local_response_norm,
    "log": lambda g: torch.log(g() + g.number("epsilon", 1e-45)),
    "matmul": _matmul,
    "max_pool": _pool(True),
    "pad": _pad,
    "pixel_shuffle": lambda g: F.pixel_shuffle(g(), int(g.number("upscale_factor"))),
    "pixel_unshuffle": lambda g: F.pixel_unshuffle(g(), int(g.number("downscale_factor"))),
    "prelu": lambda g: F.prelu(g(), g("alpha")),
    "quantize": _quantize,
    "reshape": lambda g: g().reshape(g.ints("shape")),
    "resize_bilinear": _resize_bilinear,
    "reverse": _reverse,
    "rsqrt": lambda g: torch.rsqrt(g() + g.number("epsilon", 1e-12)),
    "select": lambda g: torch.where(g("cond").bool(), g("a"), g("b")),
    "sigmoid_hard": lambda g: (g.number("alpha", 0.2) * g() + g.number("beta", 0.5)).clamp(0, 1),
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "softmax": lambda g: torch.softmax(g(), int(g.number("axis", -1))),
    "space_to_depth": _space_to_depth,
    "split": _split,
    "squeeze": _squeeze,
    "stack": lambda g: torch.stack(g("values"), int(g.number("axis"))),
    "threshold": lambda g: g().clamp(min=g.number("alpha", 1.0)),
    "thresholded_relu": lambda g: g() * (g() >= g.number("alpha", 1.0)),
    "tile": lambda g: g().tile(g.ints("reps")),
    "transpose": lambda g: g().permute(g.ints("perm")),
    "upsample_bilinear": _upsample_bilinear,
    "upsample_nearest_neighbor": _upsample_nearest,
}  # fmt: skip
