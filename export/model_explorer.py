"""Node data for Google's Model Explorer: a value an op, shown over a file's graph.

Source of the form: `ai-edge-model-explorer`'s node_data_builder: a graph's id -> `results` by the
name of a tensor that the node gives.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from export.graph import FileNode
from export.measure.profiling import Profile
from export.targets.target import target_of_file
from mobilemod.files import write_text

GRAPH = "main"  # of the files' one graph
FLOAT, INT8, OTHER = "#f4b6a6", "#b7d3f2", "#e4e4e4"
COLD, HOT = "#ffffff", "#e2542d"


def write_times(profile: Profile, file: Path, out: Path) -> None:
    """Milliseconds of every op that was timed; a fused group's stand at its last."""
    results = {u.tensor: {"value": round(u.ms, 6)} for u in profile.units}
    gradient = [{"stop": 0, "bgColor": COLD}, {"stop": 1, "bgColor": HOT}]
    _write(out, f"ms, {profile.threads} thread(s): {file.name}", results, {"gradient": gradient})


def write_kinds(file: Path, out: Path) -> None:
    """Of every op the type of what it gives, and where it runs outside the delegate why."""
    target = target_of_file(file)
    graph = target.read_graph(file)

    def kind(node: FileNode) -> dict[str, str]:
        dtype = graph.tensors[node.outputs[0]].dtype
        colour = INT8 if dtype.startswith("int8") else FLOAT if "float" in dtype else OTHER
        if node.partition is not None:
            return {"value": dtype, "bgColor": colour}
        why = target.facts.untaken.get(node.op)
        told = f"{dtype}, outside the delegate" + (f": {why}" if why else "")
        return {"value": told, "bgColor": colour}

    results = {node.outputs[0]: kind(node) for node in graph.nodes if node.outputs}
    more = {"showExpandedSummaryOnGroupNode": True}
    _write(out, f"int8 or float: {file.name}", results, more)


def _write(out: Path, name: str, results: dict[str, Any], more: dict[str, Any]) -> None:
    data = {GRAPH: {"results": results, "name": name, **more}}
    write_text(out, json.dumps(data, indent=1) + "\n")
