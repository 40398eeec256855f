"""The schema of a validation record: its keys, their types, and how they fit each other."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import ROLES
from mobilemod.manifest_schema import Closed, Open, first_error
from mobilemod.tasks import get_task

SCHEMA_VERSION = "mobilemod/validation/1"

Percent = Annotated[float, Field(ge=0, le=100)]


class Data(Closed):
    """Which images; older records lack what has a default."""

    images: int
    labels: list[str]
    damaged: list[str]
    reasons: list[str] = []
    left_out: dict[str, Any] = {}
    folder: str = ""
    split: str = ""
    calibrated_on: int | None = None


class Drop(Closed):
    """Of a model against the reference, in points of top-1."""

    points: float
    low: float
    high: float
    mcnemar_p: float
    lost: int
    won: int


class Prediction(Closed):
    """One model that was run."""

    name: str
    role: Literal[*ROLES]
    file: str | None
    runner: str | None
    bytes: int | None
    top1_percent: Percent
    top5_percent: Percent
    non_finite: int
    drop: Drop | None


class Pair(Closed):
    """Agreement of two models."""

    reference: str
    other: str
    top1_percent: float
    sqnr_db: float | None
    identical: bool


class ClassRow(Closed):
    """One class; `top1_percent` has an entry per prediction."""

    class_: int = Field(alias="class")
    label: str
    images: int
    top1_percent: list[float]


class Confused(Closed):
    """Images of one class that a model took for another, a number per prediction; answer -1: logits
    that aren't finite."""

    target: int
    answer: int
    images: list[int]


class Shown(Closed):
    """An image that the report shows."""

    index: int
    image: str
    target: int


class Disagreement(Shown):
    """The lists have an entry per prediction; older records lack `confidence`, 0 to 1."""

    top1: list[int]
    margin: list[float]
    confidence: list[Annotated[float, Field(ge=0, le=1)] | None] | None = None


class WorstImage(Shown):
    """rms_error: of the logits."""

    rms_error: float | None


class Worst(Closed):
    """A model's images with the largest errors."""

    name: str
    images: list[WorstImage]


class GpuFile(Closed):
    """One file on a GPU, against the same file on the processor."""

    file: str
    adapter: str
    runner: str
    whole: bool
    outside: dict[str, str]
    on_cpu: int | None
    agreement_percent: Percent | None
    max_difference: float | None
    error: str | None


class GpuCheck(Closed):
    """What a GPU of the validating machine made of the files that it can run."""

    images: int
    files: list[GpuFile]


class OutcomesEntry(Closed):
    """As of `mobilemod.evaluation.outcomes.Outcomes.to_dict`; scored: by model."""

    names: str
    targets: str
    scored: dict[str, str]


class VerdictEntry(Closed):
    """As of `mobilemod.results.verdict.Verdict`."""

    name: str
    passed: bool
    state: str
    line: str
    kind: str
    value: float | None
    limit: float | None
    reason: str | None
    images_needed: int | None


