"""A bundle's model files as a table."""

from __future__ import annotations

from typing import Any

from mobilemod.manifest import Bundle
from mobilemod.manifest_schema import ModelFile
from mobilemod.results.markdown.table import plain, table
from mobilemod.results.schema import rows_by_file
from mobilemod.results.table import drop_text, size_text
from mobilemod.targets import TARGETS
from mobilemod.tasks.task import Metric

UNKNOWN = "–"


def files_table(bundle: Bundle, record: dict[str, Any] | None) -> str:
    """Size, int8 share and what was measured of each file. record: the validation, if any."""
    metric, rows = bundle.task.metric, rows_by_file(record["predictions"] if record else ())
    head = ["file", "size", "int8 of conv and linear MACs", f"{metric.name}, {metric.unit}",
            f"drop, {metric.points} [95 %]", "run by"]  # fmt: skip
    found = [_row(entry, rows.get(entry.file), metric) for entry in bundle.manifest.files]
    return table(head, found, frozenset({1, 2, 3, 4}))


def _row(entry: ModelFile, measured: dict[str, Any] | None, metric: Metric) -> list[str]:
    share = f"{100 * entry.audit.int8_share:.1f} %" if entry.audit.macs else UNKNOWN
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
