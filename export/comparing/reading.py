"""Records of a validation or of a device, in one form for comparing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError
from mobilemod.evaluation.outcomes import Outcomes
from mobilemod.results.device.kept import RECORDS_SCHEMA
from mobilemod.results.device.spec import RECORD_SCHEMA, validate_device_record
from mobilemod.results.spec import SCHEMA_VERSION, validate_record
from mobilemod.sealed import KEY, check_seal
from mobilemod.tasks import task_of
from mobilemod.tasks.task import Task

AGAIN = "validate again"
GIVE = "give a bundle's report/validation.json, or a record.json below its devices"
# (threads, delegate) of a configuration.
Key = tuple[int, str]


@dataclass(frozen=True)
class Row:
    """One model of a record. metric: None where it wasn't measured. latency: by configuration."""

    file: str | None
    bytes: int | None
    int8_share: float | None
    metric: float | None
    run_by: str | None
    latency: dict[Key, dict[str, Any]]


@dataclass(frozen=True)
class Record:
    """What is compared. rows, outcomes: by the model's name in both kinds of records.

    images: how many, 0 where accuracy wasn't measured. labels, chosen: what images and outputs must
    have in common, as far as the record says. latency: what times depend on. notes: what the
    record lacks, for people.
    """

    path: Path
    kind: str
    task: Task
    about: dict[str, Any]
    tools: dict[str, str]
    rows: dict[str, Row]
    outcomes: Outcomes | None
    images: int
    labels: list[str] | None
    chosen: Any
    latency: dict[str, Any]
    notes: tuple[str, ...]


def read_record(path: Path) -> Record:
    """`UserError` for what is no such record, is damaged or was changed, or holds several."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} can't be read as JSON ({error}); {GIVE}") from None
    schema = values.get("schema") if isinstance(values, dict) else None
    if schema == RECORDS_SCHEMA:
        records = values.get("records")
        if not isinstance(records, list) or len(records) != 1 or not isinstance(records[0], dict):
            count = len(records) if isinstance(records, list) else "no"
            raise UserError(f"{path} holds {count} records, not one; give one device's record.json")
        (values,) = records
        schema = values.get("schema")
    if schema not in (SCHEMA_VERSION, RECORD_SCHEMA):
        raise UserError(f"{path} has schema {schema!r:.60}: no record to compare; {GIVE}")
    if KEY in values:  # what --json wrote has none
        check_seal(path, values, AGAIN)
    if schema == RECORD_SCHEMA:
        validate_device_record(values, str(path), AGAIN)
        return _device(path, values)
    values = {k: v for k, v in values.items() if k != KEY}
    try:
        validate_record(values)
    except UserError as error:
        raise UserError(f"{path}: {error}; {AGAIN}") from None
    return _validation(path, values)


def _validation(path: Path, values: dict[str, Any]) -> Record:
    task, audits = task_of(values), values["audits"]
    rows = {
        p["name"]: Row(
            p["file"], p["bytes"], _share(audits.get(p["file"])), p[task.metric.key], p["runner"],
            {},
        )
        for p in values["predictions"]
    }  # fmt: skip
    if not rows:
        files = values["bundle"].get("files")
        for file, entry in files.items() if isinstance(files, dict) else ():
            rows[file] = Row(file, entry.get("bytes"), _share(audits.get(file)), None, None, {})
    images = values["data"]["images"] if values["measured"] else 0
    notes = () if images else ("accuracy was not measured",)
    return Record(
        path, "validation", task, _about(path, values), _tools(values), rows,
        _outcomes(path, values, {name: name for name in rows}), images, values["data"]["labels"],
        images, {}, notes,
    )  # fmt: skip


def _device(path: Path, values: dict[str, Any]) -> Record:
    task, device = task_of(values), values["device"]
    names = {f["file"]: f"{f['target']} {f['precision']}" for f in values["files"]}
    rows = {
        names[f["file"]]: Row(
            f["file"], f["bytes"], None, (f["accuracy"] or {}).get(task.metric.key), f["runtime"],
            {(c["threads"], c["delegate"]): c["latency"]
             for c in f["configurations"] if c["latency"]},
        )
        for f in values["files"]
    }  # fmt: skip
    facts = device["facts"] or {}
    about = {
        **_about(path, values),
        "device": device["name"],
        "device_model": facts.get("model"),
        "started": values["started"],
    }
    told = values["comparable"]
    notes = [] if values["complete"] else [f"incomplete: {values['reason']}"]
    if all(row.metric is None for row in rows.values()):
        notes.append("accuracy was not measured")
    answered = [f["accuracy"]["images"] for f in values["files"] if f["accuracy"]]
    return Record(
        path, "device", task, about, _tools(values), rows, _outcomes(path, values, names),
        max(answered, default=0), None, told["accuracy"]["fields"].get("images"),
        told["latency"]["fields"], tuple(notes),
    )  # fmt: skip


def _about(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    bundle = values["bundle"]
    recipe, checkpoint = (bundle.get(key) or {} for key in ("recipe", "checkpoint"))
    return {
        "record": str(path),
        "model": values.get("model", bundle.get("model")),
        "recipe": recipe.get("name"),
        "weights": checkpoint.get("weights"),
    }


def _tools(values: dict[str, Any]) -> dict[str, str]:
    return values["bundle"].get("tools") or {}


def _share(audit: Any) -> float | None:
    return audit.get("int8_share") if isinstance(audit, dict) else None


def _outcomes(path: Path, values: dict[str, Any], names: dict[str, str]) -> Outcomes | None:
    """names: the outcomes' -> the rows'."""
    if values.get("outcomes") is None:
        return None
    try:
        found = Outcomes.from_dict(values["outcomes"])
        scored = {names[key]: of for key, of in found.scored.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, EOFError) as error:
        raise UserError(f"{path}: outcomes are damaged ({error}); {AGAIN}") from None
    return Outcomes(found.names, found.targets, scored)
