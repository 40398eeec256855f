"""Which file of a bundle to ship where: what targets say of themselves, and what was measured."""

from __future__ import annotations

from typing import Any

from mobilemod.manifest import Bundle
from mobilemod.targets import TARGETS
from mobilemod.targets.facts import PLACES, Use
from mobilemod.tasks.task import Metric

SCHEMA = "mobilemod/advice/1"
FIGURES = (
    "figures of instructions and time are of efficientmod_xxs (docs/advice.md): measure your own "
    "with 'mobilemod bench', on the phone with 'mobilemod validate --device'"
)
NOT_MEASURED = "not measured: mobilemod validate"


def advise(bundle: Bundle) -> dict[str, Any]:
    """A record: for each place the files that serve there, the best first.

    A file that the bundle doesn't hold is there with `file` null and the command that makes it.
    """
    files = {(e.target, e.precision == "int8"): e.file for e in bundle.manifest.files}
    metric = bundle.task.metric
    accuracy = bundle.manifest.accuracy or {}
    # A file's first row is of its own runtime.
    rows = reversed(accuracy.get("predictions", ()))
    measured = {p["file"]: p for p in rows if p["file"]}
    places = []
    for place, words in PLACES.items():
        uses = sorted(
            ((use, name) for name, facts in TARGETS.items() for use in facts.uses
             if use.place == place),
            key=lambda pair: pair[0].rank,
        )  # fmt: skip
        choices = [_choice(use, name, files, measured, metric) for use, name in uses]
        places.append({"place": place, "words": words, "choices": choices})
    return {
        "schema": SCHEMA,
        "model": bundle.manifest.model,
        "recipe": bundle.manifest.recipe.name,
        "images": accuracy.get("images"),
        "places": places,
    }


def _choice(use: Use, target: str, files: dict, measured: dict, metric: Metric) -> dict[str, Any]:
    file = files.get((target, use.int8))
    found = measured.get(file)
    return {
        "file": file,
        "make": None if file else f"mobilemod export … --targets {target}",
        "target": target,
        "int8": use.int8,
        "engine": use.engine,
        "why": use.why,
        "ran": use.ran,
        "metric": None if found is None else found.get(metric.key),
        "metric_text": None if found is None else f"{metric.head} {metric.text(found[metric.key])}",
        "drop": None if found is None else found["drop"],
    }


def advice_text(record: dict[str, Any]) -> str:
    """The record for a terminal: of each place the best file there is, and what goes before it."""
    lines = [f"{record['model']}, recipe {record['recipe']}"]
    for place in record["places"]:
        lines.append(f"{place['words']}:")
        for choice in place["choices"]:
            what = choice["file"] or f"not in the bundle ({choice['make']})"
            lines += [
                f"  {what}, {choice['engine']}",
                f"    {choice['why']} (run on: {choice['ran']})",
            ]
            if choice["file"]:
                lines.append(f"    {_measured(choice, record['images'])}")
                break
    return "\n".join([*lines, FIGURES])


def _measured(choice: dict[str, Any], images: int | None) -> str:
    if choice["metric"] is None:
        return NOT_MEASURED
    told = f"{choice['metric_text']} of {images} images"
    if drop := choice["drop"]:
        told += f", drop {drop['points']:.2f} [{drop['low']:.2f}, {drop['high']:.2f}]"
    return told
