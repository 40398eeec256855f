"""Calibration: the range of every tensor of the mobile form, observed on training images."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mobilemod.data.imagefolder import Damage, ImageFolder, iter_pixels
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.files import atomic_path
from mobilemod.models.mobile import MobileForm
from mobilemod.models.mobile_ops import Tap
from mobilemod.progress import progress
from quantization.params import ACTIVATION_MAX, ACTIVATION_MIN

SCHEMA = "mobilemod/calibration/1"
BINS = 2048
BATCH = 4
SAMPLES = 4096
SHRINK_STEPS = np.linspace(1.0, 0.4, 31)


@dataclass(frozen=True)
class Observed:
    """Of one tensor: the extremes, and the range whose int8 grid has the least squared error."""

    low: float
    high: float
    mse_low: float
    mse_high: float

    def range(self, observer: str) -> tuple[float, float]:
        """(low, high) under "minmax" or "mse"."""
        return (self.low, self.high) if observer == "minmax" else (self.mse_low, self.mse_high)


@dataclass(frozen=True)
class Calibration:
    """What was observed: tensor name -> `Observed`, with the sha256 of weights and images."""

    weights: str
    images: str
    count: int
    observed: dict[str, Observed]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        tensors = {k: [v.low, v.high, v.mse_low, v.mse_high] for k, v in self.observed.items()}
        return {
            "schema": SCHEMA,
            "weights": self.weights,
            "images": self.images,
            "count": self.count,
            "columns": ["low", "high", "mse_low", "mse_high"],
            "tensors": tensors,
        }

    def save(self, path: Path) -> None:
        """Write as JSON, in one rename."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=1), "utf-8")


def load_calibration(path: Path) -> Calibration:
    """A saved calibration; `UserError` when the file isn't one."""
    try:
        values = json.loads(path.read_text("utf-8"))
        if values["schema"] != SCHEMA:
            raise ValueError("other schema")
        observed = {k: Observed(*v) for k, v in values["tensors"].items()}
        return Calibration(values["weights"], values["images"], values["count"], observed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no calibration table ({error}); delete it") from None


def weights_digest(state: dict[str, Tensor]) -> str:
    """sha256 over the names and values of a state dict."""
    h = hashlib.sha256()
    for name in sorted(state):
        h.update(name.encode() + b"\0")
        h.update(np.ascontiguousarray(state[name].detach().float().numpy()).tobytes())
    return h.hexdigest()


@torch.no_grad()
def observe(form: MobileForm, batches: Iterable[Tensor], count: int) -> dict[str, Observed]:
    """Run `count` batches of (B, 3, H, W) through `form`; every tap's extremes and best range.

    The extremes are of all values; the histogram behind the best range is of `SAMPLES` values a
    batch, evenly spaced.
    """
    taps = [m for m in form.modules() if isinstance(m, Tap) and m.source is None]
    extremes: dict[str, tuple[float, float]] = {}
    samples: dict[str, list[Tensor]] = {}

    def hook(module: Tap, args: tuple[Tensor, ...], x: Tensor) -> None:
        name = module.tensor
        low, high = (float(v) for v in torch.aminmax(x))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise UserError(f"calibration: tensor {name} is not finite; check the checkpoint")
        old = extremes.get(name, (low, high))
        extremes[name] = (min(low, old[0]), max(high, old[1]))
        flat = x.flatten()
        samples.setdefault(name, []).append(flat[:: max(1, len(flat) // SAMPLES)].clone())

    handles = [tap.register_forward_hook(hook) for tap in taps]
    try:
        for x in progress(batches, "calibration", count, f"{BATCH} img"):
            form(x)
    finally:
        for handle in handles:
            handle.remove()
    observed = {}
    for name, (low, high) in extremes.items():
        values = torch.cat(samples[name]).numpy()
        histogram, _ = np.histogram(values, BINS, (low, high))
        observed[name] = Observed(low, high, *mse_range(histogram, low, high))
    return observed


def mse_range(histogram: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """The shrunk (low, high) with the least expected squared error on an affine int8 grid.

    Clipping error from the histogram, rounding error as step^2 / 12; each end is shrunk on its
    own, high first. Source of the trade: Banner et al., NeurIPS 2019.
    """
    if high <= low or histogram.sum() == 0:
        return low, high
    edges = np.linspace(low, high, len(histogram) + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    weight = histogram / histogram.sum()

    def error(lo: float, hi: float) -> float:
        lo, hi = min(lo, 0.0), max(hi, 0.0)
        step = (hi - lo) / (ACTIVATION_MAX - ACTIVATION_MIN)
        clipped = np.clip(centres, lo, hi)
        inside = clipped == centres
        return float(
            (weight * (clipped - centres) ** 2).sum() + weight[inside].sum() * step**2 / 12
        )

    best = (low, high)
    for _ in range(2):
        if high > 0:
            best = min(((best[0], high * s) for s in SHRINK_STEPS), key=lambda r: error(*r))
        if low < 0:
            best = min(((low * s, best[1]) for s in SHRINK_STEPS), key=lambda r: error(*r))
    return best


def calibrate(
    form: MobileForm, weights: str, folder: ImageFolder, preprocess: Preprocess, count: int
) -> Calibration:
    """Observe `form` on `count` images spread over `folder`; cached by content hash."""
    chosen = folder.spread(count)
    images = hashlib.sha256(
        (chosen.digest() + json.dumps(preprocess.to_dict(), sort_keys=True)).encode()
    ).hexdigest()
    names = [m.tensor for m in form.modules() if isinstance(m, Tap)]
    parts = f"{SCHEMA} {weights} {images} {form.options} {names} {BINS} {SAMPLES}"
    key = hashlib.sha256(parts.encode()).hexdigest()
    cached = cache_dir() / f"calibration-{key[:32]}.json"
    if cached.exists():
        return load_calibration(cached)
    damage = Damage(len(chosen.samples))
    pixels = (p for _, p in iter_pixels(chosen, preprocess, damage))
    batches = (
        torch.from_numpy(preprocess.normalize(np.stack(group))) for group in _groups(pixels, BATCH)
    )
    observed = observe(form, batches, math.ceil(len(chosen.samples) / BATCH))
    used = len(chosen.samples) - len(damage.files)
    result = Calibration(weights, images, used, observed)
    result.save(cached)
    return result


def _groups(items: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    iterator = iter(items)
    while group := list(itertools.islice(iterator, size)):
        yield group


def cache_dir() -> Path:
    """`MOBILEMOD_CACHE`, or `mobilemod` under the user's cache folder."""
    given = os.environ.get("MOBILEMOD_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mobilemod"
