"""Which file of a bundle to ship where: what targets say of themselves, and what was measured."""

from __future__ import annotations

from typing import Any

from mobilemod.manifest import Bundle
from mobilemod.results.device.kept import DEVICES, latest_records, read_records
from mobilemod.results.device.units import sentence
from mobilemod.results.schema import rows_by_file
from mobilemod.targets import TARGETS
from mobilemod.targets.facts import PLACES, Use
from mobilemod.tasks.task import Metric

SCHEMA = "mobilemod/advice/1"
FIGURES = (
    "figures of instructions and time are of efficientmod_xxs (docs/advice.md): measure your own "
    "with 'mobilemod bench', on the phone with 'mobilemod validate --device'"
)
MIXED = "-mixed"  # how a search for a recipe calls what it makes of one
NOT_MEASURED = "not measured: mobilemod validate"


def advise(bundle: Bundle) -> dict[str, Any]:
    """A record: for each place the files that serve there, the best first.

    A file that the bundle doesn't hold is there with `file` null and the command that makes it.
    """
    files = {(e.target, e.precision == "int8"): e.file for e in bundle.manifest.files}
    metric = bundle.task.metric
    accuracy = bundle.manifest.accuracy or {}
    measured = rows_by_file(accuracy.get("predictions", ()))
    places = []
    for place, words in PLACES.items():
        uses = sorted(
            ((use, name) for name, facts in TARGETS.items() for use in facts.uses
             if use.place == place),
            key=lambda pair: pair[0].rank,
        )  # fmt: skip
        recipe = bundle.manifest.recipe.name
        choices = [_choice(use, name, files, measured, metric, recipe) for use, name in uses]
        places.append({"place": place, "words": words, "choices": choices})
    return {
        "schema": SCHEMA,
        "model": bundle.manifest.model,
        "recipe": bundle.manifest.recipe.name,
        "images": accuracy.get("images"),
        "places": places,
        "devices": _devices(bundle),
    }


def shipping(bundle: Bundle) -> list[dict[str, Any]]:
    """Of each place the best file of the bundle: `where` in words, `file` and `engine` (null where
    none serves there), `why`, `ran`, and `make`, as `advise` has them."""
    found = []
    for place in advise(bundle)["places"]:
        held = (choice for choice in place["choices"] if choice["file"])
        best = next(held, place["choices"][0])
        keys = ("file", "engine", "why", "ran", "make")
        found.append({"where": place["words"], **{k: best[k] for k in keys}})
    return found


def _devices(bundle: Bundle) -> dict[str, str]:
    """What the self-test of every unit came to, by device that the bundle was measured on."""
    latest = latest_records(read_records(bundle.folder / DEVICES))
    return {name: sentence(record) for name, record in latest.items()}


def _choice(
    use: Use, target: str, files: dict, measured: dict, metric: Metric, recipe: str
) -> dict[str, Any]:
    file = files.get((target, use.int8))
    found = measured.get(file)
    fits = not use.int8 or recipe in (use.recipe, f"{use.recipe}{MIXED}")
    make = f"mobilemod export … --targets {target}"
    return {
        "file": file,
        "make": None if file and fits else make if fits else f"{make} --recipe {use.recipe}",
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
                if choice["make"]:
                    lines.append(f"    another recipe is the faster one here: {choice['make']}")
                lines.append(f"    {_measured(choice, record['images'])}")
                break
    lines += [f"self-test, {name}: {said}" for name, said in record["devices"].items()]
    return "\n".join([*lines, FIGURES])


def _measured(choice: dict[str, Any], images: int | None) -> str:
    if choice["metric"] is None:
        return NOT_MEASURED
    told = f"{choice['metric_text']} of {images} images"
    if drop := choice["drop"]:
        told += f", drop {drop['points']:.2f} [{drop['low']:.2f}, {drop['high']:.2f}]"
    return told
