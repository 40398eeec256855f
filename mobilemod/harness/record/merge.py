"""One record of a job on a device, merged from its lines; docs/harness.md says what it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mobilemod.harness.drivers import kind_of
from mobilemod.harness.protocol.held import Held
from mobilemod.harness.protocol.job import Job, ranges
from mobilemod.harness.protocol.job_folder import JobFolder
from mobilemod.harness.protocol.lines import OWN_RUN, THERMAL, Line, Reader, printable
from mobilemod.harness.record.answers import (
    accuracy_entry,
    by_file,
    judge,
    outcomes_entry,
    twin_entry,
)
from mobilemod.harness.record.host_side import HostAnswers, HostSide
from mobilemod.harness.record.statistics import Distribution
from mobilemod.harness.record.times import (
    Series,
    comparisons,
    gaps,
    series_of,
)
from mobilemod.harness.record.units import Units, placement_entry, worst
from mobilemod.manifest import Bundle
from mobilemod.results.device.spec import RECORD_SCHEMA
from mobilemod.results.schema import json_ready
from mobilemod.tasks import task_field

RECORD_FILE = "record.json"
STATES_KEPT = 600


@dataclass(frozen=True)
class Sources:
    """What a record is made of.

    device: as given on the command line. bundle: what the job was made of. lines, reader, held: of
    `read_lines`. refused: how many lines said what can't be, by reason. damaged: chosen
    images that this machine couldn't pack. starts, lost, reason: how the session ended. extra: the
    driver's own, by file. sample: a part of the images was chosen. started: ISO 8601.
    """

    device: str
    folder: JobFolder
    bundle: Bundle
    lines: Sequence[Line]
    reader: Reader
    held: Held
    refused: dict[str, int]
    damaged: Sequence[str]
    reason: str | None
    lost: Sequence[str]
    extra: dict[str, dict[str, Any]]
    sample: bool
    started: str


def build_record(sources: Sources, host: HostSide | None) -> tuple[dict[str, Any], Series]:
    """The record, JSON-ready, and every timed value. host: None where nothing is compared."""
    job, bundle = sources.folder.job, sources.bundle
    outputs, task = bundle.manifest.num_classes, bundle.task
    lines = sources.lines
    series = series_of(lines)
    answers = by_file(job, lines)
    measured = [f.name for f in job.files if answers[f.name].lines]
    host_answers = host.answers(measured) if host is not None and measured else None
    hello = next((line for line in reversed(lines) if line.type == "hello"), None)
    judged = {
        name: judge(job, found, outputs, host_answers, task, bundle.manifest.map)
        for name, found in answers.items()
    }
    units = Units(sources.folder, bundle, sources.held, lines, host)
    all_loads = [line for line in lines if line.type == "load"]
    files = []
    for f in job.files:
        configurations = [i for i, c in enumerate(job.configurations) if c.file == f.name]
        own = [i for i in job.measured if job.configurations[i].file == f.name]
        loads = [line for line in all_loads if line["configuration"] in own]
        tests = {i: units.self_test(i) for i in configurations}
        accuracy = accuracy_entry(judged[f.name], f.name, host_answers, task)
        if accuracy is not None and accuracy["paired_images"] < accuracy["images"]:
            accuracy["twin"] = twin_entry(job, f.name, judged, task)
        files.append({
            "file": f.name,
            "target": f.target,
            "precision": f.precision,
            "sha256": f.sha256,
            "bytes": f.bytes,
            "twin": f.twin,
            "runtime": printable(loads[-1]["runtime"]) if loads and loads[-1]["runtime"] else None,
            "placement": placement_entry(loads, bundle.model_file(f.name).audit),
            "self_test": asdict(worst(tests[i] for i in own)),
            "accuracy": accuracy,
            "per_image": _per_image(answers[f.name].lines.values()),
            "configurations": [units.entry(i, tests[i], series, all_loads) for i in configurations],
            **sources.extra.get(f.name, {}),
        })  # fmt: skip
    record = {
        "schema": RECORD_SCHEMA,
        **task_field(task.name),
        "started": sources.started,
        "device": {
            "name": sources.device,
            "kind": kind_of(sources.device),
            "facts": _said(hello, "device"),
            "app": _said(hello, "app"),
            "runtimes": _said(hello, "runtimes"),
        },
        "model": job.model,
        "bundle": bundle.origin,
        "job": _job_entry(job, sources),
        "complete": sources.reason is None,
        "reason": sources.reason,
        "lost": list(sources.lost),
        "counts": _counts(sources, lines, series, answers),
        "refused": sources.refused,
        "missing": {f.name: ranges(sources.held.missing(f.name)) for f in job.files},
        "files": files,
        "comparisons": comparisons(job, series),
        "outcomes": outcomes_entry(judged),
        "state": _state(lines),
        "errors": _errors(job, lines),
        "comparable": _comparable(sources, hello, host_answers),
        "verdicts": [],
    }
    return json_ready(record), series


def _said(hello: Line | None, key: str) -> dict[str, Any] | None:
    """An object of a `hello`, its text as a terminal may show it."""
    if hello is None:
        return None
    return {printable(k): printable(v) if isinstance(v, str) else v for k, v in hello[key].items()}


def _job_entry(job: Job, sources: Sources) -> dict[str, Any]:
    return {
        "id": job.id,
        "inputs": job.inputs.kind,
        "images": job.inputs.count,
        "sample": sources.sample,
        "damaged": list(sources.damaged),
        "latency": None if job.latency is None else asdict(job.latency),
        "sustained_seconds": job.sustained_seconds,
        "configurations": [asdict(c) for c in job.configurations],
    }


def _counts(sources: Sources, lines: Sequence[Line], series: Series, answers) -> dict[str, int]:
    """Where every image and every line is: `sent` times the files that the device has something to
    run on is `answered` and `missing` and, for each of them, `unreadable`."""
    job, reader = sources.folder.job, sources.reader.counts
    asked = job.inputs.count if job.accuracy else 0
    files = [f for f in job.files if not sources.held.is_unavailable(f.name)]
    return {
        "chosen": asked + len(sources.damaged),
        "sent": asked,
        "expected": asked * len(files),
        "answered": sum(len(a.lines) for a in answers.values()),
        "unreadable": len(sources.held.unreadable),
        "missing": sum(len(sources.held.missing(f.name)) for f in job.files),
        "answered_again": sum(a.again for a in answers.values()),
        "answered_differently": sum(a.differing for a in answers.values()),
        "timed": sum(map(len, series.values())),
        "timed_missing": gaps(series),
        "runs": len({line.run for line in lines} - {OWN_RUN}),
        "lines": reader["lines"],
        "repeated_lines": reader["repeated"],
        "damaged_lines": reader["damaged"],
        "foreign_lines": reader["foreign"],
        "impossible_lines": sum(sources.refused.values()),
        "errors": sum(line.type == "error" for line in lines),
    }


def _per_image(lines) -> dict[str, Any]:
    """Times of the accuracy run: preprocessing apart from inference, one image after the other."""
    found = {}
    for key in ("preprocess_ms", "inference_ms"):
        values = [line[key] for line in lines if line[key] is not None]
        found[key] = asdict(Distribution.of(values)) if values else None
    return found


def _state(lines: Sequence[Line]) -> dict[str, Any]:
    """Heat, battery and memory over the job; `series` thinned to at most 600 entries."""
    states = [line for line in lines if line.type == "state"]
    levels = [(s["battery"] or {}).get("level") for s in states]
    batteries = [level for level in levels if level is not None]
    thermals = [s["thermal"] for s in states if s["thermal"]]
    temperatures = [s["temperature_c"] for s in states if s["temperature_c"] is not None]
    memories = [s["memory_bytes"] for s in states if s["memory_bytes"] is not None]
    step = max(1, -(-len(states) // STATES_KEPT))
    return {
        "worst_thermal": max(thermals, key=THERMAL.index, default=None),
        "first_temperature_c": temperatures[0] if temperatures else None,
        "highest_temperature_c": max(temperatures, default=None),
        "battery_first": batteries[0] if batteries else None,
        "battery_last": batteries[-1] if batteries else None,
        "charging": next((s["battery"].get("charging") for s in states if s["battery"]), None),
        "peak_memory_bytes": max(memories, default=None),
        "series": [{"run": s.run, "t": s.t, **s.values} for s in states[::step]],
    }


def _errors(job: Job, lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [
        {
            "where": printable(line["where"]),
            "message": printable(line["message"]),
            "file": None
            if line["configuration"] is None
            else job.configurations[line["configuration"]].file,
            "configuration": line["configuration"],
            "fatal": line["fatal"],
        }
        for line in lines
        if line.type == "error"
    ]


def _comparable(sources: Sources, hello: Line | None, host: HostAnswers | None) -> dict[str, Any]:
    """Records with the same digest may be compared; `fields` are what it is made of."""
    job, bundle = sources.folder.job, sources.bundle
    items = "\n".join(f"{i.name}\0{i.target}" for i in job.inputs.items)
    accuracy = {
        "model": job.model,
        "weights": bundle.manifest.checkpoint.weights,
        "images": hashlib.sha256(items.encode()).hexdigest(),
        "preprocess": bundle.preprocess.to_dict(),
    }
    facts = _said(hello, "device") or {}
    latency = {
        "model": job.model,
        "kind": kind_of(sources.device),
        "device": facts.get("model"),
        "processor": facts.get("processor"),
        "runtimes": _said(hello, "runtimes"),
        "app": _said(hello, "app"),
        "size": bundle.preprocess.size,
        "plan": None if job.latency is None else asdict(job.latency),
    }
    return {name: {"digest": _digest(fields), "fields": fields}
            for name, fields in (("accuracy", accuracy), ("latency", latency))}  # fmt: skip


def _digest(fields: dict[str, Any]) -> str:
    text = json.dumps(json_ready(fields), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
