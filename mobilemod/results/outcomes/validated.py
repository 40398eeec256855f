"""What a validation found: its record, typed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilemod.evaluation.accuracy import Drop
from mobilemod.results.verdict import Verdict, overall
from mobilemod.tasks import task_of
from mobilemod.tasks.task import Task

WORDS = ("name", "role", "file", "runner", "bytes", "non_finite")  # an entry's, beside its figures


@dataclass(frozen=True)
class Measured:
    """One model on all images.

    name: unique, for example "tflite int8". role: "reference" (torch float), "program" (the
    quantized program in torch), "int8" or "float" (a file). file: its name in the bundle; runner:
    what ran it; bytes: its size. figures: every metric of the task by its key, such as
    "top1_percent". non_finite: images with an output that isn't finite. drop: against the
    reference; None of the reference itself.
    """

    name: str
    role: str
    file: str | None
    runner: str | None
    bytes: int | None
    figures: Mapping[str, float]
    non_finite: int
    drop: Drop | None

    @classmethod
    def of(cls, entry: Mapping[str, Any], task: Task) -> Measured:
        """From a record's entry."""
        figures = {metric.key: entry[metric.key] for metric in task.metrics}
        drop = None if entry["drop"] is None else Drop(**entry["drop"])
        return cls(**{key: entry[key] for key in WORDS}, figures=figures, drop=drop)

    def to_dict(self) -> dict[str, Any]:
        """A record's entry."""
        found: dict[str, Any] = {}
        for key, value in dataclasses.asdict(self).items():
            found |= value if key == "figures" else {key: value}
        return found


@dataclass(frozen=True)
class Pair:
    """Two models against each other.

    percent: of the images, or of the pixels, on which they answer alike. sqnr_db: of all their
    outputs, None where these are identical, not finite, or codes of classes.
    """

    reference: str
    other: str
    percent: float
    sqnr_db: float | None
    identical: bool

    @classmethod
    def of(cls, entry: Mapping[str, Any], task: Task) -> Pair:
        """From a record's entry."""
        rest = {key: entry[key] for key in ("reference", "other", "sqnr_db", "identical")}
        return cls(percent=entry[task.agreement.key], **rest)

    def to_dict(self, task: Task) -> dict[str, Any]:
        """A record's entry."""
        values = dataclasses.asdict(self)
        return {task.agreement.key if k == "percent" else k: v for k, v in values.items()}


@dataclass(frozen=True)
class Validation:
    """A bundle, measured.

    measured: whether any image was run; without, all that follows is empty. images: how many.
    models: all that were run, the float network first. pairs: each two of them. gates: the limits'
    outcomes. report: the page for people. record: all of it, as docs/results-schema.md has it.
    """

    measured: bool
    images: int
    models: tuple[Measured, ...]
    pairs: tuple[Pair, ...]
    gates: tuple[Verdict, ...]
    report: Path
    record: Mapping[str, Any]

    @classmethod
    def of(cls, record: Mapping[str, Any], report: Path) -> Validation:
        """Of a record that is right (`validate_record`)."""
        task = task_of(record)
        return cls(
            record["measured"],
            record["data"]["images"],
            tuple(Measured.of(entry, task) for entry in record["predictions"]),
            tuple(Pair.of(entry, task) for entry in record["agreement"]),
            tuple(Verdict.of(entry) for entry in record["verdicts"] or ()),
            report,
            record,
        )

    @property
    def state(self) -> str:
        """ "pass", "fail", or "undecided" where no gate failed and not every one is decided."""
        return overall([verdict.to_dict() for verdict in self.gates])

    @property
    def passed(self) -> bool:
        """Whether images were measured and every gate passed."""
        return self.measured and all(verdict.passed for verdict in self.gates)

    @property
    def drop(self) -> Drop | None:
        """Of the int8 file that lost most, in points of the task's metric; None where no drop is
        known."""
        drops = [m.drop for m in self.models if m.role == "int8" and m.drop is not None]
        return max(drops, key=lambda drop: drop.points, default=None)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of `drop`, in points."""
        return None if self.drop is None else (self.drop.low, self.drop.high)

    @property
    def agreement(self) -> float | None:
        """Percent: of the two int8 files that agree least; None where there aren't two."""
        int8 = {m.name for m in self.models if m.role == "int8"}
        found = (p.percent for p in self.pairs if {p.reference, p.other} <= int8)
        return min(found, default=None)

    def model(self, file: str) -> Measured:
        """Of a file, by its name in the bundle, in its own runtime; KeyError for another."""
        for measured in self.models:
            if measured.file == file:
                return measured
        raise KeyError(file)
