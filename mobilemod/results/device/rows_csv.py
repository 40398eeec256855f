"""The devices' records as one table: a row per record, file and configuration."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from mobilemod.results.device.table import cold_start
from mobilemod.tasks import task_of
from mobilemod.tasks.task import Task

# Between the two: the task's own figures.
BEFORE = ("device", "started", "file", "precision", "threads", "delegate", "images")
AFTER = (
    "self_test", "p50_ms", "p90_ms", "p99_ms", "min_ms", "mean_ms", "runs", "load_ms",
    "first_inference_ms", "preprocess_ms", "sustained_loss_percent", "instructions",
    "peak_memory_bytes", "accuracy_digest", "latency_digest", "complete",
)  # fmt: skip


def columns(task: Task) -> tuple[str, ...]:
    """The heading. All records of a bundle are of one task."""
    metrics = (m.key for m in task.metrics)
    drop = ("drop", "drop_low", "drop_high", "host_identical", f"host_{task.agreement.key}")
    return (*BEFORE, *metrics, *drop, *AFTER)


def configurations(
    latest: Sequence[dict[str, Any]],
) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """(record, file, configuration) of everything."""
    for r in latest:
        for f in r["files"]:
            for c in f["configurations"]:
                yield r, f, c


def csv_text(records: Sequence[dict[str, Any]]) -> str:
    """The table as CSV, a line per row."""
    out = io.StringIO()
    task = task_of(records[0] if records else {})
    writer = csv.DictWriter(out, columns(task), lineterminator="\n")
    writer.writeheader()
    for r, f, c in configurations(records):
        a, t, cold = f["accuracy"] or {}, c["latency"] or {}, cold_start(c)
        drop, host = a.get("drop") or {}, a.get("host") or {}
        writer.writerow({
            "device": r["device"]["name"], "started": r["started"], "file": f["file"],
            "precision": f["precision"], "threads": c["threads"], "delegate": c["delegate"],
            "images": a.get("images", 0), **{m.key: a.get(m.key) for m in task.metrics},
            "drop": drop.get("points"), "drop_low": drop.get("low"), "drop_high": drop.get("high"),
            "host_identical": host.get("identical"),
            f"host_{task.agreement.key}": host.get(task.agreement.key),
            "self_test": (c.get("self_test") or f["self_test"])["verdict"],
            **{k: t.get(k) for k in ("p50_ms", "p90_ms", "p99_ms", "min_ms", "mean_ms", "runs")},
            "load_ms": cold and cold[0], "first_inference_ms": cold and cold[1],
            "preprocess_ms": (f["per_image"]["preprocess_ms"] or {}).get("p50_ms"),
            "sustained_loss_percent": (c["sustained"] or {}).get("loss_percent"),
            "instructions": (f.get("instructions") or {}).get("total"),
            "peak_memory_bytes": r["state"]["peak_memory_bytes"],
            "accuracy_digest": r["comparable"]["accuracy"]["digest"],
            "latency_digest": r["comparable"]["latency"]["digest"], "complete": r["complete"],
        })  # fmt: skip
    return out.getvalue()
