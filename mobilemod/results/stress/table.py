"""A stress record as text for a terminal."""

from __future__ import annotations

from mobilemod.results.measured import measured_lines
from mobilemod.results.table import aligned, drop_text

NO_CORRUPTION = "none"


def text_table(record: dict) -> str:
    """A line per corruption and strength, the mean of all last; no trailing newline."""
    reference, *files = record["models"]
    corrupted = [c for c in record["conditions"] if c["corruption"]]
    rows = [["corruption", "strength", f"{reference['name']} %"]]
    for f in files:
        rows[0] += [f["name"], "95 %"]
    for c in record["conditions"]:
        kind = [c["corruption"], str(c["strength"])] if c["corruption"] else [NO_CORRUPTION, "–"]
        own, *others = c["models"]
        drops = [text for m in others for text in drop_text(m["drop"])]
        rows.append([*kind, f"{own['top1_percent']:.2f}", *drops])
    means = [text for f in files for text in drop_text(f["mean_drop"])]
    mean = f"{reference['mean_top1_percent']:.2f}"
    rows.append([f"mean of {len(corrupted)}", "", mean, *means])
    lines = [
        f"{record['model']}, recipe {record['recipe']}, {record['images']} images: top-1 of the "
        "float network, and the points that each int8 file loses on the same images",
        "",
        *aligned(rows),
    ]
    lines += measured_lines(record.get("data"), record["images"])
    if record["damaged"]:
        lines.append(f"{len(record['damaged'])} damaged images left out")
    return "\n".join(lines)
