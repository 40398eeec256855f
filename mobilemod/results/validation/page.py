"""What a validation's record shows, in groups: what int8 costs, the answers, the files."""

from __future__ import annotations

import json

from mobilemod.results.markup import Html, join, tag
from mobilemod.results.parts import Group, group, section
from mobilemod.results.schema import int8_pairs
from mobilemod.results.table import NOT_MEASURED, measured_lines, with_reasons
from mobilemod.results.validation import image_cards, sections
from mobilemod.tasks import task_of
from mobilemod.tasks.task import Thumb

_MAX_TEXT = 20_000  # characters of bundle information shown


def accuracy_group(record: dict) -> Group | None:
    """Drops with their intervals, every figure, agreement."""
    if not record["measured"]:
        return None
    told = measured_lines(record["data"], record["data"]["images"])
    lead = join(tag("p", sentence(record)), *(tag("p", line, class_="note") for line in told))
    return group(
        "accuracy",
        "Accuracy",
        lead,
        sections.forest(record),
        sections.accuracy(record),
        sections.agreement(record),
        sections.gpu(record),
    )


def answers_group(record: dict, thumb: Thumb) -> Group | None:
    """What the task shows of classes and images."""
    if not record["measured"]:
        return None
    shown = task_of(record).sections(record, thumb)
    return group("answers", "Classes and images", None, *shown, image_cards.worst(record, thumb))


def files_group(record: dict) -> Group | None:
    """What became int8, where to ship which file, and what was validated."""
    found = sections.audits(record), _shipping(record), _damaged(record), _bundle(record)
    return group("files", "The files", None, *found)


def sentence(record: dict) -> str:
    """What int8 costs, in a sentence or two."""
    if not record["measured"]:
        return NOT_MEASURED + " Validate the bundle with a data folder to know what int8 costs."
    int8 = [p for p in record["predictions"] if p["role"] == "int8" and p["drop"]]
    images = record["data"]["images"]
    if not int8:
        return f"Measured on {images:,} images, without an int8 file next to torch float."
    worst = max(int8, key=lambda p: p["drop"]["points"])
    d, task = worst["drop"], task_of(record)
    metric = task.metric
    interval = f"95 % [{d['low']:.2f}, {d['high']:.2f}]"
    if d["points"] > 0:
        text = (
            f"On {images:,} images the int8 file that loses most, {worst['name']}, costs "
            f"{d['points']:.2f} {metric.points} of {metric.name} ({interval})."
        )
    else:
        text = (
            f"On {images:,} images no int8 file loses {metric.name} (the least good: {interval})."
        )
    pairs = [(p[task.agreement.key], a, b) for a, b, p in int8_pairs(record) if p]
    if pairs:
        value, a, b = min(pairs)
        same, of = task.agreement.same, task.agreement.of
        text += f" The two that agree least, {a} and {b}, give {same} on {value:.2f} % of the {of}."
    return text


def _shipping(record: dict) -> Html | None:
    """Which file goes where, so where int8 pays; older records don't tell."""
    entries: list[Html] = []
    for entry in record["bundle"].get("shipping", ()):
        what = entry["file"] or f"none here: {entry['make']}"
        why = f"{entry['why']} (run on: {entry['ran']})"
        if entry["file"] and entry["make"]:
            why += f"; another recipe is the faster one here: {entry['make']}"
        told = tag("dd", tag("strong", what), f", {entry['engine']}: {why}")
        entries += [tag("dt", entry["where"]), told]
    note = (
        "The best file of this bundle for each place, as mobilemod advise tells. Speed and "
        "instructions are of efficientmod_xxs and weren't measured in this run."
    )
    return section("Where to ship which file", note, tag("dl", *entries)) if entries else None


def _damaged(record: dict) -> Html | None:
    names = with_reasons(record["data"])
    if not names:
        return None
    text = f"{len(names)} could not be read and are in no figure above."
    listed = tag("ul", *(tag("li", name) for name in names))
    return section("Damaged images", None, tag("p", text), listed)


def _bundle(record: dict) -> Html | None:
    if not record["bundle"]:
        return None
    text = json.dumps(record["bundle"], indent=1, ensure_ascii=False)
    if len(text) > _MAX_TEXT:
        text = text[:_MAX_TEXT] + "\n… (the rest is in the JSON record)"
    inner = join(tag("summary", "What was validated"), tag("pre", text, tabindex="0"))
    return section("The bundle", None, tag("details", inner))
