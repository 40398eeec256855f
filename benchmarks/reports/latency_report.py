"""The measured candidates as tables, a JSON record and a plot."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure.series import Ratio, ratio
from benchmarks.reports.checks import Check, our_row
from benchmarks.routes.candidates import Candidate
from benchmarks.routes.plain_routes import INT8
from mobilemod.files import atomic_path

SCHEMA = "mobilemod/latency/1"
OURS_COLOR, FLOAT_COLOR, PLAIN_COLOR = "#1a7f5a", "#8fc7b1", "#9aa3ad"
BAR_INCHES = 0.26
OUR_SUFFIXES = (".pte", ".tflite")
Table = list[list[str]]


def times_table(rows: Sequence[Candidate], threads: int) -> Table:
    """One line per candidate, the fastest first, those without a file last."""
    heading = ["file", "ms", "p10–p90", "min", "× our int8 .pte", "× our int8 .tflite"]
    table = [[*heading, "SQNR dB", "alike torch", "MB", "delegate calls", "ops outside"]]
    timed = sorted(
        (r for r in rows if r.times.get(threads)), key=lambda r: r.spread(threads).median
    )
    own = [our_row(rows, suffix, INT8, threads) for suffix in OUR_SUFFIXES]
    for r in timed:
        s = r.spread(threads)
        ratios = [_against(r, ours, threads) for ours in own]
        table.append(
            [title(r), f"{s.median:.2f}", f"{s.p10:.2f}–{s.p90:.2f}", f"{s.min:.2f}", *ratios]
            + [_number(r.sqnr, 1), f"{_number(r.agreement, 0)} %", *_facts(r)]
        )
    return table


def missing_lines(rows: Sequence[Candidate]) -> list[str]:
    """A line for every candidate without a running file: which, and why."""
    return [f"{title(r)} ({r.key}): {r.reason}" for r in rows if r.reason]


def checks_table(checks: Sequence[Check]) -> Table:
    """Asked and measured."""
    table = [["check", "threads", "against", "asked", "measured", "95 %", ""]]
    for c in checks:
        m = c.measured
        values = [f"{m.median:.2f}", f"{m.low:.2f}–{m.high:.2f}"] if m else ["–", "–"]
        table.append([c.text, c.threads, c.peer, c.asked, *values, c.verdict])
    return table


def aligned(table: Table) -> str:
    """A table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        first, *rest = (c.ljust(w) if i == 0 else c.rjust(w)
                        for i, (c, w) in enumerate(zip(row, widths, strict=True)))  # fmt: skip
        lines.append("  ".join([first, *rest]).rstrip())
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def markdown(table: Table) -> str:
    """A table for a Markdown file."""
    rule = ["---", *["---:"] * (len(table[0]) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [table[0], rule, *table[1:]])


def title(row: Candidate) -> str:
    """ "ExecuTorch int8 .pte", for people."""
    form = "" if row.ours or row.form == "published" else f", {row.form} form"
    if row.recipe:
        form = f", recipe {row.recipe},"
    return f"{row.tool}{form} {row.precision} {row.suffix}"


def row_record(row: Candidate, rows: Sequence[Candidate], threads: Sequence[int]) -> dict[str, Any]:
    """A candidate's JSON values: each round's median in milliseconds, the ratios to our files."""
    times = {}
    for n in threads:
        if row.times.get(n):
            values = {k: round(v, 4) for k, v in dataclasses.asdict(row.spread(n)).items()}
            ours = [own for suffix in OUR_SUFFIXES if (own := our_row(rows, suffix, INT8, n))]
            over = {own.key: ratio_record(ratio(row.rounds(n), own.rounds(n))) for own in ours}
            rounds = [round(float(v), 4) for v in row.rounds(n)]
            times[str(n)] = {**values, "over": over, "rounds": rounds}
    return {
        "key": row.key,
        "tool": row.tool,
        "precision": row.precision,
        "file": row.path.name if row.path else None,
        "form": row.form,
        "reason": row.reason or None,
        "runtime": row.runtime,
        "build_seconds": round(row.build_seconds, 1),
        **row.facts,
        "sqnr_db": row.sqnr if row.sqnr is not None and math.isfinite(row.sqnr) else None,
        "top1_agreement_percent": row.agreement,
        "milliseconds": times,
    }


def check_record(check: Check) -> dict[str, Any]:
    """A check's JSON values."""
    return {
        "check": check.text,
        "threads": check.threads,
        "against": check.peer,
        "asked": check.asked,
        "measured": ratio_record(check.measured) if check.measured else None,
        "verdict": check.verdict,
    }


def ratio_record(value: Ratio) -> dict[str, float]:
    """A ratio's JSON values."""
    return {k: round(v, 4) for k, v in dataclasses.asdict(value).items()}


def plot(models: dict[str, list[Candidate]], threads: Sequence[int], path: Path) -> None:
    """Horizontal bars of medians, one panel per model and thread count."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = [(name, rows, n) for name, rows in models.items() for n in threads]
    counts = [sum(bool(r.times.get(n)) for r in rows) for _, rows, n in panels]
    height = sum(counts) * BAR_INCHES + len(panels) * 0.9
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(9, height), squeeze=False, layout="constrained",
        gridspec_kw={"height_ratios": [max(1, c) for c in counts]},
    )  # fmt: skip
    for axis, (name, rows, n) in zip(axes[:, 0], panels, strict=True):
        timed = sorted((r for r in rows if r.times.get(n)), key=lambda r: -r.spread(n).median)
        spreads = [r.spread(n) for r in timed]
        medians = [s.median for s in spreads]
        ends = [[s.median - s.p10 for s in spreads], [s.p90 - s.median for s in spreads]]
        bars = axis.barh(
            [title(r) for r in timed], medians, color=[_color(r) for r in timed],
            xerr=ends, error_kw={"lw": 0.8, "ecolor": "#444"},
        )  # fmt: skip
        axis.bar_label(bars, [f"{m:.1f}" for m in medians], padding=6, fontsize=8)
        axis.set_title(
            f"{name}, {n} thread{'s'[: n > 1]}: ms an image, median, p10–p90", loc="left"
        )
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.12, y=0.01)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)


def _color(row: Candidate) -> str:
    if not row.ours:
        return PLAIN_COLOR
    return OURS_COLOR if row.precision == INT8 else FLOAT_COLOR


def _against(row: Candidate, ours: Candidate | None, threads: int) -> str:
    if ours is None:
        return "–"
    if row is ours:
        return "1"
    found: Ratio = ratio(row.rounds(threads), ours.rounds(threads))
    return f"{found.median:.2f} ({found.low:.2f}–{found.high:.2f})"


def _facts(row: Candidate) -> list[str]:
    outside = row.facts.get("outside")
    partitions = row.facts.get("partitions")
    return [
        f"{row.facts['bytes'] / 1e6:.1f}",
        "–" if partitions is None else str(partitions),
        "–" if outside is None else str(sum(outside.values())),
    ]


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
