"""`mobilemod.compare`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilemod.errors import UserError

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
    """Two bundles of the same classes, or two records of the same images, b against a: the record
    of `mobilemod compare --json`.

    Bundles, without data: sizes, audits, recipes, tools' versions and quantization tables. data:
    also both bundles' answers to the same images (of `split`; classes as of `mobilemod.export`; at
    most `limit`, spread over the classes), the drop paired image by image with its 95 % interval.
    timed: also the files' times in turns, on one thread of this machine.

    Records, by path: two `validation.json`, or two of `validate --device`. Sizes, recipes, tools
    and latency as they hold them, and accuracy paired image by image; nothing is run, and nothing
    else is given.

    Raises `UserError` for bundles or records of other classes or tasks, records of other images or
    changed ones, and bundles that aren't whole.
    """
    a, b = Path(a), Path(b)
    if are_records(a, b):
        given = {"data": data, "split": split, "classes": classes, "limit": limit, "timed": timed}
        for name in (name for name, value in given.items() if value):
            raise UserError(f"{name} goes with bundles; records hold what was measured")
        from export.comparing.records import compare_records

        return compare_records(a, b)
    from export.comparing.record import compare_bundles
    from mobilemod.data.dataset import DataSet
    from mobilemod.manifest import load_bundle

    images = DataSet.given(data, split, classes)
    return compare_bundles(load_bundle(a), load_bundle(b), images, limit, timed)


def are_records(a: Path, b: Path) -> bool:
    """Whether both are files, which stand for records; `UserError` where one alone is."""
    if a.is_file() != b.is_file():
        raise UserError(f"{a} and {b}: one is a file, one isn't; give two bundles or two records")
    return a.is_file()
