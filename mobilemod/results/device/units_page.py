"""The verdict on every unit, as parts of the devices' page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mobilemod.results.device.table import threads_text
from mobilemod.results.device.units import WRONG, sentence, tested, unit_rows
from mobilemod.results.markup import Html, join, table, tag
from mobilemod.results.parts import section


def verdict_lines(latest: Sequence[dict[str, Any]]) -> Html:
    """What the self-test of each device came to: the page's first lines."""
    lines = [
        tag(
            "li",
            tag("b", f"{r['device']['name']}: "),
            sentence(r),
            class_="fail" if any(t.verdict in WRONG for t in tested(r)) else None,
        )
        for r in latest
    ]
    return tag("ul", *lines, class_="gates")


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
    return section("Self-test by unit", note, table(heads, rows, "wide"))
