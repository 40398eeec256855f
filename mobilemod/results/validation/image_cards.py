"""The report's pictures: those of the images whose outputs moved most, and how any is shown."""

from __future__ import annotations

from mobilemod.results.markup import Html, tag
from mobilemod.results.parts import section
from mobilemod.tasks import task_of
from mobilemod.tasks.task import Thumb

MAX_CARDS = 24


def worst(record: dict, thumb: Thumb) -> Html | None:
    """For each int8 file the images whose outputs moved most, whatever is right."""
    groups = []
    task = task_of(record)
    one = task.output.removesuffix("s")
    for entry in record["worst_images"]:
        cards = []
        for image in entry["images"]:
            error = image["rms_error"]
            text = f"{task.output} not finite" if error is None else f"RMS {one} error {error:.3f}"
            truth = task.truth(record, image["target"])
            cards.append(card(image, truth, thumb, tag("ul", tag("li", text))))
        groups += [tag("h4", entry["name"]), tag("div", *cards, class_="cards")]
    if not groups:
        return None
    note = f"The images whose {task.output} lie farthest from torch float's."
    shown = tag("details", tag("summary", "Show them"), *groups)
    return section(f"Largest {one} errors", note, shown)


def card(image: dict, truth: str, thumb: Thumb, lines: Html) -> Html:
    """One image of a record: its picture, what is right, its name, and `lines`."""
    source = thumb(image["index"])
    picture = (
        tag("img", src=source, alt=image["image"], width=96, height=96)
        if source
        else tag("div", "no picture", class_="none")
    )
    name = tag("div", image["image"], class_="note")
    return tag(
        "div",
        tag("div", picture, tag("div", tag("b", truth), name), class_="picture"),
        lines,
        class_="card",
    )
