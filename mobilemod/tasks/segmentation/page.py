"""What a validation's page shows of maps: where models differ, and the IoU of each class."""

from __future__ import annotations

from mobilemod.results.markup import Html, tag
from mobilemod.results.parts import section
from mobilemod.results.validation import per_class as table
from mobilemod.tasks import task_of
from mobilemod.tasks.segmentation.picture import DIFFERENT, colour
from mobilemod.tasks.task import Thumb

DIFFERING = "Images they differ on"
_SIDE = 128


def differing(record: dict, thumb: Thumb) -> Html | None:
    """The images on which fewest pixels agree, with their maps; which colour is which class."""
    found, models = record["disagreements"], record["predictions"]
    if not any(p["role"] == "int8" for p in models):
        return None
    total, limit = record["data"]["images"], task_of(record).tolerance
    if not found:
        text = f"None: on all {total:,} images at least {100 - limit:g} % of the pixels are alike."
        return section(DIFFERING, None, tag("p", text))
    key = "pixel_agreement_percent"
    pictured = [d for d in found if d.get("pictures")]
    pictured.sort(key=lambda d: (min(d[key]), d["index"]))
    count = f"{len(found):,} of {total:,} images ({100 * len(found) / total:.1f} %)"
    text = f"An int8 file gives more than {limit:g} % of the pixels another class on {count}."
    note = (
        f"The {len(pictured)} that agree least, as the network sees them. Red: another class than "
        "torch float's."
    )
    labels = record["data"]["labels"]
    cards = [_images(d, models, labels, thumb, key) for d in pictured]
    seen = sorted({c for d in pictured for c in d["classes"]})
    return section(
        DIFFERING,
        None,
        tag("p", text),
        tag("p", note, class_="note"),
        _legend(seen, labels),
        *cards,
    )


def _images(d: dict, models: list, labels: list, thumb: Thumb, key: str) -> Html:
    """A row of pictures of one image."""
    pictures = d["pictures"]
    names = ", ".join(labels[c] for c in d["target"]["classes"])
    photograph = thumb(d["index"])
    shown = [] if photograph is None else [_figure("photograph", photograph)]
    shown.append(_figure("labels", photograph, pictures["truth"]))
    maps = zip(models, pictures["answers"], pictures["differences"], d[key], strict=True)
    for model, answer, difference, alike in maps:
        if answer is not None:
            shown.append(_figure(model["name"], photograph, answer))
        if difference is not None:
            said = f"{model['name']}: {alike:.1f} % alike"
            shown.append(_figure(said, photograph, difference))
    head = tag("h4", d["image"], " ", tag("small", names, class_="soft"))
    row = tag("div", *shown, style="display: flex; gap: .6rem; flex-wrap: wrap")
    return tag("div", head, row)


def _figure(caption: str, photograph: str | None, codes: str | None = None) -> Html:
    """A photograph, a map, or the map laid on the photograph. codes: base64 of a PNG."""
    layers, over = [], "width: 100%; display: block; image-rendering: pixelated"
    if photograph is not None:
        layers.append(tag("img", src=photograph, alt="", style="width: 100%; display: block"))
        over += "; position: absolute; inset: 0; height: 100%; opacity: .65"
    if codes is not None:
        layers.append(tag("img", src=f"data:image/png;base64,{codes}", alt=caption, style=over))
    picture = tag("div", *layers, style="position: relative")
    said = tag("figcaption", caption, class_="note")
    return tag("figure", picture, said, style=f"margin: 0; width: {_SIDE}px")


def _legend(classes: list[int], labels: list[str]) -> Html:
    def swatch(rgb: tuple[int, int, int]) -> Html:
        box = "display: inline-block; width: .9em; height: .9em; margin-right: .35em"
        return tag("span", style=f"{box}; background: rgb{rgb}")

    entries = [tag("span", swatch(colour(c)), labels[c]) for c in classes]
    entries.append(tag("span", swatch(colour(255)), "ignored, or no answer"))
    entries.append(tag("span", swatch(DIFFERENT), "differs"))
    return tag(
        "p", *entries, class_="note", style="display: flex; gap: .2rem 1rem; flex-wrap: wrap"
    )


def per_class(record: dict) -> Html | None:
    """IoU of each class."""
    counted = "Images: those whose labels have the class."
    return table.per_class(record, "iou_percent", "IoU", counted)
