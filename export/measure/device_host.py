"""What this machine answers, for the harness to hold a device's answers against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.bundle_parts import OpenedBundle
from export.diff.parting import NotNamed, first_parting
from export.measure.validation import candidates, predict
from export.quiet import quiet
from export.targets.base import Runner
from export.targets.target import get_target
from mobilemod.data.imagefolder import ImageFolder
from mobilemod.errors import UserError
from mobilemod.harness.record.host_side import HostAnswers
from mobilemod.harness.worker.runtimes import delegates_of
from mobilemod.manifest import Bundle


class BundleHost:
    """A bundle's float network and model files on this machine, on the images of a job."""

    def __init__(self, bundle: Bundle, images: ImageFolder | None):
        self._bundle, self._images = bundle, images
        self._runners: dict[str, Runner] = {}

    def answers(self, files: Sequence[str]) -> HostAnswers:
        """Outputs on every readable image, cached by content; see `predict`."""
        if self._images is None:
            raise UserError("there are no images to answer on")
        wanted = [
            c for c in candidates(self._bundle) if c.role == "reference" or c.file in set(files)
        ]
        found = predict(self._bundle, self._images, wanted)
        predictions = found.predictions[None]
        reference = next(p.outputs for p in predictions if p.role == "reference")
        names = [self._images.name(i) for i in found.kept]
        files = {p.file: p.outputs for p in predictions if p.file is not None}
        task, targets = self._bundle.task, None
        if task.maps:
            targets = task.targets(self._images, found.kept, self._bundle.preprocess)
        return HostAnswers(tuple(names), reference, files, targets)

    def run(self, file: str, x: np.ndarray) -> np.ndarray:
        """float32 outputs (N, K, …) of one file on x, float32 (N, 3, H, W)."""
        if file not in self._runners:
            entry = self._bundle.model_file(file)
            with quiet():
                runner = get_target(entry.target).load(self._bundle.folder / file)
            self._runners[file] = runner
        return self._runners[file].run_many(x)

    def parts_at(self, file: str, delegate: str, x: np.ndarray) -> str | None:
        """As `HostSide.parts_at`; an op at a time, each given the inputs of what it was lowered
        from, so that the one that is wrong is found and not what follows from it."""
        entry, opened = self._bundle.model_file(file), OpenedBundle(self._bundle)
        target, int8 = get_target(entry.target), entry.precision == "int8"
        # What parts in float16 and what is rounding can't be told apart by the same limits.
        if target.facts.twin != "float32":
            return None
        unit = delegate if delegate in delegates_of(entry.target)[1:] else None
        name, path = target.facts.form, self._bundle.folder / file
        try:
            form = opened.mobile(name, int8)
            program = opened.program(name) if int8 else form
            return first_parting(target, path, form, program, x, unit)
        except (NotNamed, UserError):
            return None
