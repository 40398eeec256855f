"""Where the phone runs the ops of a job's packages, by coremltools' compute plan; needs a Mac.

coremltools builds an app of its own for this and signs it: MOBILEMOD_APPLE_TEAM names the team.
Never run, as mobilemod/harness/bench/iphone.py, whose measurement this is.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mobilemod.harness.bench import iphone
from mobilemod.harness.bench.coreml_placement import CPU, HEAVY, UNKNOWN
from mobilemod.harness.bench.devices import Job, ModelFile
from mobilemod.harness.drivers import JobFolder
from mobilemod.manifest import load_bundle

TEAM_VARIABLE = "MOBILEMOD_APPLE_TEAM"
RUNS = 10


def placement_by_file(folder: JobFolder, udid: str) -> dict[str, dict[str, Any]]:
    """The record's `placement` by file name; {} on another system or without a team.

    Raises `UserError` where Xcode's tools or the phone refuse.
    """
    team = os.environ.get(TEAM_VARIABLE)
    if sys.platform != "darwin" or not team:
        return {}
    files = tuple(
        ModelFile(folder.path(f.path), f.sha256, f.target, f.precision) for f in folder.job.files
    )
    preprocess = load_bundle(folder.folder, verify=False).preprocess
    job = Job(files, preprocess, 1, RUNS, no_loader, {"udid": udid, "team": team})
    measured = iphone.measure(job)
    names = [f.name for f in folder.job.files]
    return {
        name: {"placement": placement(entry["ops"], entry["ops_by_device"])}
        for name, entry in zip(names, measured.files, strict=True)
    }


def no_loader(path: Any, threads: int) -> Any:
    """Core ML packages are not run by this machine's runtimes."""
    raise AssertionError(f"{path} isn't loaded here")


def placement(ops: Sequence[dict[str, Any]], by_device: dict[str, int]) -> dict[str, Any]:
    """As records have it. fallback: heavy ops that the phone leaves to the CPU, or to nobody knows
    what, by type."""
    off = Counter(op["op"] for op in ops if op["op"] in HEAVY and op["device"] in (CPU, UNKNOWN))
    return {
        "source": "device",
        "partitions": None,
        "fallback": dict(off),
        "ops_by_device": dict(by_device),
    }
