"""`mobilemod.compare`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobilemod.data.dataset import DataSet


def compare(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    data: str | os.PathLike[str] | DataSet | None = None,
    *,
    split: str | None = None,
    classes: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    timed: bool = False,
) -> dict[str, Any]:
    """Two bundles of the same classes, b against a: the record of `mobilemod compare --json`.

    Without data: sizes, audits, recipes, tools' versions and quantization tables. data: also both
    bundles' answers to the same images (of `split`; classes as of `mobilemod.export`; at most
    `limit`, spread over the classes), the drop paired image by image with its 95 % interval. timed:
    also the files' times in turns, on one thread of this machine.

    Raises `UserError` for bundles of other classes or tasks, or that aren't whole.
    """
    from export.comparing.record import compare_bundles
    from mobilemod.data.dataset import DataSet
    from mobilemod.manifest import load_bundle

    images = DataSet.given(data, split, classes)
    return compare_bundles(load_bundle(Path(a)), load_bundle(Path(b)), images, limit, timed)
