"""The device report's pictures as SVG: accuracy over latency, percentiles, throttling, history."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mobilemod.results.axes import Scale, across, below, linear, nice_ticks, upright
from mobilemod.results.markup import Html, join, tag
from mobilemod.tasks.task import Metric

HEIGHT, TOP, BOTTOM = 340, 30, 40
LEFT, RIGHT = 8.0, 98.0  # percent of the width

PLOT_STYLE = """
svg.plot { display: block; width: 100%; overflow: visible; }
svg.plot text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg.plot .tick { text-anchor: end; } svg.plot .below { text-anchor: middle; }
svg.plot .grid { stroke: var(--line); }
svg.plot .bar { stroke: var(--role); stroke-width: 2.5; opacity: .45; }
svg.plot .whisker { stroke: var(--role); stroke-width: 2; stroke-linecap: round; opacity: .5; }
svg.plot .box { fill: var(--role); opacity: .35; }
svg.plot .median { stroke: var(--role); stroke-width: 3; }
svg.plot circle, svg.plot .mark { fill: var(--role); stroke: var(--card); stroke-width: 1.5; }
svg.plot .line { stroke: var(--role); stroke-width: 2; }
svg.plot .l1 { stroke-dasharray: 7 3; } svg.plot .l2 { stroke-dasharray: 2 3; }
svg.plot .l3 { stroke-dasharray: 10 3 2 3; }
.range {
  display: grid; grid-template-columns: minmax(8rem, 17rem) 1fr 12rem; gap: .1rem 1rem;
  align-items: center;
}
.range svg { height: 26px; } .range .axis { height: 20px; }
.range .what { overflow-wrap: anywhere; font-size: .9rem; }
.range .value { text-align: right; font-variant-numeric: tabular-nums; font-size: .9rem; }
.tile span { overflow-wrap: anywhere; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .875rem; margin: .4rem 0; }
.key svg { width: 2.2rem; height: .7rem; display: inline-block; margin-right: .4rem; }
.key svg .line { stroke-width: 2.5; }
@media (max-width: 40rem) {
  .range { grid-template-columns: minmax(0, 1fr); } .range .empty { display: none; }
  .range .value { text-align: left; margin-bottom: .5rem; }
}
"""


def role_of(precision: str) -> str:
    """The colour of a file's precision, as in the other pages."""
    return "int8" if precision == "int8" else "float"


def accuracy_plot(points: Sequence[dict[str, Any]], metric: Metric) -> Html | None:
    """The metric over median latency, one mark per file, configuration and device.

    points: each `label`, `precision`, `ms`, `figure`, `low`, `high` (of the drop's interval,
    as figures) or None, `letter` (of its device).
    """
    if not points:
        return None
    x_of, x_ticks = log_scale([p["ms"] for p in points])
    ends = [v for p in points for v in (p["figure"], p["low"], p["high"]) if v is not None]
    # A point at least, so that equal files don't look far apart.
    ticks = nice_ticks(min(*ends, max(ends) - 1), max(*ends, min(ends) + 1), 5)
    y_of = linear(ticks[-1], ticks[0], TOP, HEIGHT - BOTTOM)
    parts = _frame(ticks, y_of, x_ticks, x_of, "ms an image, median, log scale", metric.head)
    for p in points:
        x, y, role = f"{x_of(p['ms']):.2f}%", y_of(p["figure"]), role_of(p["precision"])
        words = f"{p['label']}: {metric.text(p['figure'])} {metric.unit} at {p['ms']:.2f} ms"
        if p["low"] is not None:
            y1, y2 = f"{y_of(p['low']):.1f}", f"{y_of(p['high']):.1f}"
            parts.append(upright(x_of(p["ms"]), y1, y2, f"bar {role}"))
        dot = tag("circle", tag("title", words), cx=x, cy=f"{y:.1f}", r="6", class_=role)
        parts += [dot, tag("text", p["letter"], x=x, y=f"{y - 9:.1f}", class_="below")]
    label = f"{metric.name} over latency"
    return tag("svg", *parts, role="img", aria_label=label, height=HEIGHT, class_="plot")


