"""The drops of a bundle's validations over time, as a picture and as part of its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobilemod.files import atomic_path
from mobilemod.results.device.plot import line_plot
from mobilemod.results.markup import join, table, tag
from mobilemod.results.parts import Group, group, section
from mobilemod.results.validation.history import changes, drops, rows_of
from mobilemod.tasks import task_of

MOST_DATES = 8  # under the axis
LEAST = 0.5  # either side of 0, so that equal files don't look far apart


def draw_history(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Each int8 file's drop with its 95 % interval by validation, as PNG. lines: at least one."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    metric = task_of(lines[-1]).metric
    figure, axis = plt.subplots(figsize=(8, 4.5), dpi=120)
    found = drops(lines)
    for n, (name, points) in enumerate(found.items()):
        # Side by side, so that one file's interval doesn't hide another's.
        x = [number + 0.06 * (n - (len(found) - 1) / 2) for number, _ in points]
        y = [drop["points"] for _, drop in points]
        ends = [[drop["points"] - drop["low"] for _, drop in points],
                [drop["high"] - drop["points"] for _, drop in points]]  # fmt: skip
        axis.errorbar(x, y, yerr=ends, marker="o", markersize=4, capsize=3, label=name)
    step = -(-len(lines) // MOST_DATES)
    ticks = range(1, len(lines) + 1, step)
    axis.set_xticks(
        [*ticks],
        [f"{t}: {lines[t - 1]['date'][:10]}\n{lines[t - 1]['images']:,} images" for t in ticks],
    )
    low, high = axis.get_ylim()
    axis.set_ylim(min(low, -LEAST), max(high, LEAST))
    axis.axhline(0, color="grey", linewidth=0.8)
    axis.set_xlabel("validation (date in UTC)")
    axis.set_ylabel(f"drop against the float network,\n{metric.points} of {metric.name}, 95 %")
    if found:
        axis.legend()
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    plt.close(figure)


def history_group(lines: Sequence[Mapping[str, Any]]) -> Group | None:
    """The same for the page, with every figure; None before there is a second validation."""
    if len(lines) < 2:
        return None
    metric = task_of(lines[-1]).metric
    plotted = [
        (name, "int8", [(float(number), drop["points"]) for number, drop in points])
        for name, points in drops(lines).items()
    ]
    beside = f"drop, {metric.points} of {metric.name}"
    picture = line_plot(plotted, "validation", "drop by validation", beside, (-LEAST, LEAST))
    head, *rows = rows_of(lines)
    listed = tag("ul", *(tag("li", change) for change in changes(lines)))
    every = join(tag("summary", f"{len(lines)} validations"),
                 table(head, rows[::-1], "wide", "validations over time"))  # fmt: skip
    note = "Each validation on this machine, numbered from the first; intervals are in the table."
    shown = section("Validations", note, picture, tag("details", every), listed)
    return group("history", "Over time", None, shown)
