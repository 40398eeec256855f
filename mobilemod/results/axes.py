"""What the plots share: scales, round ticks, and lines across and upright, as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from mobilemod.results.markup import Html, tag

Scale = Callable[[float], float]


def nice_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """About `count` round ticks that enclose [low, high]; at least two."""
    span = max(high - low, 1e-3)
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def linear(low: float, high: float, first: float, last: float) -> Scale:
    """`low` to `first`, `high` to `last`, in pixels or percent."""
    return lambda v: first + (last - first) * (v - low) / (high - low)


def across(
    ticks: Sequence[float],
    y_of: Scale,
    left: float,
    right: float,
    text: Callable[[float], str] = "{:g}".format,
) -> list[Html]:
    """A line at each tick from `left` to `right`, percent of the width, with its value before."""
    parts = []
    for t in ticks:
        y = f"{y_of(t):.1f}"
        parts.append(tag("line", x1=f"{left}%", x2=f"{right}%", y1=y, y2=y, class_="grid"))
        parts.append(tag("text", text(t), x=f"{left - 1}%", y=y, dy="4", class_="tick"))
    return parts


def upright(x: float, top: object, bottom: object, class_: str) -> Html:
    """A line from top to bottom; x: percent of the width."""
    at = f"{x:.2f}%"
    return tag("line", x1=at, x2=at, y1=top, y2=bottom, class_=class_)


def below(ticks: Sequence[float], x_of: Scale, y: float) -> list[Html]:
    """The values of ticks across the width, `y` pixels from the top."""
    return [tag("text", f"{t:g}", x=f"{x_of(t):.2f}%", y=y, class_="below") for t in ticks]
