"""`mobilemod validate --device …`: a bundle's files on devices, each to a record and one report."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from mobilemod.data.imagefolder import ImageFolder
from mobilemod.errors import UserError
from mobilemod.files import only_one
from mobilemod.harness.drivers import Driver, get_driver
from mobilemod.harness.protocol.domains import Domains
from mobilemod.harness.protocol.job import JOB_FILE, LatencyPlan
from mobilemod.harness.record.gates import DeviceGates
from mobilemod.harness.record.host_side import HostSide
from mobilemod.harness.record.merge import RECORD_FILE, Sources
from mobilemod.harness.run.job_build import Built, Plan, build_job
from mobilemod.harness.run.run_files import (
    FOLDER,
    RUN_FILE,
    describe,
    described,
    folder_name,
    unused,
    write_record,
    write_reports,
)
from mobilemod.harness.run.session import (
    LINES_FILE,
    PAUSES,
    Result,
    Session,
    read_lines,
    run_sessions,
)
from mobilemod.manifest import Bundle, load_bundle

JOB_FOLDER = "job"
QUICK = LatencyPlan(
    warm_up_seconds=0.1, warm_up_max=20, min_runs=64, min_seconds=0.5, cold_starts=1
)

MakeHost = Callable[[Bundle, ImageFolder | None], HostSide]
# As `build_job`.
Build = Callable[[Bundle, ImageFolder | None, Driver, Plan, Path], Built]


@dataclass(frozen=True)
class DeviceConfig:
    """bundle: folder that export wrote. devices: KIND or KIND:ID, measured at the same time.

    images: what accuracy is measured on, None: not at all. sample: they are a part of the set,
    chosen to save time. plan, gates: what is measured and held to. measured: what is said of the
    images in the record, `ImageFolder.about`'s form.
    """

    bundle: Path
    devices: tuple[str, ...]
    images: ImageFolder | None
    sample: bool = False
    plan: Plan = field(default_factory=Plan)
    gates: DeviceGates = field(default_factory=DeviceGates)
    measured: dict[str, Any] | None = None
    pauses: Sequence[float] = PAUSES

    def __post_init__(self) -> None:
        if not self.devices or len(set(self.devices)) < len(self.devices):
            raise UserError("--device: name each device once, by commas")


@dataclass(frozen=True)
class _Run:
    """One device's share."""

    device: str
    built: Built
    session: Session


def validate_devices(
    config: DeviceConfig,
    make_host: MakeHost,
    drivers: Callable[[str], Driver] = get_driver,
    build: Build = build_job,
) -> tuple[list[dict[str, Any]], Path]:
    """The devices' records, in their order, and the report's path.

    Results: `BUNDLE/devices/DEVICE/TIME/` (record.json, lines.jsonl, series.csv, junit.xml) and
    `report.csv` and `report.json` in `BUNDLE/devices/`; the bundle's report is written anew. A run
    of the same job that was broken off goes on where it was.

    Raises `UserError` where a device can't be used and nothing was measured on it, `OSError` where
    this machine's disk is full; then what was received is kept and the next run goes on.
    """
    bundle = load_bundle(config.bundle)
    found = [(device, drivers(device)) for device in config.devices]
    for _, driver in found:
        driver.check()
    with contextlib.ExitStack() as stack:
        runs = []
        for device, driver in found:
            folder = config.bundle / FOLDER / folder_name(device)
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(only_one(folder, "measuring into"))
            built = build(bundle, config.images, driver, config.plan, folder / JOB_FOLDER)
            runs.append(_prepare(built, device, driver, folder, config.pauses))
        results = run_sessions([run.session for run in runs])
        host = make_host(bundle, config.images)
        records = []
        for run, result in zip(runs, results, strict=True):
            records.append(_finish(config, bundle, run, _checked(result, run), host))
    return records, write_reports(config.bundle, records)


def _prepare(
    built: Built, device: str, driver: Driver, folder: Path, pauses: Sequence[float]
) -> _Run:
    out = _open_run(folder, built.folder.job.id)
    if out is None:
        started = datetime.now(UTC)
        out = unused(folder, started)
        out.mkdir()
        text = (built.folder.folder / JOB_FILE).read_text("utf-8")
        describe(out, device, built.folder.job.id, text, started, built.damaged)
    else:
        _say(device, f"goes on with {out.name}")
    session = Session(driver, built.folder, out, partial(_say, device), pauses=pauses)
    return _Run(device, built, session)


def _say(device: str, text: str) -> None:
    print(f"{device}: {text}", file=sys.stderr, flush=True)


def _open_run(folder: Path, job: str) -> Path | None:
    """The newest run of a job that isn't complete."""
    for path in sorted(folder.glob(f"*/{RUN_FILE}"), reverse=True):
        run, record = described(path), described(path.with_name(RECORD_FILE))
        if run.get("job") == job and not record.get("complete"):
            return path.parent
    return None


def _checked(result: Result | BaseException, run: _Run) -> Result:
    """A session's result; its error where nothing was measured that a record could be made of."""
    if isinstance(result, Result):
        if result.complete or run.session.held.size():
            return result
        raise UserError(f"{run.device}: {result.reason}")
    if isinstance(result, UserError) and run.session.held.size():
        return Result(False, str(result), 1, ())
    raise result


def _finish(
    config: DeviceConfig, bundle: Bundle, run: _Run, result: Result, host: HostSide
) -> dict[str, Any]:
    """Make a run's record from what is on disk, and write it beside."""
    out, folder = run.session.out, run.built.folder
    entry = described(out / RUN_FILE)
    domains = Domains.of(folder.job, bundle.manifest)
    lines, reader, held, _ = read_lines(out / LINES_FILE, folder.job, domains)
    extra: dict[str, dict[str, Any]] = {}
    if result.complete:
        try:
            extra = run.session.driver.extra(folder)
        except UserError as error:
            _say(run.device, f"{error}; the record goes without it")
    sources = Sources(
        device=run.device,
        folder=folder,
        bundle=bundle,
        lines=lines,
        reader=reader,
        held=held,
        refused=dict(domains.refused),
        damaged=entry.get("damaged", []),
        reason=result.reason,
        lost=result.lost,
        extra=extra,
        sample=config.sample,
        started=entry.get("started", ""),
    )
    return write_record(out, sources, host, config.gates, config.measured)
