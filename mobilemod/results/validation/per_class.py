"""The table of a figure of each class, with what int8 files gain or lose."""

from __future__ import annotations

from mobilemod.results.markup import Html, shaded, table
from mobilemod.results.parts import section

MAX_CLASSES = 40
FULL_SHADE = 7.0  # points


def per_class(record: dict, key: str, name: str, images: str = "") -> Html | None:
    """`record`'s `per_class` by a figure in percent, None in a row where a model has none of it.

    key: of the figure in a row. name: at the start of the note. images: what their number counts,
    a sentence. int8 files are shown as differences; of many classes only the worst.
    """
    classes = record["per_class"]
    models = record["predictions"]
    base = next((i for i, p in enumerate(models) if p["role"] == "reference"), None)
    if not classes or base is None:
        return None
    shown = [i for i, p in enumerate(models) if p["role"] == "int8"]

    def loss(row: dict) -> float:
        now = [row[key][i] or 0.0 for i in shown]
        return min(now, default=0.0) - (row[key][base] or 0.0)

    listed = sorted(classes, key=loss)[:MAX_CLASSES] if len(classes) > MAX_CLASSES else classes
    rows: list[list[object]] = []
    for row in listed:
        was = row[key][base]
        cells: list[object] = [row["label"], row["images"], "–" if was is None else f"{was:.1f}"]
        rows.append([*cells, *(_change(was, row[key][i]) for i in shown)])
    note = f"{name} of torch float in percent; the int8 files as points gained or lost against it."
    note += images and f" {images}"
    if len(listed) < len(classes):
        note += f" The {len(listed)} of {len(classes)} classes that lose most."
    head = ["class", "images", models[base]["name"], *(models[i]["name"] for i in shown)]
    return section("Per class", note, table(head, rows, "", "figures by class"))


def _change(was: float | None, now: float | None) -> Html:
    change = (now or 0.0) - (was or 0.0)
    title = "–" if now is None else f"{now:.1f} %"
    text = f"{change:+.1f}" if change else "0"
    return shaded(text, "bad" if change < 0 else "good", abs(change) / FULL_SHADE, title=title)
