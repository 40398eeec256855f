"""Node data for Google's Model Explorer: a value an op, shown over a file's graph.

Source of the form: `ai-edge-model-explorer`'s node_data_builder: a graph's id -> `results` by the
name of a tensor that the node gives. A file holds one value a node, so what has several is written
as several files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.auditing.explain import float_tensors
from export.graph import WEIGHTED, FileGraph, FileNode
from mobilemod.errors import UserError
from mobilemod.files import write_text
from mobilemod.manifest import Bundle
from mobilemod.targets import EXPLORED, TARGETS
from mobilemod.tasks import task_of

if TYPE_CHECKING:
    from export.bundle_parts import OpenedBundle
    from export.diff.named import NamedTaps
    from export.measure.profiling import Profile

GRAPH = "main"  # of the files' one graph
FLOAT, INT8, OTHER = "#f4b6a6", "#b7d3f2", "#e4e4e4"
COLD, HOT = "#ffffff", "#e2542d"
# What it would add up: words, and decibels, whose least and most say something.
WORDS = {"hideInAggregatedStatsTable": True, "hideInChildrenStatsTable": True}
DECIBELS = {"hideAggregatedStats": ["sum"], "hideInChildrenStatsTable": True}
# By a tensor of the file.
Values = dict[str, float | None]


def write_times(profile: Profile, file: Path, out: Path) -> None:
    """Milliseconds of every op that was timed; a fused group's stand at its last."""
    values: Values = {u.tensor: u.ms for u in profile.units}
    _write_numbers(out, f"ms, {profile.threads} thread(s): {file.name}", values)


def write_kinds(
    graph: FileGraph, file: Path, out: Path, reasons: Mapping[str, str] | None = None
) -> None:
    """Of every op the type of what it gives, and where it runs outside the delegate why.

    reasons: why a tensor of the file is float.
    """
    untaken, reasons = graph.facts.untaken, reasons or {}

    def kind(node: FileNode) -> dict[str, str]:
        dtype = graph.tensors[node.outputs[0]].dtype
        colour = INT8 if dtype.startswith("int8") else FLOAT if "float" in dtype else OTHER
        told = dtype
        if colour == FLOAT and node.outputs[0] in reasons:
            told += f" ({reasons[node.outputs[0]]})"
        if node.partition is None:
            why = untaken.get(node.op)
            told += ", outside the delegate" + (f": {why}" if why else "")
        return {"value": told, "bgColor": colour}

    results = {node.outputs[0]: kind(node) for node in graph.nodes if node.outputs}
    more = {"showExpandedSummaryOnGroupNode": True, **WORDS}
    _write(out, f"int8 or float: {file.name}", results, more)


def float_reasons(opened: OpenedBundle, form: str) -> dict[str, str]:
    """By published tensor why the recipe of a bundle leaves it float."""
    floats = float_tensors(opened.mobile(form, True), opened.table(form), opened.recipe)
    return {tensor: why for why, tensors in floats.items() for tensor in tensors}


def explored_file(bundle: Bundle, form: str) -> Path:
    """The bundle's int8 file of a form that Model Explorer shows; `UserError` where it has none."""
    for entry in bundle.manifest.files:
        facts = TARGETS[entry.target]
        if facts.explorer and entry.precision == "int8" and facts.form == form:
            return bundle.file(entry.file)
    raise UserError(
        f"--model-explorer needs an int8 {' or '.join(EXPLORED)} of form {form}, and "
        f"{bundle.folder} has none: export that too, or leave it out"
    )


