"""The schema of one model file's entry in a device's record."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mobilemod.manifest_schema import Closed, Count, Open, Sha256
from mobilemod.results.spec import Drop, Percent
from mobilemod.tasks.task import Task

Milliseconds = Annotated[float, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class Placement(Closed):
    """Where ops ran, as the device said or as the file's audit expects; older records lack what has
    a default. accelerated: all of them on the unit that was asked for; placed: how many by unit."""

    source: Literal["device", "file"]
    partitions: Count | None
    fallback: dict[str, Count] | list[str] | Count | None
    accelerated: bool | None = None
    placed: dict[str, Count] | None = None


class SelfTestEntry(Closed):
    """As of `mobilemod.harness.record.selftest.SelfTest`."""

    verdict: Literal["right", "preprocessing", "runtime", "not available", "failed", "not run"]
    fault: str | None
    pixels_error: float | None
    image_error: float | None
    tolerance: float | None
    image: Count | None = None
    steps: float | None = None
    sqnr_db: float | None = None
    reason: str | None = None
    parts_at: str | None = None


class ReferenceEntry(Closed):
    """The float network on the paired images: `classes` of `of` have images."""

    top1_percent: Percent
    images: Count
    classes: Count
    of: Count


class HostEntry(Closed):
    """Agreement with the same file on this machine. differing: inputs, at most 100."""

    images: Count
    identical: Count
    top1_percent: Percent | None
    differing: list[Count]
    sqnr_db: float | None


class TwinEntry(Closed):
    """What an int8 file loses against its float twin `file`, both on the device."""

    file: str
    images: Count
    drop: Drop


class Accuracy(Closed):
    """Of one file; older records lack what has a default."""

    images: Count
    top1_percent: Percent | None
    top5_percent: Percent | None
    non_finite: Count
    answered_again: Count
    answered_differently: Count
    drop: Drop | None
    paired_images: Count
    reference: ReferenceEntry | None = None
    host: HostEntry | None
    twin: TwinEntry | None = None


class Times(Closed):
    """Percentiles are nearest ranks."""

    runs: Count
    p50_ms: Milliseconds
    p90_ms: Milliseconds
    p99_ms: Milliseconds
    min_ms: Milliseconds
    mean_ms: Milliseconds
    max_ms: Milliseconds


class Latency(Times):
    """Of the steady runs. seconds: their sum."""

    seconds: Seconds
    warm_up_runs: Count
    first_warm_up_ms: Milliseconds | None


class PerImage(Closed):
    """Times over the accuracy run."""

    preprocess_ms: Times | None
    inference_ms: Times | None


class Load(Closed):
    """One load of a file. cold: its number among cold starts."""

    cold: Count
    seconds: Seconds
    first_inference_ms: Milliseconds | None


class CurvePoint(Closed):
    """seconds: the middle of its window."""

    seconds: Seconds
    p50_ms: Milliseconds
    p90_ms: Milliseconds


class Sustained(Closed):
    """The first window against the last. loss_percent: by how much the last is slower."""

    seconds: Seconds
    runs: Count
    window_seconds: Seconds
    first_p50_ms: Milliseconds
    last_p50_ms: Milliseconds
    loss_percent: float | None
    curve: list[CurvePoint]


class ConfigurationEntry(Closed):
    """What one configuration of a file took. self_test_only: it is there for its self-test alone.

    Older records lack what has a default. placement: None where the device tells nothing of it.
    """

    threads: Count
    delegate: str
    self_test_only: bool = False
    runtime: str | None = None
    self_test: SelfTestEntry | None = None
    placement: Placement | None = None
    loads: list[Load]
    latency: Latency | None
    sustained: Sustained | None


class TaskAccuracy(Open):
    """As `Accuracy`, of a task other than classification: with its own figures beside these."""

    images: Count
    non_finite: Count
    drop: dict[str, Any] | None
    paired_images: Count
    reference: dict[str, Any] | None
    host: dict[str, Any] | None

    def require(self, task: Task, where: str) -> None:
        """ValueError naming a figure of `task` that is missing."""
        found = self.model_extra or {}
        missing = [m.key for m in task.metrics if m.key not in found]
        if self.host is not None and task.agreement.key not in self.host:
            missing.append(f"host.{task.agreement.key}")
        if missing:
            raise ValueError(f"{where}.{missing[0]} is missing")


class FileEntry(Open):
    """One model file. instructions, phone: where the device's driver knows them."""

    # Open: a driver may add what only it knows.
    file: str
    target: str
    precision: str
    sha256: Sha256
    bytes: Count
    twin: str | None
    runtime: str | None
    placement: Placement
    self_test: SelfTestEntry
    accuracy: Accuracy | None
    per_image: PerImage
    configurations: list[ConfigurationEntry]
    instructions: dict[str, Any] | None = None
    phone: dict[str, Any] | None = None


class TaskFileEntry(FileEntry):
    """A model file of a task other than classification."""

    accuracy: TaskAccuracy | None
