"""What a GPU made of a bundle's files, from a validation record to words."""

from __future__ import annotations

from typing import Any

ROWS_HEAD = ("on a GPU", "accelerated", "agreement %", "largest difference", "run by")


def outcome_text(entry: dict[str, Any]) -> str:
    """Whether all of a file ran there; else which ops didn't and why, or how it failed."""
    if entry["error"] is not None:
        return f"fails on {entry['adapter']}: {entry['error']}"
    if entry["whole"]:
        return f"fully accelerated by {entry['adapter']}"
    return f"not fully accelerated by {entry['adapter']}, {outside_text(entry)}"


def outside_text(entry: dict[str, Any]) -> str:
    """The ops that the GPU doesn't take, by name, and how many the processor ran in all."""
    ops = ", ".join(f"{op} ({why})" if why else op for op, why in entry["outside"].items())
    count = entry["on_cpu"]
    counted = "" if count is None else f"; {count} op{'s'[: count != 1]} on the processor"
    return f"outside: {ops or 'ops that its runtime does not name'}{counted}"


def gpu_rows(checked: dict[str, Any]) -> list[list[str]]:
    """A row of `ROWS_HEAD` for each file of a record's `gpu`."""
    found = []
    for entry in checked["files"]:
        agreement, difference = entry["agreement_percent"], entry["max_difference"]
        done = "fully" if entry["whole"] else outside_text(entry)
        found.append(
            [
                entry["file"],
                done if entry["error"] is None else entry["error"],
                "–" if agreement is None else f"{agreement:.2f}",
                "–" if difference is None else f"{difference:.2g}",
                f"{entry['runner']}: {entry['adapter']}",
            ]
        )
    return found
