"""The sensitivity page's pictures: SQNR over depth, and an activation's histogram, as SVG."""

from __future__ import annotations

import math

from mobilemod.results.axes import across, linear, nice_ticks, upright
from mobilemod.results.markup import Html, tag
from mobilemod.results.table import sqnr_text

HEIGHT = 300  # pixels of the plot over depth
TOP, BOTTOM = 32, 30
BARS = 160
LEVELS = 256  # codes of int8


def depth_plot(record: dict) -> Html:
    """A dot for every item in network order; its height is its SQNR alone.

    Identical logits stand at the top edge, logits that aren't finite at the bottom one.
    """
    items = sorted(record["items"], key=lambda item: item["order"])
    whole = record["quantized"]["sqnr_db"]
    values = [i["alone"]["sqnr_db"] for i in items] + [whole]
    shown = [v for v in values if v is not None] or [0.0, 1.0]
    ticks = nice_ticks(min(shown), max(shown), 5)
    x_of = linear(-0.5, len(items) - 0.5, 7, 98)
    y_of = linear(ticks[-1], ticks[0], TOP, HEIGHT - BOTTOM)
    parts = across(ticks, y_of, 7, 100)
    for first, label in _stages(items):
        x = x_of(first - 0.5)
        parts.append(upright(x, TOP - 14, HEIGHT - BOTTOM + 8, "stage"))
        if label:
            parts.append(tag("text", label, x=f"{x:.2f}%", y=TOP - 5, dx="4", class_="stage"))
    if whole is not None:
        y = f"{y_of(whole):.1f}"
        parts.append(tag("line", x1="7%", x2="100%", y1=y, y2=y, class_="whole"))
    for item in items:
        effect = item["alone"]
        edge = str(TOP) if effect["identical"] else str(HEIGHT - BOTTOM)
        y = edge if effect["sqnr_db"] is None else f"{y_of(effect['sqnr_db']):.1f}"
        title = tag("title", f"{item['rank_alone']}. {item['name']}: {sqnr_text(effect)} dB")
        x = f"{x_of(item['order']):.2f}%"
        parts.append(tag("circle", title, cx=x, cy=y, r="4", class_=item["kind"]))
    under = f"{record['by']}s in network order"
    parts.append(tag("text", "SQNR alone, dB", x="0", y="11"))
    parts.append(tag("text", under, x="53%", y=HEIGHT - 6, class_="below"))
    words = f"SQNR of each {record['by']} alone, in network order"
    return tag("svg", *parts, role="img", aria_label=words, height=HEIGHT, class_="depth")


def _stages(items: list[dict]) -> list[tuple[int, str]]:
    """(first order, label) of every stage; only `layers.N` has a label, N."""
    starts: list[tuple[int, str]] = []
    before = None
    for i, item in enumerate(items):
        first, _, rest = item["name"].partition(":")[0].partition(".")
        stage = (first, rest.partition(".")[0] if first == "layers" else "")
        if stage != before:
            starts.append((i, stage[1]))
        before = stage
    return starts


def histogram(entry: dict) -> Html:
    """One activation's values by int8 code, counts on a log scale; what is clipped stands out."""
    counts, first = entry["counts"], entry["first_code"]
    held = [i for i, c in enumerate(counts) if c]
    inside = -LEVELS // 2 - first  # the bin of code -128
    low = min([inside, *held])
    high = max([inside + LEVELS - 1, *held]) + 1
    low, high = max(0, low - 8), min(len(counts), high + 8)
    step = math.ceil((high - low) / BARS)
    # Whole bars inside and outside of the range: a bar never straddles its ends.
    starts = sorted({*range(inside, high, step), *range(inside - step, low - step, -step)})
    bars = [(max(low, s), sum(counts[max(low, s) : min(high, s + step)])) for s in starts]
    top = math.log1p(max(count for _, count in bars))
    parts = [_band(low, inside), _band(inside + LEVELS, high)]
    for start, count in bars:
        if not count:
            continue
        height = 100 * math.log1p(count) / top
        good = inside <= start < inside + LEVELS
        parts.append(
            tag(
                "rect",
                x=start,
                y=f"{100 - height:.1f}",
                width=step,
                height=f"{height:.1f}",
                class_="held" if good else "cut",
            )
        )
    for edge in (inside, inside + LEVELS):
        parts.append(tag("line", x1=edge, x2=edge, y1="0", y2="100", class_="edge"))
    return tag(
        "svg",
        *(p for p in parts if p is not None),
        viewBox=f"{low} 0 {high - low} 100",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"values of {entry['tensor']} by int8 code",
        class_="histogram",
    )


def _band(start: int, end: int) -> Html | None:
    """The background outside of the range."""
    if end <= start:
        return None
    return tag("rect", x=start, y="0", width=end - start, height="100", class_="outside")
