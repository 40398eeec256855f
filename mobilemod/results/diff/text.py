"""A diff record (`mobilemod/diff/1`) as text for a terminal."""

from __future__ import annotations

from typing import Any

from mobilemod.results.table import aligned
from mobilemod.tasks import task_of

MAX_NAMES = 4


def text(record: dict[str, Any], every: bool = False) -> str:
    """What differs between the two files, image by image.

    every: all tensors in the tables, not only those whose codes differ.
    """
    a, b = (record[side]["label"] for side in "ab")
    lines = [f"{record['model']}, {a} / {b}"]
    for side in (record["a"], record["b"]):
        what = side["file"] or f"the {side['precision']} program"
        lines.append(f"  {side['label']}: {what}, {side['runner']}")
    for side, name in (("only_in_a", a), ("only_in_b", b)):
        if record[side]:
            lines.append(f"  {len(record[side])} tensors in {name} alone: {_names(record[side])}")
    found = record["parameters"]
    if found:
        lines.append(f"  {len(found)} parameters differ:")
        lines += [f"    {p['parameter']}: {p['text']}" for p in found]
    elif (record["a"]["precision"] == "int8") == (record["b"]["precision"] == "int8"):
        lines.append("  all parameters in common are the same, but for their format's rounding")
    for image in record["images"]:
        lines += ["", *_image(image, record, a, b, every)]
    return "\n".join(lines)


def _names(names: list[str]) -> str:
    rest = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _image(image: dict[str, Any], record: dict, a: str, b: str, every: bool) -> list[str]:
    lines = [image["image"]]
    if not image["undisturbed"]:
        lines.append("  reading the tensors changed a file's result: the figures are not its own")
    first, codes = image["first"], image["first_codes"]
    if first is None:
        lines.append(f"  identical in all {len(image['tensors'])} tensors")
    else:
        lines += [*_table(image["tensors"], every, first["tensor"]), *_ops(image["ops"], b)]
        shown: set[str] = set()
        lines.append("")
        for what, part in (
            ("first op where they part", first),
            ("first codes that differ", codes),
            ("op that adds most", image["most"]),
        ):
            if part is not None and part["tensor"] not in shown:
                lines += [f"{what}: {part['op']}, {part['tensor']}", _why(part)]
                shown.add(part["tensor"])
    if image["exact"] is not None:
        lines += ["", *_exact(image["exact"], a, b)]
    return [*lines, "", *task_of(record).answered_text(image, (a, b))]


def _why(part: dict[str, Any]) -> str:
    return f"  {part['kind']}: {part['text']}"


def _table(rows: list[dict[str, Any]], every: bool, first: str) -> list[str]:
    cells = [["tensor", "op", "differ %", "most", "SQNR dB", "own %", "own most"]]
    for row in rows:
        differs = row["share"] > 0 and (row["codes"] or row["tensor"] == first)
        if not (every or differs):
            continue
        own = row["own"]
        cells.append(
            [
                row["tensor"],
                row["op"],
                _percent(row["share"]),
                _most(row["largest"], row["codes"]),
                _decibel(row["sqnr_db"]),
                _percent(own["share"]),
                _most(own["largest"], row["codes"]),
            ]
        )
    if len(cells) == 1:
        return ["  no codes differ"]
    return aligned(cells, left=frozenset({0, 1}))


def _ops(ops: list[dict[str, Any]], b: str) -> list[str]:
    """What each kind of op adds of its own."""
    cells = [["op", "tensors", "own %", "own most", "least SQNR dB"]]
    ranked = sorted(ops, key=lambda op: op["sqnr_db"] if op["sqnr_db"] is not None else 1e9)
    for op in ranked:
        if op["share"] > 0:
            most = _most(op["largest"], op["codes"])
            share, decibel = _percent(op["share"]), _decibel(op["sqnr_db"])
            kind = op["op"] if op["codes"] else f"{op['op']} (real)"
            cells.append([kind, str(op["tensors"]), share, most, decibel])
    return ["", f"own: what {b} makes of the other's tensors, op by op", *aligned(cells)]


def _exact(sides: dict[str, list[dict[str, Any]]], a: str, b: str) -> list[str]:
    """How exactly each file computes every kind of op, from its own tensors."""
    units = ("off %", "past middle", "exact dB")
    cells = [["op", "tensors", *(f"{side} {unit}" for side in (a, b) for unit in units)]]
    found = [{(o["op"], o["codes"]): o for o in sides[side]} for side in "ab"]
    for op, codes in dict.fromkeys([*found[0], *found[1]]):
        rows = [ops.get((op, codes)) for ops in found]
        count = next(row["tensors"] for row in rows if row is not None)
        cells.append([op if codes else f"{op} (real)", str(count)])
        for row in rows:
            if row is None:
                cells[-1] += ["–", "–", "–"]
            elif codes:
                off = 100 * row["off"] / row["values"]
                cells[-1] += [f"{off:.4f}", f"{row['past_middle']:.1e}", ""]
            else:
                cells[-1] += ["", "", _decibel(row["exact_db"])]
    return aligned(cells)


def _percent(share: float) -> str:
    return f"{100 * share:.3f}" if share >= 5e-6 else "0" if not share else "<0.001"


def _most(largest: float, codes: bool) -> str:
    """Steps of codes; of real values the share of the largest."""
    if not largest:
        return "0"
    return f"{largest:.0f}" if codes else f"{largest:.0e}"


def _decibel(value: float | None) -> str:
    return "∞" if value is None else f"{value:.1f}"
