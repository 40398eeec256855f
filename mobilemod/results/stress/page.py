"""What a stress record shows: the mean drop of each int8 file, and that under every corruption."""

from __future__ import annotations

from mobilemod.results.forest import Interval, drop_limits, gate_note, intervals
from mobilemod.results.markup import Html, join, named, shaded, table, tag
from mobilemod.results.parts import Group, capital, group, section
from mobilemod.results.stress.table import NO_CORRUPTION
from mobilemod.results.table import drop_text, measured_lines
from mobilemod.tasks import task_of

FULL_SHADE = 5.0  # points


def stress_group(record: dict) -> Group | None:
    """Of a `mobilemod/stress/1` record."""
    lines = measured_lines(record.get("data"), record["images"])
    corrupted = len({c["corruption"] for c in record["conditions"] if c["corruption"]})
    said = (
        f"{record['images']:,} images, corrupted in {corrupted} ways at several strengths: what "
        "int8 loses beside the float network on the very same images."
    )
    lead = join(tag("p", said), *(tag("p", line, class_="note") for line in lines))
    return group("stress", "On corrupted images", lead, _mean(record), _conditions(record))


def _mean(record: dict) -> Html | None:
    metric = task_of(record).metric
    limits = drop_limits(record.get("verdicts") or (), "mean drop")
    entries = [
        Interval.of_drop(
            named(m), m["role"], m["mean_drop"], f"{m['name']}: mean drop", metric.points
        )
        for m in record["models"]
        if m["mean_drop"]
    ]
    if not entries:
        return None
    note = (
        f"{capital(metric.name)} {metric.points} lost in the mean over all corruptions, with the "
        f"95 % interval.{gate_note(limits)}"
    )
    axis = f"{metric.points} of {metric.name} lost"
    return section("In the mean", note, intervals(entries, axis, limits))


def _conditions(record: dict) -> Html | None:
    metric = task_of(record).metric
    reference, *files = record["models"]
    rows: list[list[object]] = []
    for c in record["conditions"]:
        own, *others = c["models"]
        name = c["corruption"] or NO_CORRUPTION
        strength = None if c["corruption"] is None else tag("small", f"strength {c['strength']}")
        cells = [_drop(m["drop"]) for m in others]
        rows.append([join(name, strength), metric.text(own[metric.key]), *cells])
    head = ["corruption", f"{reference['name']}, {metric.unit}", *(f["name"] for f in files)]
    note = (
        f"{capital(metric.name)} of the float network, and the {metric.points} that each int8 file "
        "loses against it, with the 95 % interval; red: lost."
    )
    return section("By corruption", note, table(head, rows, "wide", "drops by corruption"))


def _drop(drop: dict) -> Html:
    points, interval = drop_text(drop)
    lost = drop["points"]
    return shaded(points, "bad" if lost > 0 else "good", abs(lost) / FULL_SHADE, interval)