def percentile_rows(entries: Sequence[tuple[str, str, dict[str, Any]]]) -> Html | None:
    """A row per configuration: whisker from min to p99, box from p50 to p90.

    entries: (label, precision, a `latency` of the record).
    """
    if not entries:
        return None
    values = [t[k] for _, _, t in entries for k in ("min_ms", "p99_ms")]
    x_of, ticks = log_scale(values, 2.0, 98.0)
    rows = []
    for label, precision, t in entries:
        low, mid, high, far = (
            f"{x_of(t[k]):.2f}%" for k in ("min_ms", "p50_ms", "p90_ms", "p99_ms")
        )
        width = f"{x_of(t['p90_ms']) - x_of(t['p50_ms']):.2f}%"
        marks = [upright(x_of(v), "0", "26", "grid") for v in ticks]
        marks += [
            tag("line", x1=low, x2=far, y1="13", y2="13", class_="whisker"),
            tag("rect", x=mid, y="6", width=width, height="14", class_="box"),
            upright(x_of(t["p50_ms"]), "4", "22", "median"),
        ]
        words = f"{label}: p50 {t['p50_ms']:.2f}, p90 {t['p90_ms']:.2f}, p99 {t['p99_ms']:.2f} ms"
        picture = tag("svg", *marks, role="img", aria_label=words, class_="plot")
        numbers = join(tag("b", f"{t['p50_ms']:.2f}"), f" / {t['p90_ms']:.2f} / {t['p99_ms']:.2f}")
        rows += [
            tag("div", tag("span", class_=f"dot {role_of(precision)}"), label, class_="what"),
            tag("div", picture, class_=f"picture {role_of(precision)}"),
            tag("div", numbers, class_="value"),
        ]
    axis = join(
        tag("svg", *below(ticks, x_of, 14), class_="plot axis", aria_hidden="true"),
        tag("div", "ms an image, log scale", class_="axis-title"),
    )
    rows += [
        tag("div", class_="empty"),
        tag("div", axis, class_="picture"),
        tag("div", "p50 / p90 / p99, ms", class_="value soft empty"),
    ]
    return tag("div", *rows, class_="range")


def line_plot(
    lines: Sequence[tuple[str, str, Sequence[tuple[float, float]]]],
    under: str,
    words: str,
    beside: str = "median ms an image",
    within: tuple[float, float] = (0.0, 0.0),
) -> Html | None:
    """Lines of figures over something. lines: (label, precision, (x, figure) in order).

    under, beside: the axes' titles, with units. within: figures that the upright axis holds in any
    case.
    """
    lines = [entry for entry in lines if len(entry[2]) > 1]
    if not lines:
        return None
    xs = [x for _, _, points in lines for x, _ in points]
    ys = [y for _, _, points in lines for _, y in points]
    # Whole numbers have whole ticks.
    most = int(max(xs) - min(xs)) if all(x == int(x) for x in xs) else 6
    x_ticks = nice_ticks(min(xs), max(xs), max(1, min(6, most)))
    y_ticks = nice_ticks(min(within[0], *ys), max(within[1], *ys), 5)
    y_of = linear(y_ticks[-1], y_ticks[0], TOP, HEIGHT - BOTTOM)
    x_of = linear(x_ticks[0], x_ticks[-1], LEFT, RIGHT)
    parts = _frame(y_ticks, y_of, x_ticks, x_of, under, beside)
    for n, (_, precision, points) in enumerate(lines):
        class_ = f"line {role_of(precision)} l{n // 2 % 4}"
        # A polyline has no percent: one line each between neighbours.
        for (x1, y1), (x2, y2) in zip(points, points[1:], strict=False):
            parts.append(
                tag("line", x1=f"{x_of(x1):.2f}%", x2=f"{x_of(x2):.2f}%", y1=f"{y_of(y1):.1f}",
                    y2=f"{y_of(y2):.1f}", class_=class_)
            )  # fmt: skip
    picture = tag("svg", *parts, role="img", aria_label=words, height=HEIGHT, class_="plot")
    return join(picture, _key([(label, p, n) for n, (label, p, _) in enumerate(lines)]))


def _key(entries: Sequence[tuple[str, str, int]]) -> Html:
    found = []
    for label, precision, n in entries:
        stroke = tag("line", x1="0", x2="100%", y1="50%", y2="50%",
                     class_=f"line {role_of(precision)} l{n // 2 % 4}")  # fmt: skip
        found.append(tag("span", tag("svg", stroke, class_="plot", aria_hidden="true"), label))
    return tag("div", *found, class_="key")


def log_scale(
    values: Sequence[float], first: float = LEFT, last: float = RIGHT
) -> tuple[Scale, list[float]]:
    """Percent of the width on a log scale that holds the values, and round ticks within it."""
    positive = [v for v in values if v > 0] or [1.0]
    low, high = min(positive) / 1.15, max(positive) * 1.15
    span = math.log(high / low)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low > 4 else (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    ticks = [m * 10.0**p for p in powers for m in steps if low <= m * 10.0**p <= high]

    def x_of(v: float) -> float:
        return first + (last - first) * math.log(max(v, low) / low) / span

    return x_of, [float(f"{t:.3g}") for t in ticks]


def _frame(
    ticks: Sequence[float],
    y_of: Scale,
    x_ticks: Sequence[float],
    x_of: Scale,
    under: str,
    beside: str,
) -> list[Html]:
    """Both axes and their titles."""
    titles = [
        tag("text", beside, x="0", y="11", class_="title"),
        tag("text", under, x="53%", y=HEIGHT - 4, class_="below title"),
    ]
    return [*across(ticks, y_of, LEFT, RIGHT), *below(x_ticks, x_of, HEIGHT - 20), *titles]
