"""`mobilemod.validate`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mobilemod import ranges
from mobilemod.data.dataset import DataSet
from mobilemod.errors import UserError

if TYPE_CHECKING:
    from mobilemod.results.outcomes.validated import Validation


def validate(
    bundle: str | os.PathLike[str],
    data: str | os.PathLike[str] | DataSet | None = None,
    *,
    split: str | None = None,
    classes: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    max_drop: float | None = None,
    max_upper: float | None = None,
    min_agreement: float | None = None,
    gpu: bool = False,
    runtime: str | None = None,
    audit_only: bool = False,
) -> Validation:
    """Run every file of a bundle, and the float network that it comes from, on the same images.

    The bundle's `report/` is written anew, and the figures go into its manifest. data: a folder
    with val/ (or `split`), one folder per class; of maps, of images and labels. classes: as of
    `mobilemod.export`. limit: at most so many images, spread over the classes. The gates: max_drop
    (0.5), points of the metric that an int8 file may lose; max_upper (1), the upper end of the
    drop's 95 % interval; min_agreement (99), percent, of int8 files with each other. gpu: also run
    the files that a GPU of this machine takes there. runtime: also run them in another runtime of
    this machine, by its package. audit_only: without images; what was measured before stays.

    A gate that fails is no error: see `Validation.passed`. Raises `UserError` for bad input: no
    images, a bundle that isn't whole, more than 1 % of the images damaged.
    """
    from export.measure.gpu import check_gpu
    from export.measure.validation import in_runtime, validate_bundle
    from mobilemod.manifest import load_bundle
    from mobilemod.results.gates import Gates

    limits = {"max_drop": max_drop, "max_upper": max_upper, "min_agreement": min_agreement}
    allowed = (ranges.POINTS, ranges.UPPER, ranges.PERCENT, ranges.IMAGES)
    for (name, value), known in zip([*limits.items(), ("limit", limit)], allowed, strict=True):
        if value is not None:
            known.check(name, value)
    said = {name: value for name, value in limits.items() if value is not None}
    gates = Gates(**said, sample=limit is not None)
    images = None if audit_only else DataSet.given(data, split, classes)
    if images is None:
        if not audit_only:
            raise UserError(
                "no images to measure on: give --data DIR (DATA=… with make), or --audit-only"
            )
        for option in (name for name, value in (("gpu", gpu), ("runtime", runtime)) if value):
            raise UserError(f"--{option} needs images: give --data DIR, and no --audit-only")
    folder, runtimes = Path(bundle), (runtime,) if runtime else ()
    for name in runtimes:
        in_runtime(load_bundle(folder), name)
    # First: whether there is a GPU shows at once, the rest takes long.
    checked = check_gpu(folder, images, limit) if gpu else None
    return validate_bundle(folder, images, gates, limit, checked, runtimes)
