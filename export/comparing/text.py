"""A comparison for a terminal."""

from __future__ import annotations

from typing import Any

from export.comparing.records import SCHEMA as RECORDS
from mobilemod.results.table import aligned, drop_text, size_text
from mobilemod.tasks import task_of
from mobilemod.tasks.task import Task

SHOWN = 5


def comparison_text(record: dict[str, Any]) -> str:
    """Files side by side, then what else differs; of bundles or of records."""
    return _records_text(record) if record["schema"] == RECORDS else _bundles_text(record)


def _bundles_text(record: dict[str, Any]) -> str:
    a, b, task = record["a"], record["b"], task_of(record)
    lines = [
        f"{letter}: {side['bundle']}, {side['model']}, recipe {side['recipe']}, "
        f"{side['size'][1]} x {side['size'][0]} pixels"
        for letter, side in (("A", a), ("B", b))
    ]
    if a["weights"] == b["weights"]:
        lines.append("the same weights")
    head = ["", "size A", "B", "int8 % A", "B", "outside A", "B"]
    if record["images"]:
        head += [f"{task.metric.name} A", "B", "B loses", "95 %", "alike %"]
    if any("time" in f for f in record["files"]):
        head += ["ms A", "B", "B/A"]
    rows = [head, *(_row(f, record["images"], head, task) for f in record["files"])]
    lines += ["", *aligned(rows), ""]
    if record["images"]:
        lines.append(f"{record['images']:,} images, the same for both")
        for f in record["files"]:
            lines += _flips(_name(f), f.get("accuracy"), task)
    lines += _else(record)
    for table in record["tables"]:
        lines += _table(table)
    return "\n".join(lines)


def _records_text(record: dict[str, Any]) -> str:
    task, images = task_of(record), record["images"]
    lines = []
    for letter, side in (("A", record["a"]), ("B", record["b"])):
        parts = [side["record"], side["model"], f"recipe {side['recipe'] or 'not told'}"]
        parts += [side.get("device_model") or side.get("device"), side.get("started")]
        lines.append(f"{letter}: {', '.join(filter(None, parts))}")
    if record["a"]["weights"] and record["a"]["weights"] == record["b"]["weights"]:
        lines.append("the same weights")
    head = ["", "size A", "B", f"{task.metric.name} A", "B", "B loses", "95 %"]
    rows, times = [head], [["", "threads", "on", "p50 ms A", "B", "B/A", "p90 ms A", "B"]]
    for row in record["rows"]:
        two, found = (row["a"], row["b"]), row["accuracy"]
        metric = found["metric"] if found else [side["metric"] for side in two]
        rows.append([
            row["name"], *(size_text(side["bytes"]) for side in two),
            *map(task.metric.text, metric), *drop_text(found and found["drop"]),
        ])  # fmt: skip
        for one in row["latency"]:
            p50, p90 = ([f"{one[s][k]:.2f}" for s in "ab"] for k in ("p50_ms", "p90_ms"))
            ratio = "–" if one["ratio"] is None else f"{one['ratio']:.2f}"
            times.append([row["name"], str(one["threads"]), one["delegate"], *p50, ratio, *p90])
    lines += ["", *aligned(rows), ""]
    if len(times) > 1:
        lines += [*aligned(times), ""]
    if images:
        lines.append(f"{images:,} images, the same for both, paired")
        for row in record["rows"]:
            lines += _flips(row["name"], row["accuracy"], task)
    return "\n".join([*lines, *_else(record), *record["notes"]])


def _else(record: dict[str, Any]) -> list[str]:
    """What is in one alone, and other tools."""
    only = ((side.upper(), names) for side, names in record["only"].items())
    lines = [f"only in {side}: {', '.join(names)}" for side, names in only if names]
    tools = record["tools"].items()
    return lines + [f"{k}: {old or 'none'} in A, {new or 'none'} in B" for k, (old, new) in tools]


def _name(file: dict[str, Any]) -> str:
    return f"{file['target']} {file['precision']}"


def _row(file: dict[str, Any], images: int | None, head: list[str], task: Task) -> list[str]:
    two = file["a"], file["b"]
    row = [_name(file), *(size_text(s["bytes"]) for s in two)]
    row += ["–" if s["int8_share"] is None else f"{100 * s['int8_share']:.1f}" for s in two]
    row += [str(s["outside"]) for s in two]
    if images:
        found = file.get("accuracy")
        if found is None:
            row += ["–"] * 5
        else:
            row += [task.metric.text(value) for value in found["metric"]]
            row += [*drop_text(found["drop"]), f"{found[task.agreement.key]:.2f}"]
    if len(row) < len(head):
        timed = file.get("time")
        row += ["–"] * 3 if timed is None else [
            *(f"{ms:.2f}" for ms in timed["ms"]), f"{timed['ratio']:.2f}"
        ]  # fmt: skip
    return row


def _flips(name: str, found: dict[str, Any] | None, task: Task) -> list[str]:
    """The images that became worse or better, the most first."""
    word, lines = "wrong" if task.counted else f"worse {task.metric.name}", []
    alone = " alone" if task.counted else ""
    for key, words in (("worse", f"{word} in B{alone}"), ("better", f"{word} in A{alone}")):
        names = found[key] if found else ()
        if names:
            more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            lines.append(f"{name}, {words}: {', '.join(names[:SHOWN])}{more}")
    return lines


def _table(table: dict[str, Any]) -> list[str]:
    lone = " and ".join(str(n) for n in table["only"])
    lines = [
        f"table {table['form']}: {table['other']} of {table['tensors']} tensors have other "
        f"parameters; in one alone: {lone}"
    ]
    for entry in table["most"][:SHOWN]:
        dtypes = entry["dtype"]
        how = f"{dtypes[0]} in A, {dtypes[1]} in B" if dtypes[0] != dtypes[1] else (
            "another number of scales" if entry["octaves"] is None
            else f"scale by {2 ** entry['octaves']:.3g} times"
        )  # fmt: skip
        lines.append(f"  {entry['tensor']}: {how}")
    return lines
