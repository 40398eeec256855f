"""A validation's figures, each from its record to markup."""

from __future__ import annotations

import json

from mobilemod.evaluation.statistics import images_needed
from mobilemod.results.forest import Interval, drop_limits, gate_note, intervals
from mobilemod.results.gpu import ROWS_HEAD, gpu_rows
from mobilemod.results.markup import Html, join, named, shaded, table, tag
from mobilemod.results.parts import capital, section
from mobilemod.results.schema import own_ranges_text
from mobilemod.results.table import drop_text, size_text, sqnr_text
from mobilemod.tasks import task_of
from mobilemod.tasks.task import Task


def accuracy(record: dict) -> Html | None:
    """The task's figures, drop, lost and won, size and runner of every model."""
    task = task_of(record)
    first, *others = task.metrics
    rows: list[list[object]] = []
    for p in record["predictions"]:
        points, interval = drop_text(p["drop"])
        lost = f"{p['drop']['lost']} / {p['drop']['won']}" if p["drop"] else "–"
        broken = tag("small", f"{p['non_finite']} not finite") if p["non_finite"] else None
        rows.append(
            [
                join(named(p), tag("small", p["file"]) if p["file"] else None),
                tag("td", first.text(p[first.key]), broken),
                *(m.text(p[m.key]) for m in others),
                tag("td", points, tag("small", interval) if p["drop"] else None),
                lost,
                f"{p['drop']['mcnemar_p']:.2g}" if p["drop"] else "–",
                size_text(p["bytes"]),
                tag("td", p["runner"] or "–", class_="text"),
            ]
        )
    heads = [m.head for m in task.metrics]
    head = ["model", *heads, "drop", "lost / won", "p", "size", "run by"]
    sides, test = "that only torch float, only this model gets right", "McNemar"
    if not task.counted:
        sides, test = "on which this model is worse, better than torch float", "sign"
    note = (
        f"Drop: {first.name} {first.points} lost against torch float, on the same images; "
        f"below it its 95 % interval. Lost and won: images {sides}. p: exact {test} test of "
        "lost against won."
    )
    return section("Every model", note, table(head, rows, "wide", "accuracy"))


def forest(record: dict) -> Html | None:
    """Every drop with its interval on one axis, and the gate."""
    shown = [p for p in record["predictions"] if p["drop"]]
    if not shown:
        return None
    metric = task_of(record).metric
    limits = drop_limits(record["verdicts"] or (), "drop")
    entries = [
        Interval.of_drop(named(p), p["role"], p["drop"], f"{p['name']}: drop", metric.points)
        for p in shown
    ]
    note = (
        f"{capital(metric.name)} {metric.points} lost against torch float, with the paired "
        "95 % interval; right of the solid line is worse."
        + gate_note(limits)
        + resolution(record, max(limits) if limits else None)
    )
    axis = f"{metric.points} of {metric.name} lost"
    return section("What int8 costs", note, intervals(entries, axis, limits))


def resolution(record: dict, limit: float | None) -> str:
    """A sentence on how many images a drop as large as the gate takes to be seen; or nothing."""
    drops = [p["drop"] for p in record["predictions"] if p["role"] == "int8" and p["drop"]]
    if not drops or not limit or limit <= 0 or not task_of(record).counted:
        return ""
    images = record["data"]["images"]
    rate = max((d["lost"] + d["won"]) / images for d in drops)
    if limit / 100.0 > rate:
        return ""
    needed = images_needed(limit, rate)
    verb = "are enough" if images >= needed else "are too few"
    return (
        f" With up to {100 * rate:.1f} % of images changing sides, seeing a drop of {limit:g} "
        f"with 80 % power takes {needed:,} images; these {images:,} {verb}."
    )


