"""The course of a run as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilemod.files import atomic_path
from mobilemod.tasks.task import Metric

COLORS = ("tab:red", "tab:blue")


@dataclass(frozen=True)
class Line:
    """One line with an axis of its own; None where there is no value."""

    label: str
    values: Sequence[float | None]


def draw_lines(
    path: Path,
    x_label: str,
    x: Sequence[float],
    left: Line,
    right: Line,
    dots: Sequence[bool] = (),
    marks: Sequence[float] = (),
) -> None:
    """Two lines over `x` as PNG, one by each axis; `dots` on the right one, upright `marks`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, first = plt.subplots(figsize=(7, 4), dpi=120)
    second = first.twinx()
    first.set_xlabel(x_label)
    for axis, line, color in zip((first, second), (left, right), COLORS, strict=True):
        known = [(a, b) for a, b in zip(x, line.values, strict=True) if b is not None]
        axis.plot([a for a, _ in known], [b for _, b in known], color=color)
        axis.set_ylabel(line.label, color=color)
    dotted = [(a, b) for a, b, dot in zip(x, right.values, dots, strict=False) if dot]
    second.scatter([a for a, _ in dotted], [b for _, b in dotted], color=COLORS[1])
    for mark in marks:
        first.axvline(mark, color="grey", linestyle=":", linewidth=1)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    plt.close(figure)


def draw_curve(history: list[dict[str, Any]], path: Path, metric: Metric, key: str) -> None:
    """Training loss and the metric on the selected images (`key`) over the epochs, sizes marked."""
    sizes = [(h["epoch"], h["size"]) for h in history]
    final = history[-1]["measured_size"]
    draw_lines(
        path,
        "epoch",
        [h["epoch"] for h in history],
        Line("training loss", [h["loss"] for h in history]),
        Line(
            f"{metric.name} of held-out training images, {metric.unit}\n(dots: at {final} pixels)",
            [h[key] for h in history],
        ),
        dots=[h["measured_size"] == final for h in history],
        marks=[a + 0.5 for (a, size), (_, later) in zip(sizes, sizes[1:], strict=False)
               if size != later],
    )  # fmt: skip
