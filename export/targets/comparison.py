"""A lowered file's outputs beside those of the program it came from, whatever the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.evaluation.runs import map_of

# Of a float file, the farthest output from the program's as a share of the largest one. Right
# files of EfficientMod show 4e-7 on photographs and on the drawn card, tiny ones 8e-6; a tanh
# GELU that was lowered as an exact one shows 2e-4.
MAX_FLOAT_ERROR = 1e-4
# An int8 file and its program round alike but for ties, and one flipped rounding flips others.
# How far that spreads is the network's, so the program itself tells: its outputs on inputs that
# differ by NOISE. Right files of EfficientMod stand at 36.7 dB where the program's noise stands
# at 35.5 to 38.9 (one image alone: 34 and 31); a softmax over another axis at -7.
NOISE = 1e-6
DRAWS = 3
MAX_LOSS_DB = 10.0
# Where a network hardly spreads its flips, this much is enough.
ENOUGH_DB = 30.0


class Parting(UserError):
    """A file that doesn't compute what its program does; how: by how much, in words. runs: whether
    it runs at all."""

    def __init__(self, path: Path, how: str, runs: bool = True):
        super().__init__(f"{path}: the file doesn't compute what its program does: {how}")
        self.how, self.runs = how, runs


def compare_outputs(path: Path, program: nn.Module, images: np.ndarray, found: np.ndarray) -> None:
    """`Parting` where `found`, float32 (N, …), aren't what `program` makes of `images`.

    images: float32 (N, 3, H, W), normalized. Maps of classes, uint8 (N, h, w), are held to those
    that the program gives, or that its scores decide: all of their pixels.
    """
    if found.dtype == np.uint8:
        compare_maps(path, outputs(program, images), found)
        return
    expected, shaken = references(program, images)
    if found.size != expected.size:
        raise Parting(path, f"{found[0].size} outputs, not {expected[0].size}")
    how = how_they_part(expected, found.reshape(expected.shape), shaken)
    if how is not None:
        raise Parting(path, how)


def compare_maps(path: Path, expected: np.ndarray, found: np.ndarray) -> None:
    """`Parting` where a pixel of the maps `found`, uint8 (N, h, w), has another class than the
    largest of `expected`, float32 (N, K, h, w), the lower of equals."""
    maps = np.stack([map_of(one) for one in expected])
    if maps.shape != found.shape:
        raise Parting(path, f"maps {found.shape[1:]}, not {maps.shape[1:]}")
    if differing := int((maps != found).sum()):
        how = f"{differing:,} of {maps.size:,} pixels have another class than its largest score"
        raise Parting(path, how)


def how_they_part(expected: np.ndarray, found: np.ndarray, shaken: list[np.ndarray]) -> str | None:
    """By how much values part, in words, None where they don't; all as `references` makes them."""
    if shaken:
        wanted = min(ENOUGH_DB, *(sqnr_db(expected, s) for s in shaken)) - MAX_LOSS_DB
        decibel = sqnr_db(expected, found)
        return None if decibel >= wanted else f"SQNR {decibel:.1f} dB, {wanted:.1f} dB wanted"
    error = float(np.abs(found - expected).max())
    largest = max(float(np.abs(expected).max()), float(np.finfo(np.float32).tiny))
    if error <= MAX_FLOAT_ERROR * largest:
        return None
    share = f"{error / largest:.1e} of the largest, {MAX_FLOAT_ERROR:.0e} allowed"
    return f"outputs off by up to {share}"


def references(program: nn.Module, images: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The outputs of `program` on `images`, and where it rounds to codes those on images with a
    little noise: float32 (N, …) each."""
    with _Rounding() as rounding:
        expected = outputs(program, images)
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal(images.shape, np.float32) for _ in range(DRAWS * rounding.seen))
    return expected, [outputs(program, images * (1 + np.float32(NOISE) * n)) for n in noise]


def outputs(program: nn.Module, images: np.ndarray) -> np.ndarray:
    """float32 (N, …) of the program, an image at a time as the files take them."""
    with torch.no_grad():
        return np.concatenate([program(x[None]).numpy() for x in torch.from_numpy(images)])


class _Rounding(TorchDispatchMode):
    """Whether what runs within quantizes."""

    seen = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen |= func.namespace == "quantized_decomposed"
        return func(*args, **(kwargs or {}))
