"""The validation record as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mobilemod.data.listing import left_out_text
from mobilemod.results.gpu import ROWS_HEAD, gpu_rows
from mobilemod.results.schema import int8_pairs, own_ranges_text, validate_record
from mobilemod.tasks import task_of

NOT_MEASURED = "Accuracy was not measured: no model was run on labelled images."


def size_text(count: int | None) -> str:
    """A file size in MB (10^6 bytes) or kB; "–" where it isn't known."""
    if count is None:
        return "–"
    return f"{count / 1e6:.2f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def drop_text(drop: dict | None) -> tuple[str, str]:
    """("0.20", "[-0.10, 0.50]"), or dashes where there is no drop."""
    if drop is None:
        return "–", "–"
    return f"{drop['points']:.2f}", f"[{drop['low']:.2f}, {drop['high']:.2f}]"


def sqnr_text(pair: dict) -> str:
    """SQNR of a pair or an effect in dB: "∞" where identical, "n/a" where not finite."""
    if pair["sqnr_db"] is None:
        return "∞" if pair["identical"] else "n/a"
    return f"{pair['sqnr_db']:.1f}"


def with_reasons(record: dict) -> list[str]:
    """The damaged images of a record (its part `data`), each with why it couldn't be read."""
    names, reasons = record["damaged"], record.get("reasons", [])
    if len(reasons) != len(names):  # an older record has none
        return names
    return [f"{name}: {reason}" for name, reason in zip(names, reasons, strict=True)]


def measured_lines(data: dict[str, Any] | None, images: int) -> list[str]:
    """What a record was measured on, and why its figures may be too kind, as far as it says so.

    data: `ImageFolder.about`'s form.
    """
    if not data or not data.get("folder"):
        return []
    seen = data.get("calibrated_on")
    known = "not known how many of them" if seen is None else f"{seen} of them"
    where = f"{data['folder']}, split {data['split']}"
    told = f"measured on {where}, {images:,} images; {known} calibrated on"
    return [told, *(f"warning: {text}" for text in data_warnings(data))]


def data_warnings(data: dict[str, Any] | None) -> list[str]:
    """Why figures of a record (its part `data`) may be too kind, as far as it says so."""
    if not data or not data.get("folder"):
        return []
    if seen := data.get("calibrated_on"):
        return [f"{seen} measured images were calibrated on; a drop may look too small"]
    if str(data.get("split", "")).lower() in ("train", "training"):
        return ["these are training images; accuracy on them is higher than on others"]
    return []


def text_table(record: dict) -> str:
    """Accuracy per model, agreement of the int8 files, damaged images; no trailing newline."""
    validate_record(record)
    data = record["data"]
    lines = [NOT_MEASURED] if not record["measured"] else _accuracy(record)
    pairs = int8_pairs(record)
    if pairs:
        agreement = task_of(record).agreement
        rows = [["agreement of int8 files", agreement.head, "SQNR dB"]]
        for a, b, pair in pairs:
            cells = [f"{pair[agreement.key]:.2f}", sqnr_text(pair)] if pair else ["–", "–"]
            rows.append([f"{a} / {b}", *cells])
        lines += ["", *aligned(rows), *filter(None, [own_ranges_text(record)])]
    if checked := record.get("gpu"):
        table = [list(ROWS_HEAD), *gpu_rows(checked)]
        lines += ["", *aligned(table, left=frozenset({0, 1, len(ROWS_HEAD) - 1}))]
    if record["measured"]:
        differing = len(record["disagreements"])
        lines += ["", f"{data['images']} images, int8 files differ on {differing}"]
        lines += measured_lines(data, data["images"])
    if left_out := data.get("left_out"):
        lines.append(f"left out: {left_out_text(left_out)}")
    if names := with_reasons(data):
        lines.append(f"{len(names)} damaged and left out: {', '.join(names)}")
    return "\n".join(lines)


def _accuracy(record: dict) -> list[str]:
    metrics = task_of(record).metrics
    rows = [["model", *(m.head for m in metrics), "drop", "95 %", "lost/won", "size", "run by"]]
    for p in record["predictions"]:
        drop = p["drop"]
        rows.append(
            [
                p["name"] + (f" ({p['non_finite']} not finite)" if p["non_finite"] else ""),
                *(m.text(p[m.key]) for m in metrics),
                *drop_text(drop),
                f"{drop['lost']}/{drop['won']}" if drop else "–",
                size_text(p["bytes"]),
                p["runner"] or "–",
            ]
        )
    return aligned(rows, left=frozenset({0, len(rows[0]) - 1}))


def aligned(rows: Sequence[Sequence[str]], left: frozenset[int] = frozenset({0})) -> list[str]:
    """The lines of a table, a rule below the heading; left: columns that aren't right-aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    texts = []
    for row in rows:
        cells = [
            cell.ljust(w) if i in left else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        texts.append("  ".join(cells).rstrip())
    return [texts[0], "-" * max(map(len, texts)), *texts[1:]]