def agreement(record: dict) -> Html | None:
    """The matrix of all pairs: agreement above the diagonal, SQNR of the outputs below."""
    task = task_of(record)
    key = task.agreement.key
    names = [p["name"] for p in record["predictions"]]
    if len(names) < 2:
        return None
    found = {}
    for pair in record["agreement"]:
        found[pair["reference"], pair["other"]] = found[pair["other"], pair["reference"]] = pair
    low = min((a[key] for a in record["agreement"]), default=100.0)
    floor = min(low, 99.0)
    what = task.agreement.head.removesuffix(" %")
    rows: list[list[object]] = []
    for i, p in enumerate(record["predictions"]):
        cells: list[object] = [join(f"{i + 1} ", named(p))]
        for j, other in enumerate(names):
            pair = found.get((p["name"], other))
            if i == j or pair is None:
                cells.append(tag("td", "·", class_="self"))
                continue
            if j < i and not (task.numeric or pair["identical"]):
                cells.append(tag("td", "·", class_="self"))
                continue
            value = pair["sqnr_db"]
            if j > i:
                strength = (pair[key] - floor) / (100.0 - floor)
                text = f"{pair[key]:.2f}"
            else:
                strength = (
                    1.0 if value is None and pair["identical"] else ((value or 0.0) - 15) / 45
                )
                text = sqnr_text(pair)
            title = (
                f"{pair['reference']} / {pair['other']}: {what} {pair[key]:.2f} %, "
                f"SQNR {sqnr_text(pair)} dB"
            )
            cells.append(shaded(text, "", strength, title=title))
        rows.append(cells)
    note = (
        f"Above the diagonal: share of {task.agreement.of} with {task.agreement.same}, in percent. "
        f"Below: {_below(task)}. Columns are numbered as the rows."
    )
    note = ". ".join(filter(None, (note.removesuffix("."), capital(own_ranges_text(record))))) + "."
    return section(
        "Agreement", note, table(["model", *range(1, len(names) + 1)], rows, "matrix", "agreement")
    )


def _below(task: Task) -> str:
    if not task.numeric:
        return "∞ where all answers are identical"
    return (
        f"signal-to-noise ratio of the {task.output} in dB, the model with the smaller number "
        f"being the signal; ∞ where the {task.output} are identical"
    )


def audits(record: dict) -> Html | None:
    """What each file runs in int8 and what not: whichever keys its audit holds."""
    found = {f: a for f, a in record["audits"].items() if isinstance(a, dict)}
    if not found:
        return None
    keys = list(dict.fromkeys(k for a in found.values() for k in a))
    plain = [k for k in keys if not any(_nested(a.get(k)) for a in found.values())]
    rows: list[list[object]] = [
        [_words(k), *(audit_text(k, a.get(k)) for a in found.values())] for k in plain
    ]
    details = []
    for file, audit in found.items():
        rest = {k: v for k, v in audit.items() if k not in plain}
        if rest:
            text = json.dumps(rest, indent=1, ensure_ascii=False)
            details.append(
                tag("details", tag("summary", f"{file}: details"), tag("pre", text, tabindex="0"))
            )
    shown = table(["", *found], rows, "", "audits") if rows else None
    return section("What became int8", "Read out of the files themselves.", shown, *details)


def _nested(value: object) -> bool:
    """Whether a value is too much for a cell: a dict or list that isn't a few plain items."""
    items = value.values() if isinstance(value, dict) else value
    return isinstance(value, dict | list) and (
        len(value) > 6 or any(isinstance(v, dict | list) for v in items)
    )


def _words(key: str) -> str:
    words = key.replace("_", " ")
    return words.replace("macs", "MACs").replace("qdq", "q/dq")


def audit_text(key: str, value: object) -> object:
    """A cell's text: shares as percent, counts with separators, short lists and dicts in lines."""
    if value is None or value == [] or value == {}:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        is_share = "share" in key or "fraction" in key
        return f"{100 * value:.2f} %" if is_share and 0 <= value <= 1 else f"{value:g}"
    if isinstance(value, int):
        return size_text(value) if key.endswith("bytes") else f"{value:,}"
    if isinstance(value, dict):
        return join(*(tag("div", f"{k}: ", audit_text(key, v)) for k, v in value.items()))
    if isinstance(value, list):
        return join(*(tag("div", audit_text(key, v)) for v in value))
    return value


def gpu(record: dict) -> Html | None:
    """What a GPU made of the files; nothing where it wasn't asked."""
    checked = record.get("gpu")
    if not checked:
        return None
    cells = [[*row[:-1], tag("td", row[-1], class_="text")] for row in gpu_rows(checked)]
    note = (
        f"Each file as an app opens it for the GPU, on {checked['images']} images, "
        "against the same file on the processor."
    )
    return section("On a GPU", note, table(list(ROWS_HEAD), cells, "wide", "files on a GPU"))
