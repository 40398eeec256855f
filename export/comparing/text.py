"""A comparison for a terminal."""

from __future__ import annotations

from typing import Any

from mobilemod.results.table import aligned, drop_text, size_text
from mobilemod.tasks import task_of

SHOWN = 5


def comparison_text(record: dict[str, Any]) -> str:
    """Files side by side, then what else differs."""
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
        lines += [line for f in record["files"] for line in _flips(f)]
    for side, only in record["only"].items():
        if only:
            lines.append(f"only in {side.upper()}: {', '.join(only)}")
    for name, (old, new) in record["tools"].items():
        lines.append(f"{name}: {old or 'none'} in A, {new or 'none'} in B")
    for table in record["tables"]:
        lines += _table(table)
    return "\n".join(lines)


def _row(file: dict[str, Any], images: int | None, head: list[str], task: Any) -> list[str]:
    two = file["a"], file["b"]
    row = [f"{file['target']} {file['precision']}", *(size_text(s["bytes"]) for s in two)]
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


def _flips(file: dict[str, Any]) -> list[str]:
    found, lines = file.get("accuracy"), []
    for key, words in (("worse", "wrong in B alone"), ("better", "wrong in A alone")):
        names = found[key] if found else ()
        if names:
            more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            head = f"{file['target']} {file['precision']}, {words}"
            lines.append(f"{head}: {', '.join(names[:SHOWN])}{more}")
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
