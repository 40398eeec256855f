"""The search page: one HTML file in the report's style, and its plot as a file of its own."""

from __future__ import annotations

from pathlib import Path

from mobilemod.files import write_text
from mobilemod.results.markup import Html, breakable, document, join, table, tag
from mobilemod.results.parts import Group, capital, group, header, section, tiles
from mobilemod.results.search.plot import PLOT_STYLE, front_plot
from mobilemod.results.search.table import change_text, cost_text, looks, met_text, step_texts
from mobilemod.results.sensitivity.table import signed
from mobilemod.results.style import STYLE
from mobilemod.results.table import drop_text, measured_lines, sqnr_text
from mobilemod.results.verdict import FAIL, PASS, UNDECIDED, word
from mobilemod.tasks import task_of

PLOT_WIDTH = 760


def write_page(record: dict, path: Path) -> None:
    """Write a `mobilemod/search/1` record as one HTML file at `path`, whole or not at all."""
    title = f"Mixed precision of {record['model']}"
    head = header("mobilemod search", record["model"])
    footer = tag("footer", f"The same figures as JSON: schema {record['schema']}.")
    shown = search_group(record)
    write_text(path, document(title, PLOT_STYLE, head, shown and shown.html, footer))


def write_plot(record: dict, path: Path) -> None:
    """Write a record's plot as an SVG file of its own."""
    style = tag("style", Html(STYLE + PLOT_STYLE))
    plot = front_plot(record, width=PLOT_WIDTH, xmlns="http://www.w3.org/2000/svg")
    write_text(path, plot.replace(">", f">{style}", 1) + "\n")


def search_group(record: dict) -> Group | None:
    """What the record shows, under one heading."""
    return group(
        f"search-{record['target'].replace(':', '-')}",
        f"Mixed precision, {record['target']}",
        _lead(record),
        _front(record),
        _float(record),
    )


def _lead(record: dict) -> Html:
    first, last = record["steps"][0], record["steps"][-1]
    kind = record.get("state") or word(record["met"])
    badge = {PASS: "Met", FAIL: "Not met", UNDECIDED: "Undecided"}[kind]
    unit, task = record["unit"], task_of(record)
    points, interval = drop_text(last["drop"])
    found = [
        (points, f"{task.metric.points} of {task.metric.name}, 95 % {interval}"),
        (cost_text(last["cost"], record), f"{unit}, from {cost_text(first['cost'], record)}"),
        (f"{sqnr_text(last)} dB", f"SQNR of the {task.output}, from {sqnr_text(first)}"),
        (f"{100 * last['int8_share']:.1f} %", "of the convolutions' multiply-accumulates int8"),
    ]
    return join(
        tag("div", badge, class_=f"badge {kind}"),
        tag("p", f"{capital(met_text(record))}."),
        tiles(found),
    )


def _front(record: dict) -> Html | None:
    measured = " and ".join(f"{p['file']} ({p['sum_ms']:.2f} ms)" for p in record["profiles"])
    how = (
        f"Cost: estimated from profiles of {measured}."
        if measured
        else "Cost: multiply-accumulates that run in float; nothing was timed."
    )
    rows: list[list[object]] = [
        [f"{i}. {change_text(step)}", *figures, " ".join(drop_text(step["drop"]))]
        for i, (step, figures) in enumerate(zip(record["steps"], step_texts(record), strict=True))
    ]
    head = ["left float", record["unit"], "KL", "SQNR dB", "gain dB", "int8 MACs %", "drop, 95 %"]
    note = (
        f"From recipe {record['recipe']}, module by module, on {record['images']:,} training "
        f"images that calibration has not seen. {how} {looks(record)} of these mixes were "
        f"tried on {record['check_images']:,} validation images, only to know when to stop. "
    ) + " ".join(measured_lines(record.get("data"), record["check_images"]))
    return section(
        "Accuracy for cost",
        note,
        front_plot(record),
        table(head, rows, "wide", "steps of the search"),
    )


def _float(record: dict) -> Html | None:
    if not record["float"]:
        return None
    rows: list[list[object]] = [
        [breakable(m["module"]), signed(m["gain_db"], 2), cost_text(m["cost"], record)]
        for m in record["float"]
    ]
    note = "What each would take with it if it alone were int8 again. The recipe: "
    found = table(["module", "SQNR, dB", record["unit"]], rows, "wide", "what is float")
    return section("What is float", f"{note}{record['file']}.", found)
