"""A stress record as text for a terminal."""

from __future__ import annotations

from mobilemod.results.table import aligned, drop_text, measured_lines
from mobilemod.tasks import task_of

NO_CORRUPTION = "none"


def text_table(record: dict) -> str:
    """A line per corruption and strength, the mean of all last; no trailing newline."""
    reference, *files = record["models"]
    metric = task_of(record).metric
    corrupted = [c for c in record["conditions"] if c["corruption"]]
    rows = [["corruption", "strength", f"{reference['name']} {metric.unit}"]]
    for f in files:
        rows[0] += [f["name"], "95 %"]
    for c in record["conditions"]:
        kind = [c["corruption"], str(c["strength"])] if c["corruption"] else [NO_CORRUPTION, "–"]
        own, *others = c["models"]
        drops = [text for m in others for text in drop_text(m["drop"])]
        rows.append([*kind, metric.text(own[metric.key]), *drops])
    means = [text for f in files for text in drop_text(f["mean_drop"])]
    mean = metric.text(reference[f"mean_{metric.key}"])
    rows.append([f"mean of {len(corrupted)}", "", mean, *means])
    lines = [
        f"{record['model']}, recipe {record['recipe']}, {record['images']} images: {metric.name} "
        f"of the float network, and the {metric.points} that each int8 file loses on the same "
        "images",
        "",
        *aligned(rows),
    ]
    lines += measured_lines(record.get("data"), record["images"])
    if record["damaged"]:
        lines.append(f"{len(record['damaged'])} damaged images left out")
    return "\n".join(lines)
