"""A bundle's validations over time: a line each, which later ones and exports leave there."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from mobilemod.errors import UserError
from mobilemod.files import only_one
from mobilemod.manifest_schema import Closed, Count, Sha256
from mobilemod.results.schema import int8_pairs
from mobilemod.results.spec import Percent
from mobilemod.results.table import aligned, drop_text, size_text
from mobilemod.results.verdict import STATES, overall
from mobilemod.tasks import get_task, task_field, task_of

SCHEMA, LINE_SCHEMA = "mobilemod/history/1", "mobilemod/history-line/1"
FILE = Path("history", "validations.jsonl")  # in the bundle's folder
PLOT = Path("history", "drops.png")


class LineDrop(Closed):
    """Against the float network, in the metric's points, with its 95 % interval."""

    points: float
    low: float
    high: float


class LineFile(Closed):
    """An int8 file as it was measured."""

    name: str
    file: str
    sha256: Sha256 | None
    bytes: Count | None
    metric: float
    drop: LineDrop | None


class HistoryLine(Closed):
    """One validation. manifest: the bundle's identity. reference: the float network's metric.

    agreement: the least of any two int8 files, percent.
    """

    schema_: Literal[LINE_SCHEMA] = Field(alias="schema")
    date: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT[\d:]{8}\+00:00$")]
    task: str = "classification"
    manifest: Sha256
    images: Count
    state: Literal[*STATES]
    reference: float | None
    files: list[LineFile]
    agreement: Percent | None
    tools: dict[str, str]


def line_of(record: Mapping[str, Any], date: str) -> dict[str, Any]:
    """A measured and judged validation record's line. date: ISO 8601 in UTC, to the second."""
    task, about = task_of(record), record["bundle"]
    key, rows = task.metric.key, record["predictions"]
    return {
        "schema": LINE_SCHEMA,
        "date": date,
        **task_field(task.name),
        "manifest": about["manifest"],
        "images": record["data"]["images"],
        "state": overall(record["verdicts"]),
        "reference": next((p[key] for p in rows if p["role"] == "reference"), None),
        "files": [
            {
                "name": p["name"],
                "file": p["file"],
                "sha256": about["files"][p["file"]]["sha256"],
                "bytes": p["bytes"],
                "metric": p[key],
                "drop": p["drop"] and {k: p["drop"][k] for k in ("points", "low", "high")},
            }
            for p in rows
            if p["role"] == "int8"
        ],
        "agreement": min(
            (p[task.agreement.key] for *_, p in int8_pairs(record) if p), default=None
        ),
        "tools": about["tools"],
    }


def add_line(folder: Path, line: Mapping[str, Any]) -> None:
    """Append one to a bundle's history; a line before it that was cut short stays by itself."""
    path = folder / FILE
    path.parent.mkdir(exist_ok=True)
    with only_one(path.parent), path.open("ab+") as file:
        if file.tell():
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The lines of a bundle, oldest first; one on standard error for each that can't be read."""
    path = folder / FILE
    if not path.is_file():
        return []
    found = []
    for number, raw in enumerate(path.read_bytes().splitlines(), 1):
        try:
            line = json.loads(raw)
            get_task(HistoryLine.model_validate(line).task)
        except (ValueError, RecursionError, UserError):
            print(f"{path}:{number} is no line of a validation; left out", file=sys.stderr)
        else:
            found.append(line)
    return sorted(found, key=lambda line: line["date"])


def keep_history(old: Path, new: Path) -> None:
    """Take the history of a bundle that is about to be replaced over into the new one's folder."""
    if (old / FILE).is_file():
        (new / FILE.parent).mkdir()
        shutil.copy2(old / FILE, new / FILE)


def drops(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, dict[str, float]]]]:
    """By the int8 file's name its drops, each with the validation's number from 1."""
    found: dict[str, list[tuple[int, dict[str, float]]]] = {}
    for number, line in enumerate(lines, 1):
        for file in line["files"]:
            if file["drop"]:
                found.setdefault(file["name"], []).append((number, file["drop"]))
    return found


def rows_of(lines: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A table with its head: a row for each int8 file of each validation."""
    metric = task_of(lines[-1]).metric
    head = ["", "date, UTC", "images", "gates", "file", metric.head, "drop", "95 %",
            "least agreement %", "size", "sha256"]  # fmt: skip
    rows = [head]
    for number, line in enumerate(lines, 1):
        date = line["date"].replace("T", " ").removesuffix("+00:00")
        agreed = "–" if line["agreement"] is None else f"{line['agreement']:.2f}"
        first = [str(number), date, f"{line['images']:,}", line["state"]]
        for file in line["files"]:
            rows.append([
                *first, file["name"], metric.text(file["metric"]), *drop_text(file["drop"]),
                agreed, size_text(file["bytes"]), (file["sha256"] or "–")[:8],
            ])  # fmt: skip
    return rows


def changes(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """What changed from each validation to the next: the export, and tools' versions."""
    found = []
    for number, (was, now) in enumerate(zip(lines, lines[1:], strict=False), 2):
        old, new = was["tools"], now["tools"]
        said = [f"{k} {old.get(k, 'none')} -> {new.get(k, 'none')}"
                for k in {**old, **new} if old.get(k) != new.get(k)]  # fmt: skip
        if was["manifest"] != now["manifest"]:
            said.insert(0, "another export")
        if said:
            found.append(f"{number}: {', '.join(said)}")
    return found


def history_text(lines: Sequence[Mapping[str, Any]]) -> str:
    """For a terminal."""
    return "\n".join([*aligned(rows_of(lines), left=frozenset({1, 3, 4})), *changes(lines)])