class ValidationRecord(Closed):
    """The whole; docs/results-schema.md has what each key means."""

    schema_: Literal[SCHEMA_VERSION] = Field(alias="schema")
    measured: bool
    bundle: dict[str, Any]
    data: Data
    predictions: list[Prediction]
    agreement: list[Pair]
    per_class: list[ClassRow]
    confusion: list[Confused] | None = None
    disagreements: list[Disagreement]
    worst_images: list[Worst]
    outcomes: OutcomesEntry | None = None
    audits: dict[str, Any]
    gpu: GpuCheck | None = None
    verdicts: list[VerdictEntry] | None

    @model_validator(mode="after")
    def _fits(self) -> ValidationRecord:
        names = [p.name for p in self.predictions]
        _require(self.measured == bool(names), "measured", "true where there are predictions")
        for i, name in enumerate(names):
            _require(name not in names[:i], f"predictions[{i}].name", f"unique, {name!r} isn't")
        for i, pair in enumerate(self.agreement):
            for key in ("reference", "other"):
                named = getattr(pair, key) in names
                _require(named, f"agreement[{i}].{key}", "a prediction's name")
        each = f"{len(names)} long, one per prediction"
        for i, row in enumerate(self.per_class):
            _require(len(row.top1_percent) == len(names), f"per_class[{i}].top1_percent", each)
        classes = len(self.data.labels)
        for i, row in enumerate(self.confusion or ()):
            where = f"confusion[{i}]"
            _require(len(row.images) == len(names), f"{where}.images", each)
            known = 0 <= row.target < classes and -1 <= row.answer < classes
            _require(known, where, f"of {classes} classes")
        for i, row in enumerate(self.disagreements):
            where = f"disagreements[{i}]"
            if row.confidence is not None:
                _require(len(row.confidence) == len(names), f"{where}.confidence", each)
            _require(len(row.top1) == len(names), f"{where}.top1", each)
            _require(len(row.margin) == len(names), f"{where}.margin", each)
            known = all(-1 <= c < classes for c in row.top1)
            _require(known, f"{where}.top1", f"of {classes} classes, or -1")
            self._require_image(row, where)
        for i, worst in enumerate(self.worst_images):
            for j, row in enumerate(worst.images):
                self._require_image(row, f"worst_images[{i}].images[{j}]")
        return self

    def _require_image(self, row: Shown, where: str) -> None:
        images, classes = self.data.images, len(self.data.labels)
        _require(0 <= row.index < images, f"{where}.index", f"one of {images} images")
        _require(0 <= row.target < classes, f"{where}.target", f"one of {classes} classes")


class TaskRecord(Open):
    """The record of a task other than classification: the same parts with the task's own figures.

    Its predictions, agreement and images have the task's keys beside those that all records have.
    """

    schema_: Literal[SCHEMA_VERSION] = Field(alias="schema")
    task: str
    measured: bool
    bundle: dict[str, Any]
    data: Data
    predictions: list[dict[str, Any]]
    agreement: list[dict[str, Any]]
    per_class: list[dict[str, Any]]
    disagreements: list[dict[str, Any]]
    worst_images: list[dict[str, Any]]
    outcomes: OutcomesEntry | None = None
    audits: dict[str, Any]
    gpu: GpuCheck | None = None
    verdicts: list[VerdictEntry] | None

    @model_validator(mode="after")
    def _fits(self) -> TaskRecord:
        task = get_task(self.task)
        measured = bool(self.predictions)
        _require(self.measured == measured, "measured", "true where there are predictions")
        wanted = {"name", "role", "file", "runner", "bytes", "non_finite", "drop"}
        for i, prediction in enumerate(self.predictions):
            for key in sorted(wanted | {m.key for m in task.metrics}):
                _require(key in prediction, f"predictions[{i}].{key}", "there")
        for i, pair in enumerate(self.agreement):
            for key in ("reference", "other", task.agreement.key, "sqnr_db", "identical"):
                _require(key in pair, f"agreement[{i}].{key}", "there")
        for i, row in enumerate(self.disagreements):
            known = 0 <= row.get("index", -1) < self.data.images
            _require(known, f"disagreements[{i}].index", f"one of {self.data.images} images")
        return self


def _require(fits: bool, where: str, expected: str) -> None:
    if not fits:
        raise ValueError(f"{where} must be {expected}")


def validate_record(record: Any) -> None:
    """Raise UserError naming the first key that is missing, unknown, or of a wrong value."""
    if isinstance(record, dict) and record.get("schema", SCHEMA_VERSION) != SCHEMA_VERSION:
        raise UserError(
            f"schema: {record['schema']!r}, this version reads {SCHEMA_VERSION!r}; validate again"
        )
    other = isinstance(record, dict) and "task" in record
    try:
        (TaskRecord if other else ValidationRecord).model_validate(record)
    except ValidationError as error:
        raise UserError(f"validation record: {first_error(error)}") from None
