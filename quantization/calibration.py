"""Calibration: the range of every tensor of a form, observed on training images."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mobilemod.closure import code_digest
from mobilemod.data.imagefolder import Damage, FileContent, ImageFolder, iter_pixels
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.files import write_text
from mobilemod.forms.canonical import Canonical
from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import XNNPACK_FORM, Tap
from mobilemod.networks.reading.sets import is_counter
from mobilemod.progress import progress
from quantization.calibration_doubts import doubts
from quantization.hooks import forward_hooks, require_finite
from quantization.observers import OBSERVERS, Range, ranges

SCHEMA = "mobilemod/calibration/2"
# The form whose int8 tensors include all others': its ranges serve every form.
FORM, OPTIONS = "xnnpack", XNNPACK_FORM
BINS = 2048
BATCH = 4
SAMPLES = 4096


@dataclass(frozen=True)
class Observed:
    """Of one tensor: the range that each observer gives it, in the order of `OBSERVERS`."""

    ranges: tuple[Range, ...]

    @property
    def low(self) -> float:
        """The least value seen."""
        return self.range("minmax")[0]

    @property
    def high(self) -> float:
        """The largest value seen."""
        return self.range("minmax")[1]

    def range(self, observer: str) -> Range:
        """(low, high) under one of `OBSERVERS`."""
        return self.ranges[list(OBSERVERS).index(observer)]

    @classmethod
    def fixed(cls, low: float, high: float) -> Observed:
        """One range, whatever the observer: it was trained, or nothing was left to choose."""
        return cls(((float(low), float(high)),) * len(OBSERVERS))


@dataclass(frozen=True)
class Calibration:
    """What was observed: tensor name -> `Observed`, with the sha256 of weights and images.

    adjustments: what was done to the checkpoint's weights to get those observed, as JSON-ready
    values of `quantization.prepare.preparation.Adjustments`; empty for none. files: of the
    images, () where not known. doubts: why they may be the wrong ones, for people.
    """

    weights: str
    images: str
    count: int
    observed: dict[str, Observed]
    adjustments: dict[str, Any] = field(default_factory=dict)
    files: tuple[FileContent, ...] = ()
    doubts: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {
            "schema": SCHEMA,
            "weights": self.weights,
            "images": self.images,
            "count": self.count,
            "columns": list(OBSERVERS),
            "tensors": {k: [list(r) for r in v.ranges] for k, v in self.observed.items()},
            "adjustments": self.adjustments,
            "files": [list(f) for f in self.files],
            "doubts": list(self.doubts),
        }

    def save(self, path: Path) -> None:
        """Write as JSON, a tensor a line, in one rename."""
        values = self.to_dict()
        lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in values["tensors"].items()]
        tensors = "{\n" + ",\n".join(lines) + "\n }"
        rest = json.dumps({**values, "tensors": None, "files": None}, indent=1)
        rest = rest.replace('"tensors": null', f'"tensors": {tensors}')
        write_text(path, rest.replace('"files": null', f'"files": {json.dumps(values["files"])}'))


def load_calibration(path: Path) -> Calibration:
    """A saved calibration; `UserError` when the file isn't one."""
    try:
        values = json.loads(path.read_text("utf-8"))
        if values["schema"] != SCHEMA or values["columns"] != list(OBSERVERS):
            raise ValueError("other schema")
        observed = {
            k: Observed(tuple((float(low), float(high)) for low, high in v))
            for k, v in values["tensors"].items()
        }
        for name, found in observed.items():
            if not all(-math.inf < low <= high < math.inf for low, high in found.ranges):
                raise ValueError(f"{name} has no range")
        return Calibration(
            values["weights"],
            values["images"],
            values["count"],
            observed,
            values["adjustments"],
            tuple((int(size), str(digest)) for size, digest in values.get("files", ())),
            tuple(map(str, values.get("doubts", ()))),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no calibration table ({error}); delete it") from None


def weights_digest(state: dict[str, Tensor]) -> str:
    """sha256 over the names and values of a state dict, counters of batches apart."""
    h = hashlib.sha256()
    for name in sorted(n for n in state if not is_counter(n)):
        h.update(name.encode() + b"\0")
        h.update(np.ascontiguousarray(state[name].detach().float().numpy()).tobytes())
    return h.hexdigest()


@torch.no_grad()
def observe(form: Form, batches: Iterable[Tensor], count: int) -> dict[str, Observed]:
    """Run `count` batches of (B, 3, H, W) through `form`; every tap's ranges.

    The extremes are of all values; the histogram behind the other observers is of `SAMPLES`
    values a batch, evenly spaced.
    """
    taps = [m for m in form.modules()
            if isinstance(m, Tap) and m.source is None and m.role != "whole"]  # fmt: skip
    extremes: dict[str, tuple[float, float]] = {}
    samples: dict[str, list[Tensor]] = {}

    def hook(module: Tap, args: tuple[Tensor, ...], x: Tensor) -> None:
        name = module.tensor
        both = torch.stack(torch.aminmax(x))
        require_finite(name, both)
        low, high = both.tolist()
        old = extremes.get(name, (low, high))
        extremes[name] = (min(low, old[0]), max(high, old[1]))
        flat = x.flatten()
        samples.setdefault(name, []).append(flat[:: max(1, len(flat) // SAMPLES)].clone())

    with forward_hooks(taps, hook):
        for x in progress(batches, "calibration", count, f"{BATCH} img"):
            form(x)
    return {
        name: Observed(tuple(ranges(torch.cat(samples[name]).numpy(), low, high, BINS).values()))
        for name, (low, high) in extremes.items()
    }


@torch.no_grad()
def refuse_overflow(form: Form, x: Tensor) -> None:
    """`UserError` that names the first tensor of `form` that isn't finite for x (B, 3, H, W)."""
    taps = [m for m in form.modules() if isinstance(m, Tap)]
    with forward_hooks(taps, lambda tap, args, out: require_finite(tap.tensor, out)):
        form(x)


class CalibrationImages:
    """Preprocessed images of a folder, decoded once, at first need.

    digest: of the files and the preprocessing. steps: how many `batches` there are.
    """

    def __init__(self, folder: ImageFolder, preprocess: Preprocess):
        self.folder, self.preprocess = folder, preprocess
        text = folder.digest() + json.dumps(preprocess.to_dict(), sort_keys=True)
        self.digest = hashlib.sha256(text.encode()).hexdigest()
        self.steps = math.ceil(len(folder.samples) / BATCH)

    @functools.cached_property
    def pixels(self) -> np.ndarray:
        """uint8 (N, H, W, 3), without damaged images."""
        damage = Damage(len(self.folder.samples))
        return np.stack([p for _, p in iter_pixels(self.folder, self.preprocess, damage)])

    def batches(self) -> Iterator[Tensor]:
        """float32 (BATCH, 3, H, W), normalized, in channels-last memory: the faster one."""
        for start in range(0, len(self.pixels), BATCH):
            yield self._tensor(self.pixels[start : start + BATCH])

    def first(self, count: int) -> Tensor:
        """float32 (count, 3, H, W): images spread over all, as one batch."""
        chosen = np.linspace(0, len(self.pixels) - 1, min(count, len(self.pixels)))
        return self._tensor(self.pixels[np.unique(chosen.astype(int))])

    def _tensor(self, pixels: np.ndarray) -> Tensor:
        x = torch.from_numpy(self.preprocess.normalize(pixels))
        return x.contiguous(memory_format=torch.channels_last)


def calibrate(
    canonical: Canonical, folder: ImageFolder, preprocess: Preprocess, count: int
) -> Calibration:
    """Observe the form `OPTIONS` on `count` images spread over `folder`; cached by content."""
    images = CalibrationImages(folder.spread(count), preprocess)
    weights = weights_digest(canonical.state())
    decided = (SCHEMA, weights, canonical.structure, images.digest, BINS, SAMPLES)
    parts = " ".join(map(str, (*decided, code_digest(__name__), torch.__version__)))
    key = hashlib.sha256(parts.encode()).hexdigest()
    cached = cache_dir() / f"calibration-{key[:32]}.json"
    if cached.exists():
        return load_calibration(cached)
    result = calibrate_on(canonical.form(OPTIONS), weights, images)
    result.save(cached)
    return result


def calibrate_on(form: Form, weights: str, images: CalibrationImages) -> Calibration:
    """Observe `form`, whose weights' digest is `weights`, on all of `images`."""
    observed = observe(form, images.batches(), images.steps)
    files = images.folder.contents()
    said = doubts(images.pixels, [digest for _, digest in files])
    for line in said:
        print(f"calibration: {line}", file=sys.stderr, flush=True)
    count = len(images.pixels)
    return Calibration(weights, images.digest, count, observed, files=files, doubts=said)


def cache_dir() -> Path:
    """`MOBILEMOD_CACHE`, or `mobilemod` under the user's cache folder."""
    given = os.environ.get("MOBILEMOD_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mobilemod"


def cache_path(kind: str, key: str, suffix: str) -> Path:
    """Where the result of what `key` says in full lies in the cache, in the folder `kind`."""
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    return cache_dir() / kind / name[:2] / f"{name}{suffix}"
