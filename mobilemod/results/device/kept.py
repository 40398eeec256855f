"""The records of a bundle's devices as they lie on disk, and one table over all of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError
from mobilemod.files import write_json, write_text
from mobilemod.results.device.rows_csv import csv_text
from mobilemod.results.device.spec import RECORD_SCHEMA, validate_device_record
from mobilemod.sealed import read_sealed

RECORDS_SCHEMA = "mobilemod/harness-records/1"
DEVICES = "devices"  # the bundle's folder of records


def write_tables(folder: Path) -> None:
    """Write `report.csv` and `report.json` over every record below `folder`, a bundle's `devices/`.

    The JSON has the last record of each device that has accuracy, else the last; the CSV has all. A
    record that can't be read, or was changed, is left out.
    """
    records = read_records(folder)
    latest = list(latest_records(records).values())
    write_json(folder / "report.json", {"schema": RECORDS_SCHEMA, "records": latest})
    write_text(folder / "report.csv", csv_text(records))


def latest_records(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By device the record that it is shown by, of all in their order."""
    # What was measured isn't hidden by a later run without images.
    by_worth = sorted(records, key=lambda r: bool(r["counts"]["sent"]))
    return {r["device"]["name"]: r for r in by_worth}


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Every record below a `devices/` folder, oldest first."""
    found = []
    for path in folder.glob("*/*/record.json"):
        try:
            record = read_sealed(path, "it is left out")
            if record.get("schema") != RECORD_SCHEMA:
                continue
            validate_device_record(record, str(path), "it is left out")
        except UserError as error:
            print(error, file=sys.stderr, flush=True)
            continue
        found.append((record["started"], path.parent.name, record))
    return [record for *_, record in sorted(found, key=lambda entry: entry[:2])]
