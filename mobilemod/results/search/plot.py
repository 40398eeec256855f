"""The front of a search as SVG: divergence and drop over the estimated cost."""

from __future__ import annotations

import math

from mobilemod.results.axes import Scale, across, below, linear, nice_ticks, upright
from mobilemod.results.markup import Html, tag
from mobilemod.results.search.table import change_text, cost_text, kl_text
from mobilemod.results.table import drop_text
from mobilemod.tasks import task_of

HEIGHT, TOP, GAP, BOTTOM = 420, 22, 46, 34
UPPER = 200  # pixels of the divergence
LEFT, RIGHT = 9, 97  # percent

PLOT_STYLE = """
svg.front { display: block; width: 100%; overflow: visible; }
svg.front text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg.front .tick { text-anchor: end; } svg.front .below { text-anchor: middle; }
svg.front .grid { stroke: var(--line); }
svg.front .way { stroke: var(--int8); stroke-width: 1.5; opacity: .5; }
svg.front .bar { stroke: var(--program); stroke-width: 2.5; opacity: .6; }
svg.front .gate { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg.front circle { fill: var(--int8); } svg.front .looked { fill: var(--program); }
svg.front .last { stroke: var(--ink); stroke-width: 2; }
"""


def front_plot(record: dict, **attributes: object) -> Html:
    """Above, each step's divergence on a log scale; below, drop and interval where looked at.

    attributes: of the svg element, beside its own.
    """
    steps = record["steps"]
    costs = [s["cost"] for s in steps]
    ticks = nice_ticks(min(costs), max(costs), 6)
    x_of = linear(ticks[0], ticks[-1], LEFT, RIGHT)
    parts = [*_divergence(record, x_of), *_drops(record, x_of), *below(ticks, x_of, HEIGHT - 16)]
    words = f"estimated cost, {record['unit']}"
    parts.append(tag("text", words, x=f"{(LEFT + RIGHT) / 2}%", y=HEIGHT - 2, class_="below"))
    label = "divergence and drop over estimated cost, step by step"
    return tag(
        "svg", *parts, role="img", aria_label=label, height=HEIGHT, class_="front", **attributes
    )


def _divergence(record: dict, x_of: Scale) -> list[Html]:
    """Dots joined in order; without a finite divergence a step has none."""
    shown = [(i, s) for i, s in enumerate(record["steps"]) if s["kl"]]
    logs = [math.log10(s["kl"]) for _, s in shown] or [0.0]
    low, high = math.floor(min(logs)), max(math.ceil(max(logs)), math.floor(min(logs)) + 1)
    y_of = linear(high, low, TOP, UPPER)
    words = f"divergence from the float network (KL, {task_of(record).loss_unit})"
    parts = [tag("text", words, x=f"{LEFT}%", y="12")]
    parts += across(range(low, high + 1), y_of, LEFT, RIGHT, "1e{}".format)
    ends = [(f"{x_of(s['cost']):.2f}%", f"{y_of(math.log10(s['kl'])):.1f}") for _, s in shown]
    for (x1, y1), (x2, y2) in zip(ends, ends[1:], strict=False):
        parts.append(tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="way"))
    for (i, step), (x, y) in zip(shown, ends, strict=True):
        words = f"{i}. {change_text(step)}: {cost_text(step['cost'], record)} {record['unit']}, "
        last = "last" if i == len(record["steps"]) - 1 else None
        title = tag("title", f"{words}KL {kl_text(step)}")
        parts.append(tag("circle", title, cx=x, cy=y, r="4.5", class_=last))
    return parts


def _drops(record: dict, x_of: Scale) -> list[Html]:
    looked = [(i, s) for i, s in enumerate(record["steps"]) if s["drop"]]
    ends = [s["drop"][k] for _, s in looked for k in ("points", "low", "high")]
    ticks = nice_ticks(min(0.0, record["max_drop"], *ends), max(record["max_drop"], *ends), 4)
    start = UPPER + GAP
    y_of = linear(ticks[-1], ticks[0], start, HEIGHT - BOTTOM)
    metric = task_of(record).metric
    words = f"drop in {metric.name}, {metric.points}, with 95 % interval; dashed: asked"
    parts = [tag("text", words, x=f"{LEFT}%", y=start - 10)]
    parts += across(ticks, y_of, LEFT, RIGHT)
    gate = f"{y_of(record['max_drop']):.1f}"
    parts.append(tag("line", x1=f"{LEFT}%", x2=f"{RIGHT}%", y1=gate, y2=gate, class_="gate"))
    for i, step in looked:
        d, x = step["drop"], f"{x_of(step['cost']):.2f}%"
        low, high = (f"{y_of(d[k]):.1f}" for k in ("low", "high"))
        parts.append(upright(x_of(step["cost"]), low, high, "bar"))
        points, interval = drop_text(d)
        title = tag("title", f"{i}. {change_text(step)}: drop {points} {interval}")
        last = " last" if i == len(record["steps"]) - 1 else ""
        y = f"{y_of(d['points']):.1f}"
        parts.append(tag("circle", title, cx=x, cy=y, r="4.5", class_=f"looked{last}"))
    return parts
