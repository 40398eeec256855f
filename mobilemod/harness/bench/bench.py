"""`mobilemod bench`: the files of a bundle, or one file, on one device, as a record."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError, unknown
from mobilemod.files import write_json
from mobilemod.harness.bench.files import Loader, find_files
from mobilemod.harness.bench.instructions import MAX_RISE_PERCENT, compare_with_baseline
from mobilemod.harness.bench.measured import measure, table
from mobilemod.harness.coreml.mac import Mac
from mobilemod.harness.coreml.placement import OpPlacement, fallback_verdict
from mobilemod.harness.drivers import DRIVERS, get_driver, kind_of
from mobilemod.harness.run.job_build import check_threads
from mobilemod.harness.run.validate import folder_name
from mobilemod.results.schema import json_ready
from mobilemod.results.table import aligned
from mobilemod.results.verdict import Verdict
from mobilemod.targets import SUFFIXES, facts_of_file, suffix_of

SCHEMA = "mobilemod/bench/1"
RECORD_FOLDER = "bench"
# What measures without a job, and so is no driver.
MEASURERS = {"mac": Mac}
KINDS = (*DRIVERS, *MEASURERS)


def bench(
    path: Path,
    device: str,
    load: Loader,
    threads: int = 1,
    runs: int = 50,
    baseline: dict[str, Any] | None = None,
    max_rise: float = MAX_RISE_PERCENT,
) -> tuple[dict[str, Any], list[Verdict]]:
    """Measure a bundle's files, or one model file, on a device: the record and its verdicts.

    device: KIND or KIND:ID. A bundle's record is also written to `bench/DEVICE.json` in it.
    baseline: recorded instruction counts, which may rise by `max_rise` percent. Raises `UserError`
    where the device can't be used here, runs none of the files, or fails with one.
    """
    if kind_of(device) not in KINDS:
        raise unknown("device", device, KINDS, ", or KIND:ID")
    own = MEASURERS.get(device)
    tool = own() if own else get_driver(device)
    tool.check()
    there = find_files(path)
    # What a device gives is held against what this machine does.
    suffixes = [s for s in tool.suffixes() if facts_of_file(Path(f"x{s}")).runs_here]
    taken = tuple(f for f in there.files if suffix_of(f.path) in suffixes)
    if not taken:
        kinds = ", ".join(suffixes)
        raise UserError(f"{path}: {device} runs {kinds} files, and here is none")
    check_threads(tool, threads)
    found = replace(there, files=taken)
    if own:
        entries = tool.measure([f.path for f in taken], found.card, runs)
        measured = {
            "input": f"drawn test card, {found.preprocess.pixels_text}",
            "environment": tool.environment(),
            "files": [{**f.to_dict(), **e} for f, e in zip(taken, entries, strict=True)],
            "comparisons": [],
        }
    else:
        measured = measure(tool, found, load, threads, runs, partial(_say, device))
    record = {
        "schema": SCHEMA,
        "device": device,
        "model": found.model,
        "threads": threads,
        **measured,
        "left_out": [f.path.name for f in there.files if f not in taken],
    }
    record = json_ready(record)
    verdicts = [
        fallback_verdict(f["file"], [OpPlacement(**op) for op in f["ops"]])
        for f in record["files"]
        if "ops" in f
    ]
    if baseline is not None:
        verdicts += compare_with_baseline(record, baseline, max_rise)
    record["verdicts"] = [v.to_dict() for v in verdicts]
    if path.is_dir() and suffix_of(path) not in SUFFIXES:
        write_json(path / RECORD_FOLDER / f"{folder_name(device)}.json", record)
    return record, verdicts


def _say(device: str, text: str) -> None:
    print(f"{device}: {text}", file=sys.stderr, flush=True)


def text(record: dict[str, Any], verdicts: Sequence[Verdict]) -> str:
    """The record for people: a table, comparisons, what was left out, verdicts."""
    lines = aligned(table(record["files"]))
    for c in record["comparisons"]:
        lines.append(
            f"{c['int8']} is {c['ratio']:.2f} times as fast as {c['float']}, 95 % "
            f"[{c['low']:.2f}, {c['high']:.2f}]; faster in {c['faster_rounds']} of {c['rounds']}"
        )
    if record["left_out"]:
        lines.append(f"not run by {record['device']}: {', '.join(record['left_out'])}")
    return "\n".join([*lines, *(v.line for v in verdicts)])
