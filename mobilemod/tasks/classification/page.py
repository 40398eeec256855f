"""What a validation's page shows of classes: images named differently, top-1 by class."""

from __future__ import annotations

from mobilemod.results.markup import Html, named, table, tag
from mobilemod.results.parts import section
from mobilemod.results.validation.image_cards import MAX_CARDS, card
from mobilemod.tasks.task import Thumb

MAX_CLASSES = 40
DIFFERING = "Images they differ on"


def disagreeing(record: dict, thumb: Thumb) -> Html | None:
    """The images on which an int8 file differs, the surest of torch float's answers first."""
    found, models = record["disagreements"], record["predictions"]
    base = next((i for i, p in enumerate(models) if p["role"] == "reference"), 0)
    total = record["data"]["images"]
    if not found:
        text = f"None: on all {total:,} images every int8 file has torch float's top-1."
        return section(DIFFERING, None, tag("p", text))
    labels = record["data"]["labels"]
    listed = sorted(found, key=lambda d: (-d["margin"][base], d["index"]))[:MAX_CARDS]
    cards = []
    for d in listed:
        lines = []
        for p, top, margin in zip(models, d["top1"], d["margin"], strict=True):
            right = top == d["target"]
            label = labels[top] if top >= 0 else "not finite"
            mark = "✓" if right else "✗"
            answer = tag("span", f"{label} {mark}", class_="pass" if right else "fail")
            title = f"margin {margin:.2f}"
            lines.append(tag("li", tag("span", named(p)), answer, title=title))
        cards.append(card(d, labels[d["target"]], thumb, tag("ul", *lines)))
    count = f"{len(found):,} of {total:,} images ({100 * len(found) / total:.1f} %)"
    shown = "" if len(listed) == len(found) else f" The {len(listed)} shown are"
    order = f"{shown or ' Listed'} those torch float was surest of first."
    text = f"An int8 file differs from torch float or from another on {count}.{order}"
    return section(DIFFERING, None, tag("p", text), tag("div", *cards, class_="cards"))


def per_class(record: dict) -> Html | None:
    """Top-1 of each class, int8 files as differences; only the worst of many classes."""
    classes = record["per_class"]
    models = record["predictions"]
    base = next((i for i, p in enumerate(models) if p["role"] == "reference"), None)
    if not classes or base is None:
        return None
    shown = [i for i, p in enumerate(models) if p["role"] == "int8"]

    def loss(row: dict) -> float:
        now = [row["top1_percent"][i] for i in shown]
        return min(now, default=0.0) - row["top1_percent"][base]

    listed = sorted(classes, key=loss)[:MAX_CLASSES] if len(classes) > MAX_CLASSES else classes
    rows: list[list[object]] = []
    for row in listed:
        cells: list[object] = [row["label"], row["images"], f"{row['top1_percent'][base]:.1f}"]
        for i in shown:
            change = row["top1_percent"][i] - row["top1_percent"][base]
            colour = "--heat-bad" if change < 0 else "--heat-good"
            shade = min(0.5, abs(change) / 10.0)
            style = f"background: rgba(var({colour}), {shade:.2f})" if change else None
            now = f"{row['top1_percent'][i]:.1f} %"
            cells.append(tag("td", f"{change:+.1f}" if change else "0", style=style, title=now))
        rows.append(cells)
    note = "Top-1 of torch float in percent; the int8 files as points gained or lost against it."
    if len(listed) < len(classes):
        note += f" The {len(listed)} of {len(classes)} classes that lose most."
    head = ["class", "images", models[base]["name"], *(models[i]["name"] for i in shown)]
    return section("Per class", note, table(head, rows))
