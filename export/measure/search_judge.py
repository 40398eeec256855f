"""What programs of a bundle lose on images: outputs of many selections, over worker processes."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np
import torch
from torch import Tensor

from export.bundle_parts import open_bundle
from export.measure.batches import Batch, Joined, cached, over_batches
from export.measure.sensitivity import Ready, Setup, get_ready
from mobilemod.data.imagefolder import ImageFolder
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Drop
from mobilemod.tasks.task import Reference
from quantization.calibration import cache_path
from quantization.sensitivity.effects import Effect, effect

BATCH = 8
CHUNK = 32  # programs per task
QUICK = 4  # a quick look is at every fourth batch

Selection = frozenset[str] | None
"""The tensors that are int8; None: the float network."""


class Judge:
    """What programs lose on one set of images, against the float network."""

    def __init__(self, pool: Executor, setup: Setup, images: ImageFolder, label: str):
        self.pool, self.setup, self.images, self.label = pool, setup, images, label
        self.starts = range(0, len(images.samples), BATCH)
        self._digests: dict[int, str] = {}
        bundle = open_bundle(setup.bundle).bundle
        self.task = bundle.task
        joined, (outputs,) = self._run([None], self.starts)
        self.damaged = dict(zip(joined.damage.files, joined.damage.reasons, strict=True))
        targets = [self.task.targets(images, kept, bundle.preprocess) for kept in joined.kept]
        self.reference = dict(zip(joined.starts, outputs, strict=True))
        self.targets = dict(zip(joined.starts, targets, strict=True))
        if not self.count:
            raise UserError(f"{images.root}: no image can be read")

    @property
    def count(self) -> int:
        """How many images can be read."""
        return sum(map(len, self.targets.values()))

    def reference_accuracy(self) -> Reference | None:
        """The float network's own accuracy on these images."""
        both = (np.concatenate(list(d.values())) for d in (self.reference, self.targets))
        return self.task.reference(*both)

    def drop(self, selection: frozenset[str]) -> Drop:
        """The drop with its interval."""
        (known,) = self._known([selection], self.starts)
        return self.task.drop(*known)

    def effects(self, selections: list[frozenset[str]], quick: bool) -> list[Effect]:
        """What each program loses; quick: on every fourth batch."""
        starts = self.starts[::QUICK] if quick else self.starts
        if not selections:
            return []
        return [effect(*known, self.task) for known in self._known(selections, starts)]

    def _known(
        self, selections: Sequence[Selection], starts: range
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Of each selection: the reference's outputs, its own, and the targets."""
        joined, found = self._run(selections, starts)
        reference, targets = (
            np.concatenate([d[s] for s in joined.starts]) for d in (self.reference, self.targets)
        )
        return [(reference, np.concatenate(own), targets) for own in found]

    def _run(
        self, selections: Sequence[Selection], starts: range
    ) -> tuple[Joined[np.ndarray], list[list[np.ndarray]]]:
        """All selections on these batches, and by selection each batch's outputs (B, K)."""
        chunks = [selections[i : i + CHUNK] for i in range(0, len(selections), CHUNK)]
        joined = over_batches(
            self.pool,
            self.images,
            open_bundle(self.setup.bundle).bundle.preprocess,
            BATCH,
            functools.partial(run_selections, self.setup),
            chunks,
            f"{self.label}, {len(selections)} program{'s'[: len(selections) != 1]}",
            starts,
            self._digests,
        )
        found = [
            [outputs[i] for outputs in batches]
            for chunk, batches in zip(chunks, joined.values, strict=True)
            for i in range(len(chunk))
        ]
        return joined, found


def run_selections(setup: Setup, batch: Batch, selections: Sequence[Selection]) -> np.ndarray:
    """Outputs float32 (P, B, K) of the programs of `selections`, cached by content."""
    ready = get_ready(setup)
    x = batch.normalized()
    names = [None if s is None else sorted(s) for s in selections]
    key = f"{ready.digest} {names} {hashlib.sha256(x.tobytes()).hexdigest()}"
    make = functools.partial(run_programs, ready, selections, torch.from_numpy(x))
    return cached(cache_path("search", key, ".npy"), make)


@torch.inference_mode()
def run_programs(ready: Ready, selections: Sequence[Selection], x: Tensor) -> np.ndarray:
    """Outputs float32 (P, B, K) on images (B, 3, H, W), each from the first layer it changes."""
    program = ready.program
    around = frozenset().union(*(s for s in selections if s is not None))
    program.select(around)
    inputs = [] if selections == [None] else program.inputs(x)
    outputs = []
    for selection in selections:
        if selection is None:
            outputs.append(ready.opened.reference(x).numpy())
            continue
        changed = (program.position[t] for t in selection ^ around)
        start = min(changed, default=len(inputs) - 1)
        program.select(selection)
        outputs.append(program.run(start, inputs[start]).numpy())
    return np.stack(outputs)
