"""The sensitivity page: one HTML file in the report's style, which needs nothing else."""

from __future__ import annotations

from pathlib import Path

from mobilemod.files import write_text
from mobilemod.results.markup import Html, breakable, document, join, shaded, table, tag
from mobilemod.results.parts import Group, group, header, section, tiles
from mobilemod.results.sensitivity.plot import depth_plot, histogram
from mobilemod.results.sensitivity.table import (
    clipped_text,
    loss_text,
    noise_limit,
    noise_text,
    signed,
)
from mobilemod.results.table import measured_lines, sqnr_text
from mobilemod.tasks import task_of

ROWS = 30  # shown at once, the rest on demand

STYLE = """
svg.depth { display: block; width: 100%; overflow: visible; }
svg.depth text { fill: var(--soft); font-size: 11px; } svg.depth .tick { text-anchor: end; }
svg.depth .below { text-anchor: middle; }
svg.depth .grid { stroke: var(--line); } svg.depth line.stage { stroke: var(--line); }
svg.depth .whole { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg.depth circle { fill: var(--role); fill-opacity: .75; }
.module, .activation { --role: var(--int8); } .weight { --role: var(--program); }
.constant { --role: var(--good); }
table.ranked tbody th {
  white-space: normal; overflow-wrap: break-word; min-width: 9.5rem; font-weight: 500;
}
table.ranked td, table.ranked tbody th { vertical-align: top; }
svg.histogram { display: block; width: 100%; height: 110px; background: var(--bg); }
svg.histogram .held { fill: var(--int8); } svg.histogram .cut { fill: var(--bad); }
svg.histogram .outside { fill: var(--bad-bg); }
svg.histogram .edge { stroke: var(--bad); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.card h4 { font-size: .85rem; margin: 0; padding: .7rem .8rem .5rem; overflow-wrap: break-word; }
.lead p { overflow-wrap: break-word; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .875rem; }
"""


def write_page(record: dict, path: Path) -> None:
    """Write a `mobilemod/sensitivity/1` record as one HTML file at `path`, whole or not at all."""
    title = f"Sensitivity of {record['model']}"
    head = header("mobilemod sensitivity", record["model"])
    footer = tag("footer", f"The same figures as JSON: schema {record['schema']}.")
    shown = sensitivity_group(record)
    write_text(path, document(title, STYLE, head, shown and shown.html, footer))


def sensitivity_group(record: dict) -> Group | None:
    """What the record shows, under one heading."""
    return group(
        f"sensitivity-{record['form']}-{record['by']}",
        f"Which {record['by']} costs accuracy, {record['form']}",
        _lead(record),
        _depth(record),
        _ranked(record),
        _codes(record),
    )


def _lead(record: dict) -> Html:
    worst = record["items"][0]
    best = min(record["items"], key=lambda item: item["rank_left_float"])
    sentence = join(
        "Quantized alone, ",
        breakable(worst["name"]),
        f" hurts most: {sqnr_text(worst['alone'])} dB. Left float, ",
        breakable(best["name"]),
        f" gives back most: {signed(best['left_float']['gain_db'], 2)} dB{noise_text(record)}.",
    )
    q, task = record["quantized"], task_of(record)
    found = [
        (
            f"{sqnr_text(q)} dB",
            f"SQNR of the {task.output}, all {len(record['items'])} {record['by']}s int8",
        ),
        (signed(q["loss_change"], 4), f"change of the loss, against {loss_text(record)}"),
        (
            f"{q[task.agreement.effect_key]:.1f} %",
            f"{task.agreement.short} as the float network",
        ),
        (f"{record['images']:,}", "images"),
    ]
    about = (
        f"Form {record['form']}, recipe {record['recipe']}, {record['images']:,} images.",
        *measured_lines(record.get("data"), record["images"]),
    )
    return join(tag("p", sentence), tiles(found), tag("p", " ".join(about), class_="note"))


