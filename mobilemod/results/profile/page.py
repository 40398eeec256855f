"""What profiles show: each file's time by kind of op and by module, as bars."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mobilemod.results.markup import Html, breakable, join, table, tag
from mobilemod.results.parts import Group, group, section

KINDS, MODULES, SLOWEST = 8, 12, 12  # bars, bars and rows

BAR_STYLE = """
.bars {
  display: grid; grid-template-columns: minmax(6rem, 17rem) 1fr 8.5rem; gap: .25rem .8rem;
  align-items: center; font-size: .9rem; margin: .3rem 0 1rem;
}
.bars > div { overflow-wrap: anywhere; }
.bars .rail { background: var(--bg); border-radius: 4px; height: 14px; }
.bars .rail > div { background: var(--role); border-radius: 4px; height: 14px; min-width: 1px; }
.bars .value { text-align: right; font-variant-numeric: tabular-nums; }
@media (max-width: 40rem) {
  .bars { grid-template-columns: minmax(0, 1fr) 8.5rem; }
  .bars .what { grid-column: 1 / -1; margin-top: .3rem; }
}
"""


def profile_group(records: Sequence[Mapping[str, Any]]) -> Group | None:
    """Of `mobilemod/profile/1` records, one a file."""
    said = tag(
        "p",
        "Every op timed alone in the file's own runtime on this machine: which parts are slow, not "
        "how fast a phone is.",
    )
    found = sorted(records, key=lambda r: (_role(r) != "int8", r["file"]))
    return group("slow", "Where is it slow", said, *map(_file, found))


def _role(record: Mapping[str, Any]) -> str:
    """The colour of a file's precision."""
    return "int8" if any(u["macs"] and u["dtype"] == "int8" for u in record["units"]) else "float"


def _file(record: Mapping[str, Any]) -> Html | None:
    units, threads, role = record["units"], record["threads"], _role(record)
    note = (
        f"{record['whole_ms']:.2f} ms the whole file, {record['sum_ms']:.2f} ms in parts, "
        f"{threads} thread{'s'[: threads != 1]}. {record['bound_ms']:.2f} ms if all "
        "multiply-accumulates ran at the best op's "
        f"{record['fastest_gmac_per_s']:.0f} GMAC/s. Bars: milliseconds, and the share of all."
    )
    slow = sorted(units, key=lambda u: -u["ms"])[:SLOWEST]
    rows: list[list[object]] = [
        [
            breakable(u["module"] or "(unnamed)"),
            tag("td", f"{u['op']} {u['dtype']}", class_="text"),
            "×".join(map(str, u["shape"])),
            f"{u['ms']:.3f}",
        ]
        for u in slow
    ]
    listed = table(["module", "op", "result", "ms"], rows, "wide", "slowest ops")
    return section(
        record["file"],
        note,
        tag("h4", "By kind of op"),
        _bars(units, lambda u: f"{u['op']} {u['dtype']}", KINDS, role),
        tag("h4", "By module"),
        _bars(units, lambda u: u["module"] or "(unnamed)", MODULES, role),
        tag("details", tag("summary", f"The {len(slow)} slowest ops"), listed),
    )


def _bars(
    units: Sequence[Mapping[str, Any]],
    name: Callable[[Mapping[str, Any]], str],
    most: int,
    role: str,
) -> Html:
    """A bar for each name, the slowest first, and what is left as a figure."""
    sums: dict[str, float] = defaultdict(float)
    for u in units:
        sums[name(u)] += u["ms"]
    total = sum(sums.values()) or 1.0
    ranked = sorted(sums.items(), key=lambda kv: -kv[1])
    shown, rest = ranked[:most], ranked[most:]
    longest = max((ms for _, ms in shown), default=0.0) or 1.0
    cells = []
    for label, ms in shown:
        bar = tag("div", style=f"width: {100 * ms / longest:.1f}%")
        cells += _row(breakable(label), tag("div", bar, class_="rail"), ms, total)
    if rest:
        cells += _row(f"{len(rest)} more", tag("div"), sum(ms for _, ms in rest), total)
    return tag("div", *cells, class_=f"bars {role}")


def _row(label: str, bar: Html, ms: float, total: float) -> list[Html]:
    value = join(tag("b", f"{ms:.2f}"), f" ms, {100 * ms / total:.1f} %")
    return [tag("div", label, class_="what"), bar, tag("div", value, class_="value")]
