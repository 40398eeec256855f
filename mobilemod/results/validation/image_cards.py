"""The report's pictures: images the models differ on, and those whose logits moved most."""

from __future__ import annotations

from collections.abc import Callable

from mobilemod.results.markup import Html, named, tag

MAX_CARDS = 24

Thumb = Callable[[int], str | None]  # image index -> data URI, None where there is no picture


def disagreeing(record: dict, thumb: Thumb) -> Html:
    """The images on which an int8 file differs, the surest of torch float's answers first."""
    found, models = record["disagreements"], record["predictions"]
    base = next((i for i, p in enumerate(models) if p["role"] == "reference"), 0)
    total = record["data"]["images"]
    if not found:
        text = f"None: on all {total:,} images every int8 file has torch float's top-1."
        return tag("section", tag("h2", "Images they differ on"), tag("p", text))
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
        cards.append(_card(d, labels, thumb, tag("ul", *lines)))
    count = f"{len(found):,} of {total:,} images ({100 * len(found) / total:.1f} %)"
    shown = "" if len(listed) == len(found) else f" The {len(listed)} shown are"
    order = f"{shown or ' Listed'} those torch float was surest of first."
    return tag(
        "section",
        tag("h2", "Images they differ on"),
        tag("p", f"An int8 file differs from torch float or from another on {count}.{order}"),
        tag("div", *cards, class_="cards"),
    )


def worst(record: dict, thumb: Thumb) -> Html | None:
    """For each int8 file the images whose logits moved most, whatever the top-1."""
    groups = []
    labels = record["data"]["labels"]
    for entry in record["worst_images"]:
        cards = []
        for image in entry["images"]:
            error = image["rms_error"]
            text = "logits not finite" if error is None else f"RMS logit error {error:.3f}"
            cards.append(_card(image, labels, thumb, tag("ul", tag("li", text))))
        groups += [tag("h3", entry["name"]), tag("div", *cards, class_="cards")]
    if not groups:
        return None
    note = "The images whose logits lie farthest from torch float's."
    return tag(
        "section",
        tag("h2", "Largest logit errors"),
        tag("p", note, class_="note"),
        tag("details", tag("summary", "Show them"), *groups),
    )


def _card(image: dict, labels: list[str], thumb: Thumb, lines: Html) -> Html:
    source = thumb(image["index"])
    picture = (
        tag("img", src=source, alt=image["image"], width=96, height=96)
        if source
        else tag("div", "no picture", class_="none")
    )
    truth = tag("b", labels[image["target"]])
    name = tag("div", image["image"], class_="note")
    return tag(
        "div", tag("div", picture, tag("div", truth, name), class_="picture"), lines, class_="card"
    )
