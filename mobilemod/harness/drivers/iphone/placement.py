"""Where the phone runs the ops of a job's packages, by coremltools' compute plan; needs a Mac.

coremltools builds an app of its own for this and signs it: MOBILEMOD_APPLE_TEAM names the team.
Never run, as mobilemod/harness/coreml/phone.py, which asks the phone.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mobilemod.data.testcard import draw_card
from mobilemod.harness.coreml.phone import place_on_phone
from mobilemod.harness.coreml.placement import CPU, HEAVY, UNKNOWN
from mobilemod.harness.drivers import JobFolder
from mobilemod.harness.worker.inputs import Feed

TEAM_VARIABLE = "MOBILEMOD_APPLE_TEAM"


def placement_by_file(folder: JobFolder, udid: str) -> dict[str, dict[str, Any]]:
    """The record's `placement`, `ops_by_device` and `ops` by file name; {} on another system or
    without a team.

    Raises `UserError` where Xcode's tools or the phone refuse.
    """
    team = os.environ.get(TEAM_VARIABLE)
    if sys.platform != "darwin" or not team:
        return {}
    # Of packages alone: coremltools opens no other file.
    files = [f for f in folder.job.files if folder.path(f.path).is_dir()]
    card = draw_card(*Feed(folder).preprocess.sides)
    placed = place_on_phone([folder.path(f.path) for f in files], card, udid, team)
    return {
        f.name: {"placement": placement(entry["ops"]), **entry}
        for f, entry in zip(files, placed, strict=True)
    }


def placement(ops: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """As records have it. fallback: heavy ops that the phone leaves to the CPU, or to nobody knows
    what, by type."""
    off = Counter(op["op"] for op in ops if op["op"] in HEAVY and op["device"] in (CPU, UNKNOWN))
    return {"source": "device", "partitions": None, "fallback": dict(off)}
