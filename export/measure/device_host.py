"""What this machine answers, for the harness to hold a device's answers against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.measure.validation import candidates, predict
from export.quiet import quiet
from export.targets.base import Runner
from export.targets.target import get_target
from mobilemod.data.imagefolder import ImageFolder
from mobilemod.errors import UserError
from mobilemod.harness.record.host_side import HostAnswers
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
        return HostAnswers(
            tuple(names), reference, {p.file: p.outputs for p in predictions if p.file is not None}
        )

    def run(self, file: str, x: np.ndarray) -> np.ndarray:
        """float32 outputs (N, K) of one file on x, float32 (N, 3, H, W)."""
        if file not in self._runners:
            entry = self._bundle.model_file(file)
            with quiet():
                runner = get_target(entry.target).load(self._bundle.folder / file)
            self._runners[file] = runner
        return self._runners[file].run_many(x)
