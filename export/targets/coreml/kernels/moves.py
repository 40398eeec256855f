"""Ops whose result holds values of the input, elsewhere."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from export.targets.coreml.kernels.given import Given, Kernel
from mobilemod.errors import UserError


def _concat(g: Given) -> Tensor:
    if g.number("interleave"):
        raise UserError("the evaluator doesn't know an interleaved concat")
    return torch.cat(g("values"), int(g.number("axis")))


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


def _depth_to_space(g: Given) -> Tensor:
    n, (b, c, h, w) = int(g.number("block_size")), g().shape
    blocks = g().reshape(b, n, n, c // (n * n), h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(b, c // (n * n), h * n, w * n)


def _space_to_depth(g: Given) -> Tensor:
    n, (b, c, h, w) = int(g.number("block_size")), g().shape
    blocks = g().reshape(b, c, h // n, n, w // n, n).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(b, c * n * n, h // n, w // n)


def _gather(g: Given) -> Tensor:
    indices = g("indices").long()
    axis = int(g.number("axis"))
    found = g().index_select(axis, indices.reshape(-1) % g().shape[axis])
    axis %= g().ndim
    return found.reshape(*g().shape[:axis], *indices.shape, *g().shape[axis + 1 :])


def _reverse(g: Given) -> Tensor:
    return g().flip(g.ints("axes") or list(range(g().ndim)))


KERNELS: dict[str, Kernel] = {
    "concat": _concat,
    "depth_to_space": _depth_to_space,
    "expand_dims": _expand_dims,
    "gather": _gather,
    "pixel_shuffle": lambda g: F.pixel_shuffle(g(), int(g.number("upscale_factor"))),
    "pixel_unshuffle": lambda g: F.pixel_unshuffle(g(), int(g.number("downscale_factor"))),
    "reshape": lambda g: g().reshape(g.ints("shape")),
    "reverse": _reverse,
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "space_to_depth": _space_to_depth,
    "split": _split,
    "squeeze": _squeeze,
    "stack": lambda g: torch.stack(g("values"), int(g.number("axis"))),
    "tile": lambda g: g().tile(g.ints("reps")),
    "transpose": lambda g: g().permute(g.ints("perm")),
}
