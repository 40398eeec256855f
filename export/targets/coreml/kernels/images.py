"""Ops over positions of an image: convolutions, pools, padding, resizes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from export.targets.coreml.kernels.given import Given, Kernel
from mobilemod.errors import UserError


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


def _pad(g: Given) -> Tensor:
    mode = g.text("mode", "constant")
    pads = _torch_order(g.ints("pad"))
    if mode == "constant":
        return F.pad(g(), pads, value=g.number("constant_val"))
    return F.pad(g(), pads, {"reflect": "reflect", "replicate": "replicate"}[mode])


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


KERNELS: dict[str, Kernel] = {
    "avg_pool": _pool(False),
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _pool(True),
    "pad": _pad,
    "resize_bilinear": _resize_bilinear,
    "upsample_bilinear": _upsample_bilinear,
    "upsample_nearest_neighbor": _upsample_nearest,
}
