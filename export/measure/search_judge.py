"""What programs of a bundle lose on images: logits of many selections, over worker processes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from export.measure.sensitivity import Ready, Setup, get_ready
from mobilemod.data.imagefolder import (
    Damage,
    Damaged,
    ImageFolder,
    changed,
    read_batch,
    refuse,
)
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Drop, drop, top1
from mobilemod.evaluation.doubt import Reference
from mobilemod.files import atomic_path
from mobilemod.progress import progress
from quantization.calibration import cache_path
from quantization.sensitivity.effects import Effect, effect

BATCH = 8
CHUNK = 32  # programs per task
QUICK = 4  # a quick look is at every fourth batch

Selection = frozenset[str] | None
"""The tensors that are int8; None: the float network."""


@dataclass(frozen=True)
class Outcome:
    """Some programs on one batch: logits float32 (P, B, K) of the `kept` samples.

    digest: of these samples' pixels.
    """

    kept: list[int]
    damaged: list[Damaged]
    logits: np.ndarray
    digest: str = ""


class Judge:
    """What programs lose on one set of images, against the float network."""

    def __init__(self, pool: Executor, setup: Setup, images: ImageFolder, label: str):
        self.pool, self.setup, self.images, self.label = pool, setup, images, label
        self.starts = range(0, len(images.samples), BATCH)
        self._digests: dict[int, str] = {}
        outcomes = self._run([None], self.starts)
        damage = Damage(len(images.samples))
        for outcome in outcomes:
            damage.add(outcome.damaged)
        if damage.too_many:
            refuse(images, get_ready(setup).bundle.preprocess)
        self.damaged = dict(zip(damage.files, damage.reasons, strict=True))
        self.reference = {s: o.logits[0] for s, o in zip(self.starts, outcomes, strict=True)}
        self.targets = {
            s: images.targets[o.kept] for s, o in zip(self.starts, outcomes, strict=True)
        }
        if not self.count:
            raise UserError(f"{images.root}: no image can be read")

    @property
    def count(self) -> int:
        """How many images can be read."""
        return sum(map(len, self.targets.values()))

    def reference_accuracy(self) -> Reference:
        """The float network's own top-1 on these images."""
        logits, targets = (np.concatenate(list(d.values())) for d in (self.reference, self.targets))
        percent = 100.0 * float(top1(logits, targets).mean())
        return Reference(percent, len(targets), len(np.unique(targets)), logits.shape[1])

    def drop(self, selection: frozenset[str]) -> Drop:
        """The top-1 drop with its interval."""
        (logits,) = self._logits([selection], self.starts)
        return drop(*self._known(self.starts, logits))

    def effects(self, selections: list[frozenset[str]], quick: bool) -> list[Effect]:
        """What each program loses; quick: on every fourth batch."""
        starts = self.starts[::QUICK] if quick else self.starts
        if not selections:
            return []
        return [effect(*self._known(starts, x)) for x in self._logits(selections, starts)]

    def _known(self, starts: range, logits: np.ndarray) -> tuple[np.ndarray, ...]:
        reference, targets = (
            np.concatenate([d[s] for s in starts]) for d in (self.reference, self.targets)
        )
        return reference, logits, targets

    def _logits(self, selections: Sequence[Selection], starts: range) -> list[np.ndarray]:
        outcomes = self._run(selections, starts)
        return [np.concatenate([o.logits[i] for o in outcomes]) for i in range(len(selections))]

    def _run(self, selections: Sequence[Selection], starts: range) -> list[Outcome]:
        """All selections on each of these batches, in the images' order."""
        chunks = [selections[i : i + CHUNK] for i in range(0, len(selections), CHUNK)]
        tasks = {}
        for start in starts:
            end = min(start + BATCH, len(self.images.samples))
            batch = self.images.subset(list(range(start, end)))
            for i, chunk in enumerate(chunks):
                tasks[self.pool.submit(run_batch, self.setup, batch, start, chunk)] = (start, i)
        label = f"{self.label}, {len(selections)} program{'s'[: len(selections) != 1]}"
        done = {}
        for task in progress(as_completed(tasks), label, len(tasks), f"{BATCH} img"):
            start, _ = tasks[task]
            done[tasks[task]] = outcome = task.result()
            if self._digests.setdefault(start, outcome.digest) != outcome.digest:
                raise changed(self.images)
        joined = []
        for start in starts:
            parts = [done[start, i] for i in range(len(chunks))]
            logits = np.concatenate([p.logits for p in parts])
            joined.append(dataclasses.replace(parts[0], logits=logits))
        return joined


def run_batch(
    setup: Setup, images: ImageFolder, start: int, selections: Sequence[Selection]
) -> Outcome:
    """The programs of `selections` on one batch; their logits are cached by content."""
    ready = get_ready(setup)
    preprocess = ready.bundle.preprocess
    indices, pixels, damaged = read_batch(images, preprocess)
    kept = [start + i for i in indices]
    if not pixels:
        shape = (len(selections), 0, ready.bundle.manifest["num_classes"])
        return Outcome(kept, damaged, np.zeros(shape, np.float32))
    x = preprocess.normalize(np.stack(pixels))
    names = [None if s is None else sorted(s) for s in selections]
    digest = hashlib.sha256(x.tobytes()).hexdigest()
    key = f"{ready.digest} {names} {digest}"
    path = cache_path("search", key, ".npy")
    if path.exists():
        return Outcome(kept, damaged, np.load(path), digest)
    logits = run_programs(ready, selections, torch.from_numpy(x))
    with atomic_path(path) as temporary, temporary.open("wb") as f:
        np.save(f, logits)
    return Outcome(kept, damaged, logits, digest)


@torch.inference_mode()
def run_programs(ready: Ready, selections: Sequence[Selection], x: Tensor) -> np.ndarray:
    """Logits float32 (P, B, K) on images (B, 3, H, W), each run from the first layer it changes."""
    program = ready.program
    around = frozenset().union(*(s for s in selections if s is not None))
    program.select(around)
    inputs = [] if selections == [None] else program.inputs(x)
    logits = []
    for selection in selections:
        if selection is None:
            logits.append(ready.reference(x).numpy())
            continue
        changed = (program.position[t] for t in selection ^ around)
        start = min(changed, default=len(inputs) - 1)
        program.select(selection)
        logits.append(program.run(start, inputs[start]).numpy())
    return np.stack(logits)
