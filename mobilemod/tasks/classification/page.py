"""What a validation's page shows of classes: images named differently, top-1 by class."""

from __future__ import annotations

from mobilemod.results.markup import Html, named, tag
from mobilemod.results.parts import section
from mobilemod.results.validation import per_class as table
from mobilemod.results.validation.image_cards import MAX_CARDS, card
from mobilemod.tasks.task import Thumb

NBSP = "\N{NO-BREAK SPACE}"
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
        sure = d.get("confidence") or [None] * len(models)
        answers = zip(models, d["top1"], d["margin"], sure, strict=True)
        for p, top, margin, confidence in answers:
            if p["role"] not in ("reference", "int8"):
                continue
            right = top == d["target"]
            label = labels[top] if top >= 0 else "not finite"
            said = "" if confidence is None else f" {100 * confidence:.0f}{NBSP}%"
            mark = "✓" if right else "✗"
            answer = tag("span", f"{label}{said}{NBSP}{mark}", class_="pass" if right else "fail")
            title = f"margin {margin:.2f}"
            lines.append(tag("li", tag("span", named(p)), answer, title=title))
        cards.append(card(d, f"Truth: {labels[d['target']]}", thumb, tag("ul", *lines)))
    count = f"{len(found):,} of {total:,} images ({100 * len(found) / total:.1f} %)"
    shown = "" if len(listed) == len(found) else f" The {len(listed)} shown are"
    order = f"{shown or ' Listed'} those torch float was surest of first."
    text = (
        f"An int8 file differs from torch float or from another on {count}.{order} "
        "Percent: how sure a model is of its answer."
    )
    return section(DIFFERING, None, tag("p", text), tag("div", *cards, class_="cards"))


def per_class(record: dict) -> Html | None:
    """Top-1 of each class."""
    return table.per_class(record, "top1_percent", "Top-1")
