"""The record of a comparison of two records: B against A, without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from export.comparing.pairing import changed, paired_accuracy
from export.comparing.reading import Key, Record, Row, read_record
from mobilemod.errors import UserError
from mobilemod.evaluation.outcomes import Outcomes
from mobilemod.tasks import task_field

SCHEMA = "mobilemod/record-comparison/1"
SAME = "validate both bundles on the same images"
# Of what times depend on: without these in common a ratio says nothing of the files.
PLACE = ("kind", "device", "processor")


def compare_records(a: Path, b: Path) -> dict[str, Any]:
    """Sizes, accuracy, latency, recipes and tools of two records, each a `validation.json` or a
    device's, as they hold them.

    Accuracy is paired image by image on the images of both records. `UserError` for records of
    other tasks, classes or images, and where no model is in both.
    """
    first, second = read_record(a), read_record(b)
    _require_alike(first, second)
    names = [name for name in first.rows if name in second.rows]
    if not names:
        raise UserError(f"{a} and {b} hold no model of the same target and precision")
    notes = [f"{side}: {note}" for side, r in (("A", first), ("B", second)) for note in r.notes]
    outcomes = _paired(first, second, notes)
    same_kind = first.kind == second.kind
    if same_kind and first.latency != second.latency:
        keys = {**first.latency, **second.latency}
        other = [k for k in keys if first.latency.get(k) != second.latency.get(k)]
        notes.append(f"latency is of another {', '.join(other)}")
    same_place = all(first.latency.get(k) == second.latency.get(k) for k in PLACE)
    rows = []
    for name in names:
        x, y = first.rows[name], second.rows[name]
        rows.append({
            "name": name, "a": _facts(x), "b": _facts(y),
            "accuracy": _accuracy(first, outcomes, name),
            # A validation holds no times.
            "latency": _latencies(name, x, y, same_place, notes) if same_kind else [],
        })  # fmt: skip
    return {
        "schema": SCHEMA,
        **task_field(first.task.name),
        "of": first.kind if same_kind else f"{first.kind}, {second.kind}",
        "a": first.about,
        "b": second.about,
        "images": None if outcomes is None else len(outcomes[0].names),
        "rows": rows,
        "only": {"a": _lone(first, second), "b": _lone(second, first)},
        "tools": changed(first.tools, second.tools) | _runners(first, second, names),
        "notes": notes,
    }


def _require_alike(a: Record, b: Record) -> None:
    # A device's record holds no labels.
    if a.task != b.task or None not in (a.labels, b.labels) and a.labels != b.labels:
        raise UserError(f"{a.path} and {b.path} are of networks of other classes or tasks")


def _paired(a: Record, b: Record, notes: list[str]) -> tuple[Outcomes, Outcomes] | None:
    """The outcomes of the images in both; None with a note where there are none to pair."""
    other = f"{a.path} and {b.path} are of other images; {SAME}"
    if not a.images or not b.images:
        return None
    if a.outcomes is None or b.outcomes is None:
        if a.kind == b.kind and a.chosen != b.chosen:
            raise UserError(other)
        for side, record in (("A", a), ("B", b)):
            if record.outcomes is None:
                notes.append(f"{side} has no image's outcome: what B loses is not paired")
        return None
    there = set(b.outcomes.names)
    names = [name for name in a.outcomes.names if name in there]
    if not names:
        raise UserError(other)
    found = a.outcomes.at(names), b.outcomes.at(names)
    differing = np.flatnonzero(found[0].targets != found[1].targets)
    if len(differing):
        raise UserError(
            f"{a.path} and {b.path} have other labels for {len(differing)} of {len(names)} images, "
            f"first {names[differing[0]]}; {SAME}"
        )
    for side, record in (("A", a), ("B", b)):
        if lone := len(record.outcomes.names) - len(names):
            notes.append(f"{side}: {lone:,} images that the other lacks are left out")
    return found


def _accuracy(
    a: Record, outcomes: tuple[Outcomes, Outcomes] | None, name: str
) -> dict[str, Any] | None:
    if outcomes is None or any(name not in o.scored for o in outcomes):
        return None
    before, now = (o.scored[name] for o in outcomes)
    if before.shape != now.shape or before.dtype != now.dtype:
        raise UserError(f"{name}: outcomes of the records don't fit each other; validate again")
    return paired_accuracy(a.task, before, now, outcomes[0].names)


def _latencies(
    name: str, x: Row, y: Row, same_place: bool, notes: list[str]
) -> list[dict[str, Any]]:
    """Of the configurations of both, as the records hold them."""
    for side, keys in (("A", x.latency.keys() - y.latency), ("B", y.latency.keys() - x.latency)):
        notes += [f"{name}, {_words(key)}: timed in {side} alone" for key in sorted(keys)]
    found = []
    for key in (k for k in x.latency if k in y.latency):
        two = x.latency[key], y.latency[key]
        ms = [entry["p50_ms"] for entry in two]
        found.append({
            "threads": key[0], "delegate": key[1],
            **{side: {k: entry[k] for k in ("p50_ms", "p90_ms", "runs")}
               for side, entry in zip("ab", two, strict=True)},
            "ratio": ms[1] / ms[0] if same_place and ms[0] else None,
        })  # fmt: skip
    return found


def _words(key: Key) -> str:
    return f"{key[0]} thread{'s' if key[0] != 1 else ''} on {key[1]}"


def _facts(row: Row) -> dict[str, Any]:
    return {"file": row.file, "bytes": row.bytes, "int8_share": row.int8_share,
            "metric": row.metric}  # fmt: skip


def _runners(a: Record, b: Record, names: list[str]) -> dict[str, list[str | None]]:
    """What ran models, where that differs."""
    of = ({f"{n} run by": r.rows[n].run_by for n in names if r.rows[n].run_by} for r in (a, b))
    return changed(*of)


def _lone(a: Record, b: Record) -> list[str]:
    return [name for name in a.rows if name not in b.rows]
