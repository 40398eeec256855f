"""The schema of a device's record: its keys and their types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mobilemod.manifest_schema import Closed, Count, Sha256, checked
from mobilemod.results.device.file_spec import FileEntry, Seconds, TaskFileEntry
from mobilemod.results.spec import OutcomesEntry, VerdictEntry
from mobilemod.tasks import get_task

RECORD_SCHEMA = "mobilemod/harness-record/1"

Range = Annotated[list[Count], Field(min_length=2, max_length=2)]


class Device(Closed):
    """name: as on the command line. The rest as the device said it, None where it said nothing."""

    name: str
    kind: str
    facts: dict[str, Any] | None
    app: dict[str, Any] | None
    runtimes: dict[str, Any] | None


class Plan(Closed):
    """How latency was measured."""

    warm_up_seconds: Seconds
    warm_up_max: Count
    min_runs: Count
    min_seconds: Seconds
    cold_starts: Count


class PlannedConfiguration(Closed):
    """One unit of the job's work."""

    file: str
    threads: Count
    delegate: str
    self_test_only: bool = False


class JobEntry(Closed):
    """The job that was run. damaged: images that couldn't be packed."""

    id: Sha256
    inputs: str
    images: Count
    sample: bool
    damaged: list[str]
    latency: Plan | None
    sustained_seconds: Seconds
    configurations: list[PlannedConfiguration]


class Counts(Closed):
    """Where every image and every line is."""

    chosen: Count
    sent: Count
    expected: Count
    answered: Count
    unreadable: Count
    missing: Count
    answered_again: Count
    answered_differently: Count
    timed: Count
    timed_missing: Count
    runs: Count
    lines: Count
    repeated_lines: Count
    damaged_lines: Count
    foreign_lines: Count
    impossible_lines: Count
    errors: Count


class Comparison(Closed):
    """An int8 file against its float twin, timed in turns. ratio: above 1, int8 is faster."""

    int8: str
    float_: str = Field(alias="float")
    threads: Count
    delegate: str
    ratio: float | None
    low: float | None
    high: float | None
    faster_rounds: Count
    rounds: Count


class StateEntry(Closed):
    """One look at the device. t: seconds since the start of `run`."""

    run: str
    t: Seconds
    thermal: str | None = None
    temperature_c: float | None = None
    battery: dict[str, Any] | None = None
    memory_bytes: Count | None = None
    frequencies_hz: list[float] | None = None


class State(Closed):
    """Heat, battery and memory over the job; battery levels as the device said them."""

    worst_thermal: str | None
    first_temperature_c: float | None
    highest_temperature_c: float | None
    battery_first: float | None
    battery_last: float | None
    charging: bool | None
    peak_memory_bytes: Count | None
    series: list[StateEntry]


class ErrorEntry(Closed):
    """An error that the device said. configuration: its index in the job."""

    where: str
    message: str
    file: str | None
    configuration: Count | None = None
    fatal: bool


class Comparable(Closed):
    """Records with the same digest of `fields` may be compared."""

    digest: str
    fields: dict[str, Any]


class ComparableParts(Closed):
    """What accuracy depends on, and what latency does."""

    accuracy: Comparable
    latency: Comparable


class WarningEntry(Closed):
    """What is wrong and fails no gate: a unit that nothing is measured on."""

    name: str
    line: str


class MeasuredOn(Closed):
    """The images. calibrated_on: how many of them ranges were observed on, None where unknown."""

    folder: str
    split: str
    calibrated_on: Count | None


class DeviceRecord(Closed):
    """The whole; docs/harness.md has what each key means. digest: the seal of the file."""

    schema_: Literal[RECORD_SCHEMA] = Field(alias="schema")
    started: str
    device: Device
    model: str
    bundle: dict[str, Any]
    job: JobEntry
    complete: bool
    reason: str | None
    lost: list[str]
    counts: Counts
    refused: dict[str, Count] = {}
    missing: dict[str, list[Range]]
    files: list[FileEntry]
    comparisons: list[Comparison]
    outcomes: OutcomesEntry | None = None
    state: State
    errors: list[ErrorEntry]
    comparable: ComparableParts
    verdicts: list[VerdictEntry]
    warnings: list[WarningEntry] = []
    data: MeasuredOn | None = None
    digest: str | None = None


class TaskDeviceRecord(DeviceRecord):
    """That of a task other than classification."""

    task: str
    files: list[TaskFileEntry]

    @model_validator(mode="after")
    def _fits(self) -> TaskDeviceRecord:
        task = get_task(self.task)
        for i, file in enumerate(self.files):
            if file.accuracy is not None:
                file.accuracy.require(task, f"files[{i}].accuracy")
        return self


def validate_device_record(record: Any, where: str, mend: str) -> None:
    """Raise UserError: `where`, the first key that is missing, unknown or of a wrong value, and
    `mend`."""
    other = isinstance(record, dict) and "task" in record
    checked(TaskDeviceRecord if other else DeviceRecord, record, where, mend)
