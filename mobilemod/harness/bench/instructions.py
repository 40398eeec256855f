"""Recorded instruction counts, and the gate on their rise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError
from mobilemod.files import write_text
from mobilemod.results.verdict import FAIL, Verdict, word

SCHEMA = "mobilemod/instructions/1"
MAX_RISE_PERCENT = 3.0


def write_baseline(record: dict[str, Any], path: Path) -> None:
    """Record the counts of a bench record of `arm64-emulated`, by file name."""
    files = {f["file"]: {"runtime": f["runtime"], **_counts(f)} for f in record["files"]}
    baseline = {"schema": SCHEMA, "processor": record["environment"]["processor"], "files": files}
    write_text(path, json.dumps(baseline, indent=1) + "\n")


def _counts(file: dict[str, Any]) -> dict[str, Any]:
    return {k: file["instructions"][k] for k in ("total", "classes")}


def read_baseline(path: Path) -> dict[str, Any]:
    """What `write_baseline` wrote; `UserError` for anything else."""
    try:
        values = json.loads(path.read_text("utf-8"))
        known = values["schema"] == SCHEMA
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; write one with --record {path}") from None
    except (ValueError, TypeError, KeyError):
        known = False
    if not known:
        raise UserError(f"{path} holds no {SCHEMA}; write it again with --record {path}")
    return values


def compare_with_baseline(
    record: dict[str, Any], baseline: dict[str, Any], max_rise: float = MAX_RISE_PERCENT
) -> list[Verdict]:
    """A verdict for each measured file that has a recorded count.

    Fails where a total rose by more than `max_rise` percent, where processor or runtime are not
    those of the recorded count, and where no file has one.
    """
    verdicts = []
    for file in record["files"]:
        old = baseline["files"].get(file["file"])
        if old is not None:
            verdicts.append(_verdict(file, old, record, baseline, max_rise))
    if not verdicts:
        line = "instructions: none of the measured files has a recorded count: fail"
        return [Verdict("instructions", FAIL, line)]
    return verdicts


def _verdict(file: dict, old: dict, record: dict, baseline: dict, max_rise: float) -> Verdict:
    name = f"instructions: {file['file']}"
    was = (baseline["processor"], old["runtime"])
    now = (record["environment"]["processor"], file["runtime"])
    if was != now:
        line = f"{name}: recorded on {', '.join(was)}, now {', '.join(now)}: fail; record it again"
        return Verdict(name, FAIL, line, "instructions")
    more = file["instructions"]["total"] - old["total"]
    rise, state = 100 * more / old["total"], word(100 * more <= max_rise * old["total"])
    line = (
        f"{name}: {file['instructions']['total']:,}, recorded {old['total']:,}, {rise:+.2f} %, "
        f"gate {max_rise:+g} %: {state}"
    )
    return Verdict(name, state, line, "instructions", rise, max_rise)
