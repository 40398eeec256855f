"""The files of a run of a job on a device: where they lie, and what is written there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError
from mobilemod.files import write_json, write_text
from mobilemod.harness.protocol.job import JOB_FILE
from mobilemod.harness.record.gates import DeviceGates, check_record, warnings
from mobilemod.harness.record.host_side import HostSide
from mobilemod.harness.record.junit import junit
from mobilemod.harness.record.merge import RECORD_FILE, Sources, build_record
from mobilemod.harness.record.times import SERIES_FILE, write_series
from mobilemod.results.device.kept import write_tables
from mobilemod.results.report.page import write_report
from mobilemod.sealed import read_sealed, sealed

FOLDER = "devices"
RUN_FILE, RUN_SCHEMA, JUNIT_FILE = "run.json", "mobilemod/harness-run/1", "junit.xml"


def folder_name(device: str) -> str:
    """A device's folder: its name with what some file systems refuse written as '_'."""
    return "".join(c if c.isalnum() or c in "-._" else "_" for c in device)


def unused(folder: Path, started: datetime) -> Path:
    """A run's place in its device's folder, where nothing is; the folder's lock is held."""
    name = started.strftime("%Y%m%dT%H%M%SZ")
    for more in ("", *(f"-{n}" for n in range(2, 1000))):
        if not (path := folder / f"{name}{more}").exists():
            return path
    raise UserError(f"{folder} holds too many runs of one second; set the clock")


def describe(
    out: Path, device: str, job: str, text: str, started: datetime, damaged: Sequence[str] = ()
) -> None:
    """Write what a run is of. job: its id; text: of its `job.json`; damaged: see `Sources`."""
    entry = {
        "schema": RUN_SCHEMA,
        "job": job,
        "device": device,
        "started": started.isoformat(timespec="seconds"),
        "damaged": list(damaged),
    }
    write_text(out / JOB_FILE, text)
    write_json(out / RUN_FILE, sealed(entry))


def described(path: Path) -> dict[str, Any]:
    """A run's sealed file; {} where it can't be read."""
    try:
        return read_sealed(path, "")
    except UserError:
        return {}


def write_record(
    out: Path,
    sources: Sources,
    host: HostSide,
    gates: DeviceGates,
    measured: dict[str, Any] | None,
) -> dict[str, Any]:
    """Make a run's record, and write it with its values and verdicts into `out`.

    measured: what is said of the images, `ImageFolder.about`'s form.
    """
    record, series = build_record(sources, host)
    record["data"] = measured
    record["verdicts"] = [v.to_dict() for v in check_record(record, gates)]
    record["warnings"] = warnings(record) if gates.self_test else []
    record = sealed(record)
    write_series(sources.folder.job, series, out / SERIES_FILE)
    write_text(out / JUNIT_FILE, junit([record]))
    write_json(out / RECORD_FILE, record)
    return record


def write_reports(bundle: Path, records: Sequence[dict[str, Any]]) -> Path:
    """Write anew what is made of all records of a bundle; the page's path. records: this run's."""
    write_tables(bundle / FOLDER)
    report = write_report(bundle)
    write_text(bundle / FOLDER / JUNIT_FILE, junit(records))
    return report
