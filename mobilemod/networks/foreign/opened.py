"""What is known of a network that a user brings, and what the user says of it."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from mobilemod.data.imagefolder import class_names
from mobilemod.data.preprocess import Preprocess, Size, sides_of
from mobilemod.files import file_sha256
from mobilemod.networks.foreign.labels import given_labels
from mobilemod.networks.foreign.probe import Grey, as_network, channels_of, wrong
from mobilemod.ranges import SIDE, Range
from mobilemod.tasks import DEFAULT, get_task

if TYPE_CHECKING:
    from mobilemod.tasks.task import Name

# As a bundle's manifest holds them.
MEAN, STD, PART = Range(-1000, 1000), Range(1e-6, 1e6), Range(0.05, 1)


@dataclass(frozen=True)
class Asked:
    """What a user says of a network; None where nothing is said.

    size, crop_fraction, interpolation, fit: as of `Preprocess`. mean, std: of each channel, of
    values from 0 to 1. labels: the outputs' names, or a file of them. `UserError` for numbers out
    of range.
    """

    size: Size | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop_fraction: float | None = None
    interpolation: str | None = None
    fit: str | None = None
    labels: Path | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for option, allowed, values in (
            ("size", SIDE, () if self.size is None else sides_of(self.size)),
            ("crop-fraction", PART, (self.crop_fraction,)),
            ("mean", MEAN, self.mean or ()),
            ("std", STD, self.std or ()),
        ):
            for value in values:
                if value is not None:
                    allowed.check(f"--{option}", value)

    @property
    def whole(self) -> bool:
        """Whether no preprocessing has to be told besides."""
        return None not in (self.size, self.mean, self.std)

    def preprocess(
        self, told: Preprocess | None, channels: int, source: str, whole: bool
    ) -> tuple[Preprocess, tuple[str, ...]]:
        """`told` with what is said here in its place, and what was assumed, for people.

        told: None where the network's files say nothing. whole: an image is stretched rather than
        cropped, where nobody says. `UserError` where `mean` and `std` aren't one for each of the
        network's channels.
        """
        said = {k: getattr(self, k) for k in ("size", "crop_fraction", "interpolation", "fit")}
        for option in ("mean", "std"):
            values = getattr(self, option)
            if values is not None and len(values) != channels:
                count = f"{channels} channel{'s' if channels > 1 else ''}"
                raise wrong(source, f"--{option} has {len(values)} numbers for {count}")
            if values is None and told is None and channels == 1:
                raise wrong(source, f"takes grey images, of which no --{option} is known; give one")
            said[option] = values and tuple(values) * (3 // channels)
        # An image that isn't to be cropped is seen whole, where nothing else is said.
        fit = self.fit or ("stretch" if whole else "crop")
        base = told or Preprocess(fit=fit, **({} if fit == "crop" else {"crop_fraction": 1.0}))
        missing = [k for k, value in said.items() if value is None] if told is None else []
        assumed = ", ".join(f"{k} {getattr(base, k)}" for k in missing)
        notes = (f"assumed, as nothing is said: {assumed}",) if assumed else ()
        return dataclasses.replace(base, **{k: v for k, v in said.items() if v is not None}), notes


@dataclass(frozen=True)
class Opened:
    """A network ready to be compiled.

    name: for files, of a-z, 0-9 and "_". module: in eval mode, float32, on the CPU, without
    gradients: float (B, 3, H, W), normalized as `preprocess` says -> logits, float (B,
    num_classes), or (B, num_classes, h, w) of a task with maps, a plain tensor. labels: the
    outputs' names in order, () where nobody told them. source: what was given, for people
    ("hf:DIR", "module:function"). files: of the weights and of what says how they are used, with
    their sha256. task: of `mobilemod.tasks`. weights: which of a checkpoint's were taken, for
    people. notes: what isn't exactly as the network's own files have it, or is to be known of its
    data, for people.
    """

    name: str
    module: nn.Module
    num_classes: int
    preprocess: Preprocess
    labels: tuple[Name, ...]
    source: str
    files: tuple[tuple[Path, str], ...]
    task: str = DEFAULT
    weights: str = ""
    notes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(1, channels, height, width)."""
        return (1, *self.preprocess.shape)


def open_module(
    name: str,
    module: nn.Module,
    source: str,
    asked: Asked,
    files: tuple[Path, ...],
    told: Preprocess | None = None,
    labels: tuple[Name, ...] = (),
    weights: str = "",
    notes: tuple[str, ...] = (),
    task: str = DEFAULT,
) -> Opened:
    """The record of a module with its weights; told: the preprocessing that its files say.

    `UserError` for a module that doesn't give what `task` takes, for weights that aren't finite,
    and where what is said doesn't fit it.
    """
    for key, value in module.state_dict().items():
        if value.is_meta:
            raise wrong(
                source, f"{key!r} has no values (device meta); give the network its weights"
            )
    module = module.cpu().float().eval().requires_grad_(False)
    for key, value in module.state_dict().items():
        if not torch.isfinite(value).all():
            raise wrong(source, f"{key!r} holds values that are not finite; give other weights")
    channels, of = channels_of(module, source), get_task(task)
    preprocess, assumed = asked.preprocess(told, channels, source, of.maps)
    module, classes = as_network(module, channels, preprocess.sides, source, of)
    if channels == 1:
        module = Grey(module).eval().requires_grad_(False)
        notes += ("takes grey images: colours are weighed into grey inside the network",)
    if asked.labels is not None:
        labels = class_names(given_labels(asked.labels, classes))
    return Opened(
        re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "network",
        module,
        classes,
        preprocess,
        labels,
        source,
        tuple((path, file_sha256(path)) for path in files),
        task=task,
        weights=weights,
        notes=notes + assumed,
    )
