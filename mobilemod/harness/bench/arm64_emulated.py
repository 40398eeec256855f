"""An emulated ARM64 processor: executed instructions and logits. Never a latency."""

from __future__ import annotations

from typing import Any

import numpy as np

from mobilemod.errors import UserError
from mobilemod.harness.arm64.emulator import CLASSES, Emulator, Inference, load_emulator
from mobilemod.harness.bench.devices import Job, Measurement, ModelFile
from mobilemod.progress import progress


def check(threads: int) -> None:
    """Raises `UserError` where no root is set up, and for more than one thread."""
    if threads != 1:
        raise UserError(f"arm64-emulated counts one thread, not {threads}; leave --threads out")
    load_emulator()


def suffixes() -> tuple[str, ...]:
    """What the root was set up for."""
    return load_emulator().suffixes


def measure(job: Job) -> Measurement:
    """Instructions of one inference by class; logits against those of the same file run here."""
    emulator = load_emulator()
    files = [
        {**file.to_dict(), **count_file(emulator, job, file)}
        for file in progress(job.files, "emulating", len(job.files), "file")
    ]
    environment = {
        "processor": emulator.stamp["cpu"],
        "qemu": next(v for k, v in emulator.stamp["packages"].items() if k.startswith("qemu-user")),
        "wheels": emulator.stamp["wheels"],
    }
    return Measurement(environment, files)


def count_file(emulator: Emulator, job: Job, file: ModelFile) -> dict[str, Any]:
    """The record's entry of one file, beyond what the file is."""
    x = job.card()
    runner = job.loaded(file)
    here = runner.run(x)
    there = emulator.infer(file.path, x)
    return {
        "runtime": there.runtime,
        "instructions": instruction_entry(there),
        "logits": {
            "compared_with": runner.description,
            "max_difference": float(np.abs(here - there.outputs[0]).max()),
            "identical": bool(np.array_equal(here, there.outputs[0])),
            "differing": int((here != there.outputs[0]).sum()),
            "count": int(here.size),
        },
    }


def instruction_entry(inference: Inference) -> dict[str, Any]:
    """A record's `instructions` of one file."""
    counts = inference.counts[-1]
    totals = [sum(c.values()) for c in inference.counts]
    return {
        "total": totals[-1],
        "classes": {name: counts[name] for name in CLASSES},
        # Of the same inference counted again: 0 unless something is wrong.
        "spread": max(totals) - min(totals),
    }


def table(record: dict[str, Any]) -> list[list[str]]:
    """Rows of text, counts in millions; the first is the heading."""
    rows = [["file", "million", *CLASSES, "logits: largest difference"]]
    for f in record["files"]:
        counts, logits = f["instructions"], f["logits"]
        parts = [f"{counts['classes'][c] / 1e6:.2f}" for c in CLASSES]
        differ = "identical" if logits["identical"] else f"{logits['max_difference']:.2g}"
        rows.append([f["file"], f"{counts['total'] / 1e6:.3f}", *parts, differ])
    return rows
