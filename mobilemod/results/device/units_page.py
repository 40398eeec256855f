"""The verdict on every unit, as a part of the devices' group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mobilemod.results.device.table import threads_text
from mobilemod.results.device.units import WRONG, tested, unit_rows
from mobilemod.results.markup import Html, join, table, tag
from mobilemod.results.parts import section


def unit_section(latest: Sequence[dict[str, Any]]) -> Html | None:
    """The self-test of every configuration."""
    rows: list[list[object]] = []
    head: list[str] = []
    for r in latest:
        head, *found = unit_rows(r)
        for (file, threads, unit, *rest, where, verdict), t in zip(found, tested(r), strict=True):
            kind = {"right": "pass", **dict.fromkeys((*WRONG, "failed"), "fail")}.get(t.verdict)
            rows.append([
                join(file, tag("small", f"{r['device']['name']}, {threads_text(int(threads))}")),
                tag("td", unit, class_="text"), *rest, tag("td", where, class_="text"),
                tag("td", verdict, class_=kind or "text"),
            ])  # fmt: skip
    if not rows:
        return None
    note = (
        "The golden images on every unit that the device offers; nothing else is measured on those "
        "beyond a file's first. Largest difference: in pixels of a map, in steps of an int8 "
        "output, else in dB."
    )
    heads = [h for h in head if h != "threads"]
    return section("Self-test by unit", note, table(heads, rows, "wide", "self-tests"))
