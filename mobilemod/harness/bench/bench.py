"""`mobilemod bench`: the files of a bundle, or one file, on one device, as a record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.files import file_sha256, write_json
from mobilemod.harness.bench.devices import Job, Loader, ModelFile, get_device
from mobilemod.harness.bench.instructions import MAX_RISE_PERCENT, compare_with_baseline
from mobilemod.manifest import bundle_around, load_bundle
from mobilemod.results.table import aligned
from mobilemod.results.verdict import Verdict
from mobilemod.targets import SUFFIXES

SCHEMA = "mobilemod/bench/1"
RECORD_FOLDER = "bench"


def bench(
    path: Path,
    device_name: str,
    load: Loader,
    threads: int = 1,
    runs: int = 50,
    apple: dict[str, str | None] | None = None,
    baseline: dict[str, Any] | None = None,
    max_rise: float = MAX_RISE_PERCENT,
) -> tuple[dict[str, Any], list[Verdict]]:
    """Measure a bundle's files, or one model file, on a device: the record and its verdicts.

    A bundle's record is also written to `bench/DEVICE.json` in it. apple: see iphone.py.
    baseline: recorded instruction counts, which may rise by `max_rise` percent. Raises `UserError`
    where the device can't be used here, or runs none of the files.
    """
    device = get_device(device_name)
    device.check(threads)
    files, preprocess, model = find_files(path)
    taken = tuple(f for f in files if f.path.suffix in device.suffixes())
    if not taken:
        kinds = ", ".join(device.suffixes())
        raise UserError(f"{path}: {device_name} runs {kinds} files, and here is none")
    job = Job(taken, preprocess, threads, runs, load, apple or {})
    found = device.measure(job)
    record = {
        "schema": SCHEMA,
        "device": device_name,
        "model": model,
        "input": f"drawn test card, {preprocess.size} x {preprocess.size}",
        "threads": threads,
        "environment": found.environment,
        "files": list(found.files),
        "comparisons": list(found.comparisons),
        "left_out": [f.path.name for f in files if f not in taken],
    }
    verdicts = list(found.verdicts)
    if baseline is not None:
        verdicts += compare_with_baseline(record, baseline, max_rise)
    record["verdicts"] = [v.to_dict() for v in verdicts]
    if path.is_dir() and path.suffix not in SUFFIXES:
        save(record, path)
    return record, verdicts


def find_files(path: Path) -> tuple[tuple[ModelFile, ...], Preprocess, str | None]:
    """The model files at `path`, their preprocessing and the network's name.

    A single file that lies in a bundle is described by the bundle's manifest.
    """
    if path.suffix not in SUFFIXES:
        if not path.is_dir():
            raise UserError(f"{path}: neither a bundle nor a {', '.join(SUFFIXES)} file")
        bundle = load_bundle(path)
        files = [
            ModelFile(path / e.file, e.sha256, e.target, e.precision) for e in bundle.manifest.files
        ]
        return tuple(files), bundle.preprocess, bundle.manifest.model
    if not path.exists():
        raise UserError(f"{path}: no such file")
    digest = file_sha256(path)
    bundle = bundle_around(path)
    for e in bundle.manifest.files if bundle is not None else ():
        if (e.file, e.sha256) == (path.name, digest):
            file = ModelFile(path, digest, e.target, e.precision)
            return (file,), bundle.preprocess, bundle.manifest.model
    return (ModelFile(path, digest),), Preprocess(), None


def save(record: dict[str, Any], bundle: Path) -> None:
    """Write a record into a bundle, beside its files."""
    write_json(bundle / RECORD_FOLDER / f"{record['device']}.json", record)


def text(record: dict[str, Any], verdicts: Sequence[Verdict]) -> str:
    """The record for people: a table, comparisons, what was left out, verdicts."""
    lines = aligned(get_device(record["device"]).table(record))
    for c in record["comparisons"]:
        lines.append(
            f"{c['int8']} is {c['ratio']:.2f} times as fast as {c['float']}, 95 % "
            f"[{c['low']:.2f}, {c['high']:.2f}]; faster in {c['faster_rounds']} of {c['rounds']}"
        )
    if record["left_out"]:
        lines.append(f"not run by {record['device']}: {', '.join(record['left_out'])}")
    return "\n".join([*lines, *(v.line for v in verdicts)])
