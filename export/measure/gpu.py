"""A bundle's files on a GPU of this machine, against the same files on the processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from export.measure.batches import Batch
from export.measure.validation import candidates, predict, read_validation_images
from export.targets.target import get_target
from mobilemod.data.dataset import DataSet
from mobilemod.data.imagefolder import read_batch
from mobilemod.errors import UserError
from mobilemod.manifest import load_bundle
from mobilemod.targets import TARGETS, suffixes_of

# A software GPU takes seconds for each.
IMAGES = 20


def check_gpu(folder: Path, data: Path | DataSet, limit: int | None = None) -> dict[str, Any]:
    """What a GPU makes of each file that it can run, as a validation record has it.

    On `IMAGES` of `data`'s validation images, spread over the classes; `limit`: or fewer. Raises
    `UserError` where no GPU is found, and where the bundle has nothing for one.
    """
    bundle = load_bundle(folder)
    able = [c for c in candidates(bundle) if c.target and get_target(c.target).has("gpu")]
    if not able:
        suffixes = " and ".join(suffixes_of(n for n in TARGETS if get_target(n).has("gpu")))
        raise UserError(f"{folder} has no file for a GPU: --gpu runs {suffixes} files")
    images = read_validation_images(bundle, data, min(IMAGES, limit or IMAGES))
    kept, pixels, _ = read_batch(images, bundle.preprocess)
    if not pixels:
        raise UserError(f"{folder}: none of the {len(images.samples)} images for --gpu can be read")
    x = Batch([images.name(i) for i in kept], pixels, bundle.preprocess).normalized()
    runs = [get_target(c.target).run_on_gpu(bundle.file(c.file), x) for c in able]
    processor = predict(bundle, images.subset(kept), able).predictions[None]
    files = []
    for candidate, run, expected in zip(able, runs, processor, strict=True):
        agreement = difference = None
        if run.outputs is not None:
            outputs = bundle.task.keep(run.outputs, len(bundle.label_names))
            agreement = bundle.task.agreement_percent(expected.outputs, outputs)
            if bundle.task.numeric:
                difference = float(np.abs(outputs - expected.outputs).max())
        files.append(
            {
                "file": candidate.file,
                "adapter": run.adapter,
                "runner": run.description,
                "whole": run.whole,
                "outside": dict(run.outside),
                "on_cpu": run.on_cpu,
                "agreement_percent": agreement,
                "max_difference": difference,
                "error": run.error,
            }
        )
    return {"images": len(x), "files": files}
