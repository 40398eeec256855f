"""Which tensor costs accuracy: each one int8 alone, and each one float in the quantized program.

Both are measured on the outputs against the float network. A part that is bad alone is bad
whatever surrounds it; a part whose return to float gains much is worth keeping float.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from quantization.params import ACTIVATION_MAX, ACTIVATION_MIN, ParameterTable
from quantization.sensitivity.program import FIRST_CODE, SwitchedProgram, code_counts

if TYPE_CHECKING:
    # Passed in: what is measured here is kept by the code it imports, which no task is.
    from mobilemod.tasks.task import Task

PARTS = ("alone", "left_float")
GROUPINGS = ("module", "tensor")
MIN_FOR_NOISE = 8
NORMAL_MAD = 1.4826  # standard deviation of a normal variable over its median absolute deviation


@dataclass(frozen=True)
class Item:
    """What is switched at once.

    kind: "activation", "weight", "constant" or "module". tensors: of the table, in its order.
    position: the first layer that it changes, see `SwitchedProgram`.
    """

    name: str
    kind: str
    tensors: tuple[str, ...]
    position: int


@dataclass(frozen=True)
class Measured:
    """Outputs of one batch of B images.

    base: float32 (B, K), of the float network ("alone") or of the quantized program
    ("left_float"). outputs: float32 (I, B, K), one for each item. counts, power: of `code_counts`
    ("alone"; else empty).
    """

    base: np.ndarray
    outputs: np.ndarray
    counts: np.ndarray
    power: np.ndarray


@dataclass(frozen=True)
class Effect:
    """What outputs lost against the float network's, on the same images.

    sqnr_db: inf for the same outputs, NaN where some aren't finite. loss_change: of the mean
    of the task's `losses`. kl: its `divergence`. agreement: percent.
    """

    sqnr_db: float
    loss_change: float
    kl: float
    agreement: float


@dataclass(frozen=True)
class CodeUse:
    """How one activation of the float network fits its int8 range.

    sqnr_db: of the tensor itself, rounded. clipped_share: of its values outside the range, 0..1.
    used_codes: of 256. counts: int64 (CODE_BINS,), from FIRST_CODE on.
    """

    sqnr_db: float
    clipped_share: float
    used_codes: int
    counts: np.ndarray


@dataclass(frozen=True)
class Finding:
    """One item: quantized alone, and left float with all else quantized.

    gain_db: SQNR won over the quantized program by leaving it float. codes: of its activations.
    """

    item: Item
    alone: Effect
    left_float: Effect
    gain_db: float
    codes: dict[str, CodeUse]


@dataclass(frozen=True)
class Sensitivity:
    """All findings in network order, and what the whole quantized program loses.

    float_loss: mean cross-entropy of the float network, nats. labelled: whether the losses are
    against true targets; else against the float network's own answers. gain_noise_db: standard
    deviation of a gain that is none, see `_gain_noise`; None under `MIN_FOR_NOISE` images.
    """

    findings: tuple[Finding, ...]
    quantized: Effect
    float_loss: float
    labelled: bool
    gain_noise_db: float | None = None

    def worst_alone(self) -> list[Finding]:
        """The lowest SQNR alone first; outputs that aren't finite before all."""
        return sorted(self.findings, key=lambda f: _low_first(f.alone.sqnr_db))

    def worst_left_float(self) -> list[Finding]:
        """The largest gain first."""
        return sorted(self.findings, key=lambda f: -f.gain_db)


def _low_first(db: float) -> float:
    return -math.inf if math.isnan(db) else db


def make_items(
    program: SwitchedProgram, table: ParameterTable, by: str, modules: Collection[str]
) -> list[Item]:
    """The table's tensors, each for itself or by module, in network order.

    A tensor goes with those that share its parameters: they hold its values, moved or repeated.
    modules: the paths of the network's modules.
    """
    groups: dict[str, list[str]] = {}
    for name, entry in table.entries.items():
        key = entry.source or name
        if by == "module":
            key = published_module(key, modules)
        groups.setdefault(key, []).append(name)
    items = []
    for key, names in groups.items():
        kind = "module" if by == "module" else table.entries[names[0]].kind
        name = key if by == "module" or key in table.entries else names[0]
        items.append(Item(name, kind, tuple(names), min(program.position[n] for n in names)))
    return items


def published_module(tensor: str, modules: Collection[str]) -> str:
    """The module that a tensor belongs to: the longest path that there is."""
    path = tensor.partition(":")[0]
    while path not in modules and "." in path:
        path = path.rpartition(".")[0]
    return path