def write_sensitivity(
    record: dict[str, Any], named: NamedTaps, file: Path, out: Path, reasons: Mapping[str, str]
) -> list[Path]:
    """Of each op whose tensors were made int8 alone the least SQNR and the highest cost of them,
    and every op's type; the files. reasons: as of `float_reasons`."""
    alone: dict[str, list[dict[str, Any]]] = {}
    for item in record["items"]:
        for tensor in item["tensors"]:
            alone.setdefault(tensor, []).append(item["alone"])

    def effects(tensor: str, node: FileNode) -> list[dict[str, Any]]:
        own = alone.get(tensor, [])
        # A weight goes by the op that reads it.
        weight = f"{tensor.partition(':')[0]}:weight" if node.op in WEIGHTED else ""
        return [*own, *alone.get(weight, [])]

    found = {t: effects(t, node) for t, node in _nodes(named).items()}
    task = task_of(record)
    places = [out, _beside(out, "cost"), _beside(out, "types")]
    _write_numbers(
        places[0], f"SQNR dB, alone in int8: {file.name}",
        _by_node(named, found, lambda e: min((_level(x) for x in e), default=None)), decibels=True,
    )  # fmt: skip
    _write_numbers(
        places[1], f"{task.loss} alone in int8, {task.loss_unit} more: {file.name}",
        _by_node(named, found, lambda e: max(
            (x["loss_change"] for x in e if x["loss_change"] is not None), default=None)),
    )  # fmt: skip
    write_kinds(named.taps.graph, file, places[2], _held(named, reasons))
    return places


def write_differences(
    record: dict[str, Any], named: NamedTaps, file: Path, out: Path, reasons: Mapping[str, str]
) -> list[Path]:
    """Of each op the least SQNR over the images against the other file, what it adds of its own,
    and its type; the files. reasons: as of `float_reasons`."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for image in record["images"]:
        for row in image["tensors"]:
            rows.setdefault(row["tensor"], []).append(row)
    other = next(s["label"] for s in (record["b"], record["a"]) if s["file"] != file.name)
    places = [out, _beside(out, "own"), _beside(out, "types")]
    for place, words, own in ((places[0], "SQNR dB", False), (places[1], "own SQNR dB", True)):
        values = _by_node(
            named, rows, lambda e, own=own: min(_level(r["own"] if own else r) for r in e)
        )
        _write_numbers(place, f"{words} against {other}: {file.name}", values, decibels=True)
    write_kinds(named.taps.graph, file, places[2], _held(named, reasons))
    return places


def _level(found: Mapping[str, Any]) -> float:
    """SQNR in dB as a number that can be ranked: inf where nothing differs, -inf where it isn't
    finite."""
    if found["sqnr_db"] is None:
        return math.inf if found.get("identical", True) else -math.inf
    return found["sqnr_db"]


def _nodes(named: NamedTaps) -> dict[str, FileNode]:
    """By published tensor the op that gives it."""
    found = ((t, named.makers.get(own)) for t, own in named.names.items())
    return {tensor: node for tensor, node in found if node is not None}


def _by_node(
    named: NamedTaps, found: Mapping[str, list[Any]], take: Callable[[list[Any]], float | None]
) -> Values:
    nodes = _nodes(named)
    return {named.names[t]: take(found[t]) for t in nodes if found.get(t)}


def _held(named: NamedTaps, reasons: Mapping[str, str]) -> dict[str, str]:
    return {named.names[t]: why for t, why in reasons.items() if t in named.names}


def _beside(out: Path, part: str) -> Path:
    return out.with_name(f"{out.stem}-{part}{out.suffix}")


def _write_numbers(out: Path, name: str, values: Values, decibels: bool = False) -> None:
    """decibels: of which the lowest is the worst and no sum says anything."""
    words = {math.inf: "identical", -math.inf: "not finite"}
    results = {
        tensor: {"value": words.get(value, round(value, 6))}
        for tensor, value in values.items()
        if value is not None
    }
    ends = (HOT, COLD) if decibels else (COLD, HOT)
    gradient = [{"stop": stop, "bgColor": colour} for stop, colour in enumerate(ends)]
    _write(out, name, results, {"gradient": gradient, **(DECIBELS if decibels else {})})


def _write(out: Path, name: str, results: dict[str, Any], more: dict[str, Any]) -> None:
    data = {GRAPH: {"results": results, "name": name, **more}}
    write_text(out, json.dumps(data, indent=1) + "\n")
