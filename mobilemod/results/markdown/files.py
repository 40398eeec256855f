"""A bundle's model files as a table."""

from __future__ import annotations

from typing import Any

from mobilemod.manifest import Bundle
from mobilemod.manifest_schema import ModelFile
from mobilemod.results.markdown.table import plain, table
from mobilemod.results.table import drop_text, size_text
from mobilemod.targets import TARGETS
from mobilemod.tasks.task import Metric

UNKNOWN = "–"


def rows_of(record: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """A validation's entry of each file, in the file's own runtime."""
    # A file's first row is of its own runtime.
    return {p["file"]: p for p in reversed(record["predictions"]) if p["file"]} if record else {}


def files_table(bundle: Bundle, record: dict[str, Any] | None) -> str:
    """Size, int8 share and what was measured of each file. record: the validation, if any."""
    metric, rows = bundle.task.metric, rows_of(record)
    head = ["file", "size", "int8 of conv and linear MACs", f"{metric.name}, {metric.unit}",
            f"drop, {metric.points} [95 %]", "run by"]  # fmt: skip
    found = [_row(entry, rows.get(entry.file), metric) for entry in bundle.manifest.files]
    return table(head, found, frozenset({1, 2, 3, 4}))


def _row(entry: ModelFile, measured: dict[str, Any] | None, metric: Metric) -> list[str]:
    macs, int8 = entry.audit.macs, entry.audit.int8_macs
    share = f"{100 * int8 / macs:.1f} %" if macs else UNKNOWN
    cells = [f"`{entry.file}`", size_text(entry.bytes), share]
    if measured is None:
        return [*cells, UNKNOWN, UNKNOWN, UNKNOWN]
    points, interval = drop_text(measured["drop"])
    stand_in = " (not the phone's own runtime)" if TARGETS[entry.target].stand_in else ""
    return [
        *cells,
        metric.text(measured[metric.key]),
        f"{points} {interval}",
        plain(measured["runner"]) + stand_in,
    ]