@torch.inference_mode()
def measure(program: SwitchedProgram, items: list[Item], x: Tensor, part: str) -> Measured:
    """The outputs of every item's variant of `part` (one of PARTS) on images x (B, 3, H, W).

    Each variant is run from the first layer that it changes.
    """
    counts, power = np.zeros((0, 0), np.int64), np.zeros((0, 2))
    if part == "alone":
        counts, power = code_counts(program, x)
    base = frozenset() if part == "alone" else frozenset(program.switches)
    program.select(base)
    inputs = program.inputs(x)
    whole = program.run(len(inputs) - 1, inputs[-1]).numpy()
    outputs = np.empty((len(items), *whole.shape), np.float32)
    for i, item in enumerate(items):
        program.select(base.symmetric_difference(item.tensors))
        outputs[i] = program.run(item.position, inputs[item.position]).numpy()
    return Measured(whole, outputs, counts, power)


def summarize(
    items: list[Item],
    taps: list[str],
    alone: list[Measured],
    left_float: list[Measured],
    targets: np.ndarray | None,
    task: Task,
) -> Sensitivity:
    """Findings from all batches' outputs, both lists over the same images in the same order.

    taps: tensors of the rows of `counts`. targets: (N, …), as the task has them, None where nobody
    knows. Raises `UserError` where the float network's own outputs aren't finite.
    """
    reference = np.concatenate([m.base for m in alone])
    if not np.isfinite(reference).all():
        raise UserError(f"the float network's {task.output} are not finite; check the checkpoint")
    whole = np.concatenate([m.base for m in left_float])
    against = task.own_targets(reference) if targets is None else np.asarray(targets)
    codes = _code_uses(taps, alone)
    quantized = effect(reference, whole, against, task)
    findings, differences = [], []
    for i, item in enumerate(items):
        one = effect(reference, np.concatenate([m.outputs[i] for m in alone]), against, task)
        outputs = np.concatenate([m.outputs[i] for m in left_float])
        rest = effect(reference, outputs, against, task)
        differences.append(_halves_differ_by(reference, whole, outputs))
        own = {t: codes[t] for t in item.tensors if t in codes}
        gain = _gain(quantized.sqnr_db, rest.sqnr_db)
        findings.append(Finding(item, one, rest, gain, own))
    loss = float(task.losses(reference, against).mean())
    noise = _gain_noise(differences) if len(reference) >= MIN_FOR_NOISE else None
    return Sensitivity(tuple(findings), quantized, loss, targets is not None, noise)


def effect(reference: np.ndarray, outputs: np.ndarray, targets: np.ndarray, task: Task) -> Effect:
    """What `outputs` lose against `reference`, both (N, …), with targets as the task has them."""
    change = task.losses(outputs, targets).mean() - task.losses(reference, targets).mean()
    kl = task.divergence(reference, outputs)
    db = sqnr_db(reference, outputs)
    return Effect(db, float(change), kl, task.agreement_percent(reference, outputs))


def _gain(before: float, now: float) -> float:
    """now - before in dB; from or to outputs that aren't finite it is without limit."""
    if before == now or (math.isnan(before) and math.isnan(now)):
        return 0.0
    return _low_first(now) - _low_first(before)


def _halves_differ_by(reference: np.ndarray, whole: np.ndarray, outputs: np.ndarray) -> float:
    """An item's gain on every other image less its gain on the rest, dB."""
    first, second = (
        _gain(sqnr_db(reference[h], whole[h]), sqnr_db(reference[h], outputs[h]))
        for h in (slice(0, None, 2), slice(1, None, 2))
    )
    return first - second


def _gain_noise(differences: list[float]) -> float | None:
    """Standard deviation of a gain over all images, from the differences between halves of them.

    By the median, which a few items of true gain don't move. Rounding anywhere moves the rounding
    of all that follows, so that even an item that costs nothing seems to gain or lose a little.
    """
    known = [abs(d) for d in differences if math.isfinite(d)]
    return NORMAL_MAD * float(np.median(known)) / 2 if known else None


def _code_uses(taps: list[str], measured: list[Measured]) -> dict[str, CodeUse]:
    counts = sum(m.counts for m in measured)
    power = sum(m.power for m in measured)
    inside = slice(ACTIVATION_MIN - FIRST_CODE, ACTIVATION_MAX - FIRST_CODE + 1)
    uses = {}
    for name, row, (signal, noise) in zip(taps, counts, power, strict=True):
        db = 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else math.inf
        clipped = 1 - row[inside].sum() / row.sum()
        uses[name] = CodeUse(db, float(clipped), int((row[inside] > 0).sum()), row)
    return uses
