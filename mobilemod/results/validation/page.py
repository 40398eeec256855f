"""The validation report: one HTML file that needs nothing else, not even a script."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mobilemod.data.preprocess import Preprocess
from mobilemod.files import write_text
from mobilemod.results import sections
from mobilemod.results.markup import Html, document, join, tag, thumbnail
from mobilemod.results.parts import gate_list, header, section, tiles
from mobilemod.results.schema import SCHEMA_VERSION, int8_pairs, validate_record
from mobilemod.results.table import NOT_MEASURED, measured_lines, with_reasons
from mobilemod.results.validation import image_cards
from mobilemod.results.verdict import Verdict, overall
from mobilemod.results.verdict import headline as gates_line
from mobilemod.tasks import task_of

_MAX_TEXT = 20_000  # characters of bundle information shown


def write_report(
    record: dict,
    verdicts: Sequence[Verdict],
    path: Path,
    image_paths: list[Path] | None,
    seen: Preprocess | None = None,
) -> None:
    """Write `record` as one self-contained HTML file at `path`, whole or not at all.

    image_paths: the record's N images in its order, for thumbnails; None shows none. An image
    that can't be read gets a placeholder. seen: what the network sees of them, which a task of
    places in the image needs for its thumbnails.

    Raises UserError for a record that doesn't fit the schema, ValueError for another number of
    paths than images.
    """
    validate_record(record)
    if image_paths is not None and len(image_paths) != record["data"]["images"]:
        raise ValueError(f"{len(image_paths)} paths for {record['data']['images']} images")

    placed = task_of(record).placed

    @cache
    def thumb(index: int) -> str | None:
        if image_paths is None or (placed and seen is None):
            return None
        return thumbnail(image_paths[index], seen=seen if placed else None)

    parts: list[Html | None] = [headline(record, verdicts)]
    if record["measured"]:
        parts += [
            sections.forest(record, verdicts),
            sections.accuracy(record),
            sections.agreement(record),
            sections.gpu(record),
            *task_of(record).sections(record, thumb),
            sections.audits(record),
            image_cards.worst(record, thumb),
            _shipping(record),
        ]
    else:
        parts.append(sections.audits(record))
    parts += [_damaged(record), _bundle(record)]
    title = f"Validation of {_model_name(record)}"
    footer = tag(
        "footer",
        "Intervals: bootstrap over images, paired, 10,000 resamples, 95 %. "
        f"The same figures as JSON: schema {SCHEMA_VERSION}.",
    )
    write_text(path, document(title, "", *parts, footer, pictures=True))


def headline(record: dict, verdicts: Sequence[Verdict]) -> Html:
    """The verdict in one badge and one sentence, the main figures, and every gate's line."""
    judged = [v.to_dict() for v in verdicts]
    if not record["measured"]:
        badge, kind = "Accuracy was not measured", "fail"
    elif not verdicts:
        badge, kind = "Measured, no gate applied", "soft"
    else:
        badge, kind = gates_line(judged), overall(judged)
    return header(
        "mobilemod validation",
        _model_name(record),
        tag("div", badge, class_=f"badge {kind}"),
        tag("p", _sentence(record)),
        *(tag("p", line) for line in measured_lines(record["data"], record["data"]["images"])),
        _tiles(record),
        gate_list(judged) if judged else None,
    )


def _model_name(record: dict) -> str:
    for key in ("model", "name", "variant"):
        if isinstance(record["bundle"].get(key), str):
            return record["bundle"][key]
    return "a model bundle"


def _sentence(record: dict) -> str:
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


def _tiles(record: dict) -> Html | None:
    if not record["measured"]:
        return None
    models, metric = record["predictions"], task_of(record).metric
    found = [
        (f"{metric.text(p[metric.key])} {metric.unit}", f"{metric.name}, {p['name']}")
        for p in models
        if p["role"] in ("reference", "int8")
    ]
    found.append((f"{record['data']['images']:,}", "images"))
    found.append((f"{len(record['disagreements']):,}", "images on which int8 differs"))
    return tiles(found)


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
    inner = join(tag("summary", "What was validated"), tag("pre", text))
    return section("The bundle", None, tag("details", inner))
