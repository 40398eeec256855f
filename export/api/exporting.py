"""`mobilemod.export`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export.api.opening import open_network
from mobilemod.data.dataset import DataSet
from mobilemod.evaluation.runs import SCORES
from mobilemod.networks import registry
from mobilemod.targets import DEFAULTS

if TYPE_CHECKING:
    from torch import nn

    from mobilemod.results.outcomes.exported import Exported

MODEL = "efficientmod_xxs"  # where none is said
AnyPath = str | os.PathLike[str]


def export(
    out: AnyPath,
    *,
    model: str | None = None,
    network: str | nn.Module | None = None,
    checkpoint: AnyPath | None = None,
    data: AnyPath | DataSet | None = None,
    classes: AnyPath | None = None,
    targets: str | Sequence[str] = DEFAULTS,
    recipe: AnyPath | None = None,
    prepared: AnyPath | None = None,
    size: int | tuple[int, int] | None = None,
    fit: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    crop_fraction: float | None = None,
    interpolation: str | None = None,
    labels: AnyPath | Sequence[str] | None = None,
    author: str = "",
    license: str = "",
    answer: str = SCORES,
    check: bool = True,
) -> Exported:
    """Quantize a network to int8 and write it for every target, with its manifest, as a bundle.

    out: the bundle's folder, written whole or not at all; an older bundle there is replaced.
    model: one of ours by name, efficientmod_xxs without. network: any other, instead: a
    `torch.nn.Module` with its weights (a copy is taken), "package.module:function", or "hf:DIR" of
    a folder of Hugging Face's. checkpoint: weights; the bundled ones without. data: a folder with
    train/, whose images the ranges are observed on, and val/; without, the bundled table's ranges.
    classes: what says which class a folder of `data` is, or "sorted". targets: names, or names by
    commas. recipe: "cpu", "cpu-x86", "npu", "npu16", or a JSON file. prepared: folder of a
    training run for int8. size: pixels of the input's side, or (height, width). fit: "crop",
    "stretch" or "letterbox". Of `network` alone: mean, std, of each channel, of values from 0 to
    1; crop_fraction; interpolation; labels, the outputs' names, or a file of them. author,
    license: of the weights, for the files' own fields. answer: what files of a network of maps
    give, "scores" for each class at each pixel, or "classes", the map. check: compare each file
    with what it was lowered from.

    Raises `UserError` for bad input, a file that parts from its program, and where fewer
    multiply-accumulates are int8 than the recipe promises. What the arguments are called with
    dashes in messages are the command line's names of them.
    """
    if network is None:
        registry.module_of(model or MODEL)  # a misspelled name is told before frameworks load
    opened = open_network(
        network,
        model,
        _path(checkpoint),
        size=size,
        fit=fit,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
        crop_fraction=crop_fraction,
        interpolation=interpolation,
        labels=_labels(labels),
    )
    import torch

    from export.bundle import ExportConfig, export_bundle

    names = targets.split(",") if isinstance(targets, str) else targets
    config = ExportConfig(
        model=model or MODEL,
        network=opened,
        out=Path(out),
        checkpoint=_path(checkpoint),
        data=DataSet.given(data, None, classes),
        targets=tuple(filter(None, names)),
        recipe=None if recipe is None else os.fspath(recipe),
        size=size,
        fit=fit,
        answer=answer,
        check=check,
        trained=_path(prepared),
        author=author,
        license=license,
    )
    threads = torch.get_num_threads()
    try:
        return export_bundle(config)
    finally:
        torch.set_num_threads(threads)  # an export takes one; the caller may have more to do


def _path(given: AnyPath | None) -> Path | None:
    return None if given is None else Path(given)


def _labels(given: AnyPath | Sequence[str] | None) -> Path | tuple[str, ...] | None:
    if given is None or not isinstance(given, str | os.PathLike):
        return given if given is None else tuple(given)
    return Path(given)
