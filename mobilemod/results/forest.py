"""Differences with their intervals on one axis, as rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mobilemod.results.axes import Scale, linear, nice_ticks, upright
from mobilemod.results.markup import Html, tag
from mobilemod.results.table import drop_text


@dataclass(frozen=True)
class Interval:
    """A row. role: of the colour. words: the row for those who don't see it."""

    label: Html
    role: str
    at: float
    low: float
    high: float
    value: Html
    words: str

    @classmethod
    def of_drop(
        cls, label: Html, role: str, drop: Mapping[str, Any], words: str, unit: str
    ) -> Interval:
        """Of a record's drop; words: what it is of."""
        points, interval = drop_text(drop)
        value = tag("span", tag("b", points), f" {interval}")
        said = f"{words} {points} {unit}, 95 % interval {interval}"
        return cls(label, role, drop["points"], drop["low"], drop["high"], value, said)


def drop_limits(verdicts: Iterable[Mapping[str, Any]], kind: str) -> list[float]:
    """The limits of a record's verdicts of a kind, each once, the least first."""
    found = {v.get("limit") for v in verdicts if v.get("kind") == kind}
    return sorted(limit for limit in found if limit is not None)


def gate_note(limits: Sequence[float]) -> str:
    """A sentence on the gates' lines; "" where there is none."""
    gate = ", ".join(f"{x:g}" for x in limits)
    return gate and f" The dashed line is the gate, {gate}."


def intervals(entries: Sequence[Interval], axis: str, limits: Collection[float] = ()) -> Html:
    """A dot and its interval for every entry, one at least. axis: its title; limits: the gates."""
    marks = [0.0, *limits, *(v for e in entries for v in (e.low, e.at, e.high))]
    ticks = nice_ticks(min(marks), max(marks))
    x_of = linear(ticks[0], ticks[-1], 2, 98)
    drawn = [(t, "grid") for t in ticks] + [(0.0, "zero"), *((v, "gate") for v in sorted(limits))]
    frame = [upright(x_of(v), "0", "100%", class_) for v, class_ in drawn]
    rows = [_row(e, [*frame, *_marks(e, x_of)]) for e in entries]
    texts = [tag("text", f"{t:g}", x=f"{x_of(t):.2f}%", y="15") for t in ticks]
    scale = tag("svg", *texts, class_="axis", aria_hidden="true")
    plot = tag("div", scale, tag("div", axis, class_="axis-title"), class_="plot")
    rows.append(tag("div", tag("div"), plot, class_="row axis-row"))
    return tag("div", *rows, class_="forest")


def _marks(entry: Interval, x_of: Scale) -> list[Html]:
    low, at, high = (f"{x_of(v):.2f}%" for v in (entry.low, entry.at, entry.high))
    bar = tag("line", x1=low, x2=high, y1="50%", y2="50%", class_="bar")
    return [bar, tag("circle", cx=at, cy="50%", r="6")]


def _row(entry: Interval, drawn: list[Html]) -> Html:
    plot = tag("svg", *drawn, role="img", aria_label=entry.words)
    return tag(
        "div",
        tag("div", entry.label),
        tag("div", plot, class_=f"plot {entry.role}"),
        tag("div", entry.value, class_="value"),
        class_="row",
    )
