"""The search page: one HTML file in the report's style, and its plot as a file of its own."""

from __future__ import annotations

from pathlib import Path

from mobilemod.files import write_text
from mobilemod.results.markup import Html, document, escape, join, table, tag
from mobilemod.results.measured import measured_lines
from mobilemod.results.search.plot import PLOT_STYLE, front_plot
from mobilemod.results.search.table import change_text, cost_text, kl_text, looks, met_text
from mobilemod.results.sensitivity.table import signed
from mobilemod.results.style import STYLE
from mobilemod.results.table import drop_text, sqnr_text
from mobilemod.results.verdict import FAIL, PASS, UNDECIDED, word
from mobilemod.tasks import task_of

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
PLOT_WIDTH = 760


def write_page(record: dict, path: Path) -> None:
    """Write a `mobilemod/search/1` record as HTML at `path`, and its plot beside it as `.svg`."""
    title = f"Mixed precision of {record['model']}"
    footer = tag("footer", f"The same figures as JSON: schema {record['schema']}.")
    body = tag("main", _headline(record), _front(record), _float(record), footer)
    page = document(title, _POLICY, STYLE + PLOT_STYLE, body)
    write_text(path, page)
    style = tag("style", Html(STYLE + PLOT_STYLE))
    plot = front_plot(record, width=PLOT_WIDTH, xmlns="http://www.w3.org/2000/svg")
    write_text(path.with_suffix(".svg"), plot.replace(">", f">{style}", 1) + "\n")


def _headline(record: dict) -> Html:
    first, last = record["steps"][0], record["steps"][-1]
    kind = record.get("state") or word(record["met"])
    badge = {PASS: "Met", FAIL: "Not met", UNDECIDED: "Undecided"}[kind]
    unit, task = record["unit"], task_of(record)
    points, interval = drop_text(last["drop"])
    tiles = [
        (points, f"{task.metric.points} of {task.metric.name}, 95 % {interval}"),
        (cost_text(last["cost"], record), f"{unit}, from {cost_text(first['cost'], record)}"),
        (f"{sqnr_text(last)} dB", f"SQNR of the {task.output}, from {sqnr_text(first)}"),
        (f"{100 * last['int8_share']:.1f} %", "of the convolutions' multiply-accumulates int8"),
    ]
    return tag(
        "header",
        tag("div", "mobilemod search", class_="eyebrow"),
        tag("h1", record["model"]),
        tag("div", badge, class_=f"badge {kind}"),
        tag("p", f"{met_text(record)[:1].upper()}{met_text(record)[1:]}."),
        tag(
            "div",
            *(tag("div", tag("b", big), tag("span", small), class_="tile") for big, small in tiles),
            class_="tiles",
        ),
        class_="top",
    )


def _front(record: dict) -> Html:
    measured = " and ".join(f"{p['file']} ({p['sum_ms']:.2f} ms)" for p in record["profiles"])
    how = (
        f"Cost: estimated from profiles of {measured}."
        if measured
        else "Cost: multiply-accumulates that run in float; nothing was timed."
    )
    rows: list[list[object]] = []
    for i, step in enumerate(record["steps"]):
        rows.append(
            [
                f"{i}. {change_text(step)}",
                cost_text(step["cost"], record),
                kl_text(step),
                sqnr_text(step),
                signed(step["gain_db"], 2) if i else "–",
                f"{100 * step['int8_share']:.2f}",
                " ".join(drop_text(step["drop"])),
            ]
        )
    head = ["left float", record["unit"], "KL", "SQNR dB", "gain dB", "int8 MACs %", "drop, 95 %"]
    return tag(
        "section",
        tag("h2", "Accuracy for cost"),
        tag(
            "p",
            f"From recipe {record['recipe']}, module by module, on {record['images']:,} training "
            f"images that calibration has not seen. {how} {looks(record)} of these mixes were "
            f"tried on {record['check_images']:,} validation images, only to know when to stop. ",
            " ".join(measured_lines(record.get("data"), record["check_images"])),
            class_="note",
        ),
        front_plot(record),
        table(head, rows, "wide"),
    )


def _float(record: dict) -> Html | None:
    if not record["float"]:
        return None
    rows: list[list[object]] = [
        [Html(escape(m["module"]).replace(".", ".<wbr>")), signed(m["gain_db"], 2),
         cost_text(m["cost"], record)]
        for m in record["float"]
    ]  # fmt: skip
    return tag(
        "section",
        tag("h2", "What is float"),
        tag(
            "p",
            join("What each would take with it if it alone were int8 again. The recipe: ",
                 record["file"], "."),
            class_="note",
        ),
        table(["module", "SQNR, dB", record["unit"]], rows, "wide"),
    )  # fmt: skip
