"""What the files do on a driver's device, as parts of a record, and the table of them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from mobilemod.errors import UserError
from mobilemod.evaluation.runs import from_runs, map_of
from mobilemod.harness.arm64.emulator import CLASSES
from mobilemod.harness.bench.files import Found, Loader, RunHere
from mobilemod.harness.bench.job import build
from mobilemod.harness.drivers import Driver
from mobilemod.harness.protocol.lines import Line, printable
from mobilemod.harness.record.statistics import Latency
from mobilemod.harness.record.times import comparisons, series_of
from mobilemod.harness.run.session import Say, Session, read_lines


def measure(
    driver: Driver, found: Found, load: Loader, threads: int, runs: int, say: Say
) -> dict[str, Any]:
    """A record's `input`, `environment`, `files` and `comparisons`. say: told what goes on.

    The files run here too: their outputs are held against the device's, and of a damaged file this
    machine has better words than a device. Raises `UserError` with what failed first.
    """
    here = [found.answer(file, load) for file in found.files]
    environment = driver.environment()
    with tempfile.TemporaryDirectory(prefix="mobilemod-bench-") as name:
        most = max((answer.outputs for answer in here), key=np.size)
        folder = build(found, most, threads, runs, driver, Path(name, "job"))
        session = Session(driver, folder, Path(name, "run"), say)
        result = session.run()
        lines, *_ = read_lines(session.path, folder.job)
        if session.held.failed or session.held.unavailable or not result.complete:
            kinds = ("error", "unavailable")
            said = [line["message"] for line in lines if line.type in kinds]
            raise UserError(printable(said[0] if said else result.reason))
        extra = driver.extra(folder)
    entries, series = [], series_of(lines)
    for index, (file, answer) in enumerate(zip(found.files, here, strict=True)):
        own = [line for line in lines if line["configuration"] == index]
        times = {
            "load": [1e3 * v["seconds"] for v in own if v.type == "load" and v["cold"]],
            "latency": [v.ms for v in series.get((index, "steady"), ())],
        }
        if driver.latency and not all(times.values()):
            raise UserError(f"{file.path.name}: the device sent no times of it; run it again")
        times = {key: asdict(Latency.of(ms)) for key, ms in times.items() if ms}
        entries.append({
            **file.to_dict(), **_said(own, answer), **times, **extra.get(file.path.name, {})
        })  # fmt: skip
    told = next((line["device"] for line in reversed(lines) if line.type == "hello"), {})
    facts = {k: printable(v) if isinstance(v, str) else v for k, v in told.items()}
    card = "drawn test card" if folder.job.golden else "grey"
    return {
        "input": f"{card}, {found.preprocess.pixels_text}",
        "environment": {**facts, **environment},
        "files": entries,
        "comparisons": comparisons(folder.job, series),
    }


def _said(lines: Sequence[Line], here: RunHere) -> dict[str, Any]:
    """What a file's lines say beside times: what ran it, and its outputs against those here."""
    entry: dict[str, Any] = {}
    for line in lines:
        if line.type == "load" and line["runtime"]:
            entry["runtime"] = printable(line["runtime"])
        elif line.type == "golden" and line["source"] == "pixels":
            if line["runs"] is None:
                entry["logits"] = _compare(line["logits"], here)
            else:
                entry["map"] = _compare_maps(line["runs"], here)
    return entry


def _compare_maps(runs: Sequence[int], here: RunHere) -> dict[str, Any]:
    """A record's `map`: of the device's pixels, how many have another class than here."""
    own = map_of(here.outputs).ravel()
    try:
        there = from_runs(runs, own.size)
    except ValueError as error:
        raise UserError(f"the device's map is not that of {here.runtime}: {error}") from None
    differing = int((own != there).sum())
    return {
        "compared_with": here.runtime,
        "identical": differing == 0,
        "differing": differing,
        "count": own.size,
    }


def _compare(told: Sequence[float | None], here: RunHere) -> dict[str, Any]:
    """A record's `logits`. told: a device's outputs, None where one isn't finite."""
    there = np.array([np.nan if v is None else v for v in told], np.float32)
    here = replace(here, outputs=here.outputs.ravel())
    if there.shape != here.outputs.shape:
        raise UserError(f"{there.size} outputs there, {here.outputs.size} of {here.runtime}")
    return {
        "compared_with": here.runtime,
        "max_difference": float(np.abs(here.outputs - there).max()),
        "identical": bool(np.array_equal(here.outputs, there)),
        "differing": int((here.outputs != there).sum()),
        "count": int(there.size),
    }


def table(entries: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Rows of text, the first the heading: a column for all that an entry has."""
    rows = [_row(entry) for entry in entries]
    heads = list(dict.fromkeys(head for row in rows for head in row))
    return [heads, *([row.get(head, "–") for head in heads] for row in rows)]


def _row(entry: dict[str, Any]) -> dict[str, str]:
    row = {"file": entry["file"]}
    if latency := entry.get("latency"):
        row |= {f"{k} ms": f"{latency[f'{k}_ms']:.2f}" for k in ("median", "p90", "min")}
        row |= {"runs": str(latency["runs"]), "load ms": f"{entry['load']['median_ms']:.1f}"}
    if counts := entry.get("instructions"):
        row["million"] = f"{counts['total'] / 1e6:.3f}"
        row |= {c: f"{counts['classes'][c] / 1e6:.2f}" for c in CLASSES}
    if logits := entry.get("logits"):
        most = "not finite" if (d := logits["max_difference"]) is None else f"{d:.2g}"
        row["logits: largest difference"] = "identical" if logits["identical"] else most
    if pixels := entry.get("map"):
        row["pixels of the map that differ"] = f"{pixels['differing']} of {pixels['count']}"
    if devices := entry.get("ops_by_device"):
        row["ops by device"] = ", ".join(f"{k} {v}" for k, v in devices.items())
    if runtime := entry.get("runtime"):
        row["run by"] = runtime
    return row