def _depth(record: dict) -> Html | None:
    kinds = sorted({item["kind"] for item in record["items"]})
    legend = [tag("span", tag("span", class_=f"dot {kind}"), kind) for kind in kinds]
    note = (
        f"Signal-to-noise ratio of the {task_of(record).output} in dB with one {record['by']} "
        "int8 and all else float, in network order; lower is worse. On top the network's "
        "stages; dashed: everything int8."
    )
    return section("Over depth", note, tag("div", *legend, class_="legend"), depth_plot(record))


def _ranked(record: dict) -> Html | None:
    items, task = record["items"], task_of(record)
    rows = [_row(item, record) for item in items]
    head = [
        record["by"],
        "alone, dB",
        "loss",
        "KL",
        f"{task.agreement.short} %",
        "float again, dB",
        "clipped %",
    ]
    rest, limit = None, noise_limit(record)
    if len(rows) > ROWS:
        summary = tag("summary", f"The other {len(rows) - ROWS}")
        rest = tag("details", summary, table(head, rows[ROWS:], "wide ranked", "the other items"))
    note = (
        f"Alone: only this {record['by']} int8, all else float: SQNR of the {task.output}, "
        f"change of the {task.loss} against {loss_text(record)} in {task.loss_unit}, "
        f"divergence from the float network in {task.loss_unit}, images with "
        f"{task.agreement.same}. Float again: SQNR gained over "
        f"{sqnr_text(record['quantized'])} dB when only this one is left float. Clipped: "
        "values outside its int8 range."
        + (f" Gains within ±{limit:.2f} dB are noise and have no colour." if limit else "")
    )
    return section("Ranked", note, table(head, rows[:ROWS], "wide ranked", "items ranked"), rest)


def _row(item: dict, record: dict) -> list[object]:
    alone, left = item["alone"], item["left_float"]
    whole = record["quantized"]["sqnr_db"]
    # As noisy as the whole program: full shade. 40 dB better, a ten-thousandth of it: none.
    db = alone["sqnr_db"]
    bad = 0.0 if alone["identical"] else 1.0
    if db is not None and whole is not None:
        bad = (40 - (db - whole)) / 40
    gain = left["gain_db"]
    good = 1.0 if gain is None else (gain - noise_limit(record)) / 3
    count = len(item["tensors"])
    many = tag("small", f"{count} tensors") if count > 1 else None
    kind = None if item["kind"] == "module" else tag("small", item["kind"])
    kl = "n/a" if alone["kl"] is None else f"{alone['kl']:.1e}"
    return [
        join(f"{item['rank_alone']}. ", breakable(item["name"]), many or kind),
        shaded(sqnr_text(alone), "bad", bad),
        signed(alone["loss_change"], 4),
        kl,
        f"{alone[task_of(record).agreement.effect_key]:.1f}",
        shaded(signed(gain, 2), "good", good),
        clipped_text(item),
    ]


def _codes(record: dict) -> Html | None:
    if not record["histograms"]:
        return None
    cards = []
    for entry in record["histograms"]:
        db = "∞" if entry["sqnr_db"] is None else f"{entry['sqnr_db']:.1f} dB"
        lines = [
            ("int8 range", f"{entry['low']:.4g} … {entry['high']:.4g}"),
            ("clipped", f"{100 * entry['clipped_share']:.3f} %"),
            ("codes used", f"{entry['used_codes']} of 256"),
            ("its own SQNR", db),
        ]
        rows = [tag("li", tag("span", name), tag("span", value)) for name, value in lines]
        under = tag("div", "value, by int8 code", class_="axis-title")
        name = tag("h4", breakable(entry["tensor"]))
        cards.append(tag("div", name, histogram(entry), under, tag("ul", *rows), class_="card"))
    note = (
        f"Values of the float network for the worst {len(cards)} with activations (of a "
        "module, the activation that fits least), counts on a log scale. Between the lines: "
        "what int8 can hold. Red: clipped; what lies farther out than one range stands at the "
        "edge."
    )
    shown = tag("div", *cards, class_="cards")
    return section("How activations fill their int8 range", note, shown)
